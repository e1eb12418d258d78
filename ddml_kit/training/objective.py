"""A smooth function as methods see it that look at all of the data in every step.

They ask for the value and the gradient at a point, both at once, and some for the Hessian. What is
asked is counted, and, where the function is a problem on a cluster, booked as work: evaluations,
not steps, are what a method costs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from ddml_kit.problems.problem import FLOPS, Problem
from ddml_kit.problems.sparse import dense
from ddml_kit.training.optimisers import Optimiser


class Point(NamedTuple):
    """Where a method is: w, (dim,), with the function's value and gradient, (dim,), there."""

    w: np.ndarray
    value: float
    gradient: np.ndarray


class Objective:
    """A function of w, (dim,), to be made small.

    value_and_gradient(w) -> (number, (dim,)); hessian(w) -> (dim, dim), for methods that want it.
    evaluations, hessians: how often each has been asked for.
    """

    def __init__(
        self,
        value_and_gradient: Callable[[np.ndarray], tuple[float, np.ndarray]],
        hessian: Callable[[np.ndarray], np.ndarray] | None = None,
        work: Callable[[float], object] | None = None,
    ) -> None:
        """work(operations): called with the arithmetic that a method does beside the data."""
        self._value_and_gradient, self._hessian, self._work = value_and_gradient, hessian, work
        self.evaluations = self.hessians = 0

    @classmethod
    def of(cls, problem: Problem, work: Callable[[float], object]) -> Objective:
        """The mean loss over all samples. work(seconds): how what it costs is booked.

        An evaluation costs the seconds of a gradient, whose forward pass has the value.
        """
        [everything] = problem.batches(None, len(problem), 1)

        def value_and_gradient(w: np.ndarray) -> tuple[float, np.ndarray]:
            work(problem.seconds(everything))
            return problem.loss(w), dense(problem.gradient(w, everything), problem.dim)

        def hessian(w: np.ndarray) -> np.ndarray:
            work(problem.hessian_seconds(everything))
            return problem.hessian(w, everything)

        return cls(value_and_gradient, hessian, lambda operations: work(operations / FLOPS))

    def at(self, w: np.ndarray) -> Point:
        """The point w with value and gradient: one evaluation."""
        self.evaluations += 1
        value, gradient = self._value_and_gradient(w)
        return Point(w, float(value), gradient)

    def hessian(self, w: np.ndarray) -> np.ndarray:
        """The Hessian at w, (dim, dim). Raises ValueError where there is none."""
        if self._hessian is None:
            raise ValueError("this method needs second derivatives: give the objective a hessian")
        self.hessians += 1
        return self._hessian(w)

    def work(self, operations: float) -> None:
        """Book a method's own arithmetic, in additions and multiplications."""
        if self._work is not None:
            self._work(operations)


# A method: where it is after each step, from the start on, for as long as it gets any lower.
Method = Callable[[Objective, np.ndarray], Iterator[Point]]


def following(optimiser: Optimiser) -> Method:
    """An optimiser as a method: gradient descent with sgd, and so on, all data in every step."""

    def method(f: Objective, w: np.ndarray) -> Iterator[Point]:
        w = w.copy()
        step = optimiser(w)
        while True:
            at = f.at(w.copy())
            yield at
            step(at.gradient, 1.0)

    return method


def minimise(
    method: Method,
    f: Objective,
    w: np.ndarray,
    *,
    steps: int,
    tolerance: float = 0.0,
    value: float = -math.inf,
) -> Iterator[Point]:
    """The points that a method comes by, the start included, at most steps + 1.

    It ends where no coordinate of the gradient is larger than the tolerance, or where the function
    is not above `value`.
    """
    for k, at in enumerate(method(f, w)):
        yield at
        if k == steps or np.abs(at.gradient).max() <= tolerance or at.value <= value:
            return
