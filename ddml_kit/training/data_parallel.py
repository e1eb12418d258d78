"""Data-parallel SGD: every rank has the model and a shard of the data; gradients are averaged.

The step of synchronous SGD as in J. Chen, X. Pan, R. Monga, S. Bengio, R. Jozefowicz, "Revisiting
Distributed Synchronous SGD", arXiv 1604.00981, without a server: each rank computes the gradient of
its own batch, all get the mean, and each does the same to its own copy of the model. n ranks with
batches of b make the steps of one with batches of n b.

The mean counts every rank alike; where a pass ends with a smaller batch on some ranks, their
samples count more.
"""

from __future__ import annotations

import numpy as np

from ddml_kit.cluster.comm import Comm
from ddml_kit.problems.problem import BatchSize, Problem
from ddml_kit.problems.sparse import dense
from ddml_kit.training.optimisers import Optimiser
from ddml_kit.training.reducers import Reducer, mean
from ddml_kit.training.schedules import Schedule, constant


def data_parallel(
    comm: Comm,
    problem: Problem,
    optimiser: Optimiser,
    *,
    steps: int,
    batch_size: BatchSize,
    reducer: Reducer = mean,
    schedule: Schedule = constant,
) -> np.ndarray:
    """The model after so many steps, (dim,), the same on every rank.

    batch_size: of each rank; a number, or a function of the step. reducer: how gradients are
    averaged. schedule: what multiplies the optimiser's rate at each step.
    """
    w = problem.initial(seed=0)
    step, reduce = optimiser(w), reducer(comm)
    shard = problem.shard(comm.rank, comm.size)
    comm.snapshot(w)
    for k, batch in enumerate(shard.batches(comm.stream("batches"), batch_size, steps)):
        gradient = dense(problem.gradient(w, batch), problem.dim)
        comm.work(problem.seconds(batch))
        step(reduce(gradient), schedule(k))
        comm.snapshot(w)
    return w
