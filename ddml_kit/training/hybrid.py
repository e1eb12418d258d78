"""The hybrid: some online updates on every worker, then a step with all of the data, in turn.

Online updates (one sample each) come near a minimum fast and never get there. A step with all of
the data is slow, and exact. The order is that of A. Agarwal, O. Chapelle, M. Dudik, J. Langford, "A
Reliable Effective Terascale Linear Learning System", JMLR 15, 2014, arXiv 1110.4198: online on each
worker, models averaged, then the batch. Departures: they take turns once, and their batch method is
L-BFGS; here it is a step of any optimiser, in every round.

With no online updates it is gradient descent, and it does not matter how the data are shared out.
"""

from __future__ import annotations

from itertools import islice

import numpy as np

from ddml_kit.cluster.comm import Comm
from ddml_kit.problems.problem import Problem
from ddml_kit.problems.sparse import dense
from ddml_kit.training.optimisers import Optimiser, sgd


def hybrid(
    comm: Comm, problem: Problem, optimiser: Optimiser, *, rounds: int, online: int, rate: float
) -> np.ndarray:
    """The model after so many rounds, (dim,), the same on every rank.

    A round: `online` updates w -= rate g on each rank, the mean of all models, and a step of the
    optimiser with the gradient of all samples.
    """
    w = problem.initial(seed=0)
    update, step = sgd(rate)(w), optimiser(w)
    shard = problem.shard(comm.rank, comm.size)
    [whole] = shard.batches(None, len(shard), 1)
    samples = shard.batches(comm.stream("batches"), 1, rounds * online)
    comm.snapshot(w)
    for _ in range(rounds):
        if online:
            for sample in islice(samples, online):
                update(problem.gradient(w, sample), 1.0)
                comm.work(problem.seconds(sample))
            w[:] = comm.all_reduce(w, "mean")
        part = dense(problem.gradient(w, whole), problem.dim) * (len(shard) / len(problem))
        comm.work(problem.seconds(whole))
        step(comm.all_reduce(part), 1.0)
        comm.snapshot(w)
    return w
