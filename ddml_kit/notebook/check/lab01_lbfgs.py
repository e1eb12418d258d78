"""The third exercise of lab 01: L-BFGS's direction, for which no matrix may be made."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ddml_kit.notebook.check.exercise import Case, Exercise, Mutant, Observed
from ddml_kit.notebook.check.memory import with_memory
from ddml_kit.training.quasi_newton import two_loops

LONG, PAIRS = 500, 3  # numbers and steps of the case on which memory is counted
VECTORS = 2 * PAIRS + 10  # of that length, which are more than enough beside the arguments


def lbfgs_direction(
    gradient: np.ndarray, steps: Sequence[np.ndarray], changes: Sequence[np.ndarray]
) -> np.ndarray:
    return two_loops(gradient, steps, changes)


def _observe_direction(answer: Callable[..., Any], case: Case) -> Observed:
    gradient, steps, changes = case.arguments
    if len(gradient) < LONG:
        return Observed(answer(gradient, steps, changes))
    direction, most = with_memory(lambda: answer(gradient, steps, changes))
    vectors = max(VECTORS, math.ceil(most / gradient.nbytes))
    return Observed(direction, {"vector of memory": vectors})


def _direction_case(
    gradient: list[float], steps: list[list[float]], changes: list[list[float]]
) -> Case:
    shown = f"gradient = {gradient}\nsteps = {steps}\nchanges = {changes}"
    pairs = ([np.array(v) for v in vectors] for vectors in (steps, changes))
    return Case(shown, (np.array(gradient), *pairs))


def _drawn_direction(rng: np.random.Generator) -> Case:
    curvatures = np.linspace(1.0, 10.0, LONG)
    steps = list(rng.normal(size=(PAIRS, LONG)))
    shown = f"a gradient of {LONG} random numbers, {PAIRS} steps and changes"
    return Case(shown, (rng.normal(size=LONG), steps, [curvatures * s for s in steps]))


def _stub_direction(  # type: ignore[empty-body]
    gradient: np.ndarray, steps: Sequence[np.ndarray], changes: Sequence[np.ndarray]
) -> np.ndarray: ...


def _with_a_matrix(
    gradient: np.ndarray, steps: Sequence[np.ndarray], changes: Sequence[np.ndarray]
) -> np.ndarray:
    identity = np.eye(len(gradient))
    s, y = (steps[-1], changes[-1]) if len(steps) else (np.ones(1), np.ones(1))
    B = identity * (s @ y) / (y @ y)
    for s, y in zip(steps, changes, strict=True):
        V = identity - np.outer(y, s) / (s @ y)
        B = V.T @ B @ V + np.outer(s, s) / (s @ y)
    return B @ gradient


def _loops(
    gradient: np.ndarray,
    steps: Sequence[np.ndarray],
    changes: Sequence[np.ndarray],
    there: Sequence[int],
    back: Sequence[int],
    scaled: bool = True,
) -> np.ndarray:
    """The recursion over the pairs in any order, for answers that take a wrong one."""
    q, weights = gradient.copy(), {}
    for k in there:
        weights[k] = (steps[k] @ q) / (steps[k] @ changes[k])
        q -= weights[k] * changes[k]
    if steps and scaled:
        q *= (steps[-1] @ changes[-1]) / (changes[-1] @ changes[-1])
    for k in back:
        q += (weights[k] - (changes[k] @ q) / (steps[k] @ changes[k])) * steps[k]
    return q


def _unscaled(
    gradient: np.ndarray, steps: Sequence[np.ndarray], changes: Sequence[np.ndarray]
) -> np.ndarray:
    order = range(len(steps))
    return _loops(gradient, steps, changes, order[::-1], order, scaled=False)


def _oldest_first(
    gradient: np.ndarray, steps: Sequence[np.ndarray], changes: Sequence[np.ndarray]
) -> np.ndarray:
    order = range(len(steps))
    return _loops(gradient, steps, changes, order, order[::-1])


def _second_loop_backwards(
    gradient: np.ndarray, steps: Sequence[np.ndarray], changes: Sequence[np.ndarray]
) -> np.ndarray:
    order = range(len(steps))
    return _loops(gradient, steps, changes, order[::-1], order[::-1])


def _newest_pair_alone(
    gradient: np.ndarray, steps: Sequence[np.ndarray], changes: Sequence[np.ndarray]
) -> np.ndarray:
    if not steps:
        return gradient
    s, y = steps[-1], changes[-1]
    a = (s @ gradient) / (s @ y)
    q = (gradient - a * y) * (s @ y) / (y @ y)
    return q + (a - (y @ q) / (s @ y)) * s


def _steepest(
    gradient: np.ndarray, steps: Sequence[np.ndarray], changes: Sequence[np.ndarray]
) -> np.ndarray:
    return gradient.copy()


LBFGS_DIRECTION = Exercise(
    name="lbfgs_direction",
    question="The gradient times the inverse Hessian that the last steps make, without a matrix.",
    reference=lbfgs_direction,
    key=two_loops,
    stub=_stub_direction,
    cases=[
        _direction_case([1.0, 2.0], [], []),
        _direction_case([1.0, 1.0], [[1.0, 0.0]], [[4.0, 0.0]]),
        _direction_case([1.0, 2.0], [[1.0, 1.0]], [[2.0, 8.0]]),
        _direction_case([1.0, 2.0], [[1.0, 0.0], [1.0, 1.0]], [[2.0, 0.0], [2.0, 8.0]]),
        _direction_case([1.0, -2.0, 3.0], [[1.0, 0.0, 1.0], [0.0, 1.0, 1.0], [2.0, -1.0, 0.0]],
                        [[1.0, 0.0, 9.0], [0.0, 4.0, 9.0], [2.0, -4.0, 0.0]]),
    ],
    drawn=_drawn_direction,
    observe=_observe_direction,
    most={"vector of memory": "the direction is right, but a matrix was made to get there"},
    hints=[
        "Multiply from the right: the newest pair's (g - y (s g) / (s y)) is a vector, and the "
        "next pair's matrix is multiplied with that one. Nowhere is a matrix needed.",
        "From the newest pair to the oldest: a = (s @ q) / (s @ y), keep a, q -= a * y. Then "
        "q *= (s @ y) / (y @ y) of the newest pair.",
        "Then from the oldest to the newest: q += (a - (y @ q) / (s @ y)) * s, with the a of that "
        "pair.",
    ],
    mutants=[
        Mutant(_with_a_matrix, "a matrix was made to get there"),
        Mutant(_unscaled, "not the expected answer"),
        Mutant(_oldest_first, "not the expected answer"),
        Mutant(_second_loop_backwards, "not the expected answer"),
        Mutant(_newest_pair_alone, "not the expected answer"),
        Mutant(_steepest, "not the expected answer"),
    ],
)  # fmt: skip
