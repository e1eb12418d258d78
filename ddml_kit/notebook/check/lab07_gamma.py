"""The third exercise of lab 07: the largest step size with which CHOCO-Gossip contracts.

A search, judged by running what it has found, and by how many runs it took.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import islice
from typing import Any

import networkx as nx
import numpy as np

from ddml_kit.notebook.check.exercise import Case, Exercise, Mutant, Observed, Words
from ddml_kit.topologies import consensus
from ddml_kit.topologies.graphs import complete, exponential, ring
from ddml_kit.topologies.mixing import metropolis

TRIED = 200  # steps of a run
CLOSE = 1 / 16  # how much less than the largest gamma will do
ENOUGH = 10  # runs
LENGTH = 40
Left = Callable[[float], float]


def top(k: int, X: np.ndarray) -> np.ndarray:
    """The k largest entries of each row, by size; the others 0."""
    kept, rows = np.zeros_like(X), np.arange(len(X))[:, None]
    at = np.argpartition(-np.abs(X), k - 1, axis=1)[:, :k]
    kept[rows, at] = X[rows, at]
    return kept


def left(graph: nx.Graph, k: int, seed: int) -> Left:
    """What CHOCO-Gossip of the top k of 40 leaves of the squared error after 200 steps."""
    W = metropolis(graph)
    X = np.random.default_rng(seed).normal(size=(len(graph), LENGTH))

    def error(gamma: float) -> float:
        if not 0 < gamma <= 1:
            raise ValueError(f"gamma must be more than 0 and at most 1, got {gamma}")
        with np.errstate(over="ignore", invalid="ignore"):
            run = consensus.choco(X, W, Q=partial(top, k), gamma=gamma)
            last = next(islice(run, TRIED, None))
            share = consensus.distance(last) / consensus.distance(X)
        return share if np.isfinite(share) else np.inf

    return error


def largest_gamma(error: Left) -> float:
    return consensus.largest_gamma(error)


def _observe_gamma(answer: Callable[..., Any], case: Case) -> Observed:
    """That the step size is good, or in words why not; and how often it was tried."""
    error, runs = left(*case.arguments), 0

    def counted(gamma: float) -> float:
        nonlocal runs
        runs += 1
        return error(gamma)

    found = answer(counted)
    cost = {"run": max(ENOUGH, runs)}
    if isinstance(found, bool) or not isinstance(found, int | float | np.number):
        return Observed(Words(f"{found!r}, which is no number"), cost)
    gamma = float(found)
    if not 0 < gamma <= 1:
        return Observed(Words(f"γ = {gamma:.4g}, which is not above 0 and at most 1"), cost)
    if (share := error(gamma)) >= 1:
        words = f"γ = {gamma:.4g}, which makes the squared error {share:.3g} times as large"
        return Observed(Words(words), cost)
    if gamma + CLOSE <= 1 and error(gamma + CLOSE) < 1:
        words = f"γ = {gamma:.4g}, and γ = {gamma + CLOSE:.4g} makes it smaller as well"
        return Observed(Words(words), cost)
    return Observed(Words(GOOD), cost)


GOOD = f"a γ that makes the error smaller, while {CLOSE:g} more does not"


def _gamma_case(what: str, graph: nx.Graph, k: int, seed: int = 0) -> Case:
    return Case(f"{what}, the top {k} of {LENGTH} numbers travel", (graph, k, seed))


def _drawn_gamma(rng: np.random.Generator) -> Case:
    n, seed = int(rng.integers(6, 13)), int(rng.integers(1000))
    return _gamma_case(f"a ring of {n}", ring(n), int(rng.integers(1, 4)), seed)


def _stub_gamma(error: Left) -> float: ...  # type: ignore[empty-body]


def _as_far_as_it_goes(error: Left) -> float:
    return 1.0


def _a_safe_one(error: Left) -> float:
    return 0.01


def _one_after_the_other(error: Left) -> float:
    return max(k / 50 for k in range(1, 51) if error(k / 50) < 1)


def _first_half_that_works(error: Left) -> float:
    gamma = 1.0
    while error(gamma) >= 1:
        gamma /= 2
    return gamma


def _the_best(error: Left) -> float:
    return min((k / 10 for k in range(1, 11)), key=error)


def _the_upper_end(error: Left) -> float:
    low, high = 0.0, 1.0
    while high - low > 1 / 32:
        middle = (low + high) / 2
        low, high = (middle, high) if error(middle) < 1 else (low, middle)
    return high


LARGEST_GAMMA = Exercise(
    name="largest_gamma",
    question="The largest step size from 0 to 1 with which the error gets smaller, in few runs.",
    reference=largest_gamma,
    key=consensus.largest_gamma,
    stub=_stub_gamma,
    cases=[
        _gamma_case("all to all, 6 workers", complete(6), LENGTH),
        _gamma_case("a ring of 8", ring(8), 4),
        _gamma_case("an exponential graph of 8", exponential(8), 1),
    ],
    drawn=_drawn_gamma,
    observe=_observe_gamma,
    most={
        "run": "the step size is right, but it took too many runs to find it: each run can halve "
        "what is left to search"
    },
    hints=[
        "If γ = 1 does it, there is nothing to search. If not, try a half: in which half does the "
        "largest one lie?",
        "Keep two numbers: `low`, with which the error gets smaller, and `high`, with which it "
        "doesn't. Try the middle, and move one of them there.",
        "while high - low > 1 / 32: middle = (low + high) / 2; if error(middle) < 1 it becomes "
        "low, else high. Return low.",
    ],
    mutants=[
        Mutant(_as_far_as_it_goes, "which makes the squared error"),
        Mutant(_a_safe_one, "makes it smaller as well"),
        Mutant(_one_after_the_other, "it took too many runs to find it"),
        Mutant(_first_half_that_works, "makes it smaller as well"),
        Mutant(_the_best, "makes it smaller as well"),
        Mutant(_the_upper_end, "which makes the squared error"),
    ],
)
