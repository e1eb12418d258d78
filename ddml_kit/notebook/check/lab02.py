"""The exercises of lab 02, Hogwild!."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np

from ddml_kit.notebook.check.exercise import Case, Exercise, Mutant, Observed
from ddml_kit.notebook.check.written import coordinates_written
from ddml_kit.problems.sparse import Sparse
from ddml_kit.training.hogwild import staleness


def sparse_update(w: np.ndarray, gradient: Sparse, lr: float) -> None:
    gradient.add_to(w, -lr)


def _observe_update(answer: Callable[..., Any], case: Case) -> Observed:
    again = copy.deepcopy(case.arguments)
    w, gradient, lr = case.arguments
    answer(w, gradient, lr)
    return Observed(w, {"coordinate written": coordinates_written(answer, *again)})


def _update_case(w: list[float], indices: list[int], values: list[float], lr: float) -> Case:
    vector, gradient = np.array(w), Sparse(np.array(indices, np.int32), np.array(values))
    shown = f"w = {w}\ngradient = Sparse(indices={indices}, values={values})\nlr = {lr}"
    return Case(shown, (vector, gradient, lr))


def _stub_update(w: np.ndarray, gradient: Sparse, lr: float) -> None: ...


def _dense_write(w: np.ndarray, gradient: Sparse, lr: float) -> None:
    w -= lr * gradient.dense(len(w))


def _dense_copy(w: np.ndarray, gradient: Sparse, lr: float) -> None:
    new = w.copy()
    new[gradient.indices] -= lr * gradient.values
    np.copyto(w, new)


def _not_in_place(w: np.ndarray, gradient: Sparse, lr: float) -> np.ndarray:
    w = w - lr * gradient.dense(len(w))
    return w


def _uphill(w: np.ndarray, gradient: Sparse, lr: float) -> None:
    w[gradient.indices] += lr * gradient.values


def _no_step_size(w: np.ndarray, gradient: Sparse, lr: float) -> None:
    w[gradient.indices] -= gradient.values


def _first_coordinates(w: np.ndarray, gradient: Sparse, lr: float) -> None:
    w[: len(gradient.values)] -= lr * gradient.values


SPARSE_UPDATE = Exercise(
    name="sparse_update",
    question="w -= lr * gradient, in place, writing only the coordinates that the gradient has.",
    reference=sparse_update,
    key=Sparse.add_to,
    stub=_stub_update,
    cases=[
        _update_case([1.0], [0], [2.0], 0.5),
        _update_case([1.0, 1.0, 1.0], [1], [2.0], 0.5),
        _update_case([0.0, 3.0, 0.0, -1.0, 2.0], [0, 3, 4], [1.0, -1.0, 0.5], 0.1),
    ],
    observe=_observe_update,
    hints=[
        "A Sparse has two arrays of one length: indices, and the values at them.",
        "NumPy takes an array of indices: w[indices] reads those coordinates, and can be assigned.",
    ],
    key_says="It is called with w and -lr.",
    mutants=[
        Mutant(_dense_write, "3 coordinates written"),
        Mutant(_dense_copy, "3 coordinates written"),
        Mutant(_not_in_place, "not the expected answer"),
        Mutant(_uphill, "not the expected answer"),
        Mutant(_no_step_size, "not the expected answer"),
        Mutant(_first_coordinates, "not the expected answer"),
    ],
)


def _observe_staleness(answer: Callable[..., Any], case: Case) -> Observed:
    before, after, rank = case.arguments
    return Observed(answer(before, after, rank))


def _staleness_case(before: list[int], after: list[int], rank: int) -> Case:
    shown = f"before = {before}\nafter = {after}\nrank = {rank}"
    return Case(shown, (np.array(before), np.array(after), rank))


def _stub_staleness(before: np.ndarray, after: np.ndarray, rank: int) -> int: ...  # type: ignore[empty-body]


def _own_as_well(before: np.ndarray, after: np.ndarray, rank: int) -> int:
    return int((after - before).sum())


def _who_wrote(before: np.ndarray, after: np.ndarray, rank: int) -> int:
    return int(np.count_nonzero(after - before)) - 1


def _since_the_start(before: np.ndarray, after: np.ndarray, rank: int) -> int:
    return int(after.sum() - after[rank])


STALENESS = Exercise(
    name="staleness",
    question="How many updates of others fell between this rank's reading and its writing?",
    reference=staleness,
    key=staleness,
    stub=_stub_staleness,
    cases=[
        _staleness_case([0], [1], 0),
        _staleness_case([0, 0], [1, 1], 0),
        _staleness_case([4, 2, 7], [5, 5, 7], 0),
        _staleness_case([3, 3, 3, 3], [9, 4, 4, 3], 1),
    ],
    observe=_observe_staleness,
    hints=[
        "Take three workers, and write the two arrays down.",
        "after - before tells how many updates each rank made in between.",
        "Your own update is among them.",
    ],
    mutants=[
        Mutant(_own_as_well, "expected  0"),
        Mutant(_who_wrote, "expected  3"),
        Mutant(_since_the_start, "expected  3"),
    ],
)
