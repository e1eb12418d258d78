"""Training on one machine: a batch a step, or all of the data in every step.

The two ways that everything later is measured against. `mini_batch` is stochastic gradient descent
(H. Robbins, S. Monro, "A Stochastic Approximation Method", Annals of Mathematical Statistics 22(3),
1951) for a batch of any size, with any optimiser; `whole_batch` is for methods that need exact
values and gradients, since they compare them.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from ddml_kit.cluster.comm import Comm
from ddml_kit.problems.problem import BatchSize, Problem
from ddml_kit.training.objective import Method, Objective, minimise
from ddml_kit.training.optimisers import Optimiser
from ddml_kit.training.schedules import Schedule, constant


def mini_batch(
    comm: Comm,
    problem: Problem,
    optimiser: Optimiser,
    *,
    steps: int,
    batch_size: BatchSize,
    schedule: Schedule = constant,
) -> np.ndarray:
    """The model after so many steps, (dim,): forward, backward, update.

    batch_size: a number, or a function of the step. schedule: what multiplies the optimiser's rate.
    """
    w = problem.initial(seed=0)
    step = optimiser(w)
    comm.snapshot(w)
    for k, batch in enumerate(problem.batches(comm.stream("batches"), batch_size, steps)):
        gradient = problem.gradient(w, batch)
        comm.work(problem.seconds(batch))
        step(gradient, schedule(k))
        comm.snapshot(w)
    return w


class Reached(NamedTuple):
    """Where a method has come to: the model, (dim,), its steps, and how often it has evaluated."""

    w: np.ndarray
    steps: int
    evaluations: int


def whole_batch(
    comm: Comm,
    problem: Problem,
    method: Method,
    *,
    steps: int,
    tolerance: float = 0.0,
    loss: float = -math.inf,
) -> Reached:
    """Where a method is after so many steps, or fewer: it ends if it gets no lower.

    It also ends where no coordinate of the gradient is larger than the tolerance, or where the loss
    is not above `loss`. Evaluations, Hessians and the method's own arithmetic are booked as work.
    """
    f = Objective.of(problem, comm.work)
    taken = -1
    start = problem.initial(seed=0)
    for at in minimise(method, f, start, steps=steps, tolerance=tolerance, value=loss):
        comm.snapshot(at.w)
        taken += 1
    return Reached(at.w, taken, f.evaluations)
