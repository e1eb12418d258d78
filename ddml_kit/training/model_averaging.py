"""Many models averaged, against one: everybody trains alone, and in the end the mean is taken.

M. A. Zinkevich, M. Weimer, A. Smola, L. Li, "Parallelized Stochastic Gradient Descent", NIPS 2010:
one exchange in all. Each worker sees its own shard only. The mean has less of the noise of the last
steps; what all models miss, because each has seen few samples, no mean brings back.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ddml_kit.cluster.comm import Comm
from ddml_kit.problems.problem import BatchSize, Problem
from ddml_kit.problems.sparse import dense
from ddml_kit.training.optimisers import Optimiser


class Averaged(NamedTuple):
    """w: the mean of all models, (dim,), on every rank. own: the rank's, before."""

    w: np.ndarray
    own: np.ndarray


def averaged(
    comm: Comm, problem: Problem, optimiser: Optimiser, *, steps: int, batch_size: BatchSize
) -> Averaged:
    """The mean of the models that each rank makes in so many steps from its shard.

    Snapshots are the rank's own model, and last the mean.
    """
    own = problem.initial(seed=0)
    step = optimiser(own)
    shard = problem.shard(comm.rank, comm.size)
    comm.snapshot(own)
    for batch in shard.batches(comm.stream("batches"), batch_size, steps):
        gradient = dense(problem.gradient(own, batch), problem.dim)
        comm.work(problem.seconds(batch))
        step(gradient, 1.0)
        comm.snapshot(own)
    w = comm.all_reduce(own, "mean")
    comm.snapshot(w)
    return Averaged(w, own)
