"""The exercises of lab 07: right answers in other words, and what wrong ones are told."""

from __future__ import annotations

import numpy as np
import pytest

from ddml_kit.notebook import check
from ddml_kit.notebook.check.exercise import Exercise
from ddml_kit.notebook.check.judge import judge, observed
from ddml_kit.notebook.check.lab07_gamma import GOOD, left
from ddml_kit.topologies import metropolis, ring

WEIGHTS: Exercise = check.metropolis_weights.exercise
STEP: Exercise = check.choco_step.exercise
GAMMA: Exercise = check.largest_gamma.exercise


def by_hand(neighbours):
    n = len(neighbours)
    W = [[0.0] * n for _ in range(n)]
    for i in range(n):
        for j in neighbours[i]:
            W[i][j] = 1 / (1 + max(len(neighbours[i]), len(neighbours[j])))
        W[i][i] = 1 - sum(W[i])
    return W


def vectorised(neighbours):
    degrees = np.array([len(those) for those in neighbours])
    linked = np.array([[j in those for j in range(len(neighbours))] for those in neighbours])
    W = linked / (1 + np.maximum.outer(degrees, degrees))
    return W + np.diag(1 - W.sum(axis=1))


@pytest.mark.parametrize("answer", [by_hand, vectorised], ids=lambda f: f.__name__)
@pytest.mark.parametrize("seed", range(3))
def test_weights_in_other_words(answer, seed: int) -> None:
    assert judge(WEIGHTS, answer, seed).sentence == "right on 4 cases"


def test_networkx_may_be_asked_but_not_the_library() -> None:
    verdict = judge(WEIGHTS, lambda neighbours: metropolis(ring(len(neighbours))))
    assert verdict.state == "refused"


def plainly(comm, x, x_hat, W, gamma, codec):
    news = codec.encode(x - x_hat[comm.rank])
    others = [j for j in x_hat if j != comm.rank]
    for j in others:
        comm.send(news, j)
    x_hat[comm.rank] = x_hat[comm.rank] + codec.decode(news)
    for j in others:
        x_hat[j] = x_hat[j] + codec.decode(comm.recv(j).value)
    for j in others:
        x = x + gamma * W[comm.rank, j] * (x_hat[j] - x_hat[comm.rank])
    return x


def as_they_come(comm, x, x_hat, W, gamma, codec):
    """Neighbours by W, messages in the order in which they arrive, sums as a matrix."""
    i = comm.rank
    linked = np.flatnonzero(W[i])
    rng = np.random.default_rng(0)
    news = codec.encode(x - x_hat[i], rng)
    for j in linked[linked != i]:
        comm.send(news, int(j))
    x_hat[i] += codec.decode(news)
    for j in linked[linked != i][::-1]:
        x_hat[int(j)] += codec.decode(comm.recv(int(j)).value)
    known = np.array([x_hat[int(j)] for j in linked])
    return x + gamma * (W[i, linked] @ known - W[i, linked].sum() * x_hat[i])


@pytest.mark.parametrize("answer", [plainly, as_they_come], ids=lambda f: f.__name__)
@pytest.mark.parametrize("seed", range(3))
def test_a_step_in_other_words(answer, seed: int) -> None:
    assert judge(STEP, answer, seed).sentence == "right on 4 cases, at the right cost"


def test_a_step_is_judged_by_its_messages() -> None:
    case = STEP.cases[0]  # 2 ranks, 3 steps; the top 1 of 2 is 4 bytes and an index
    cost = observed(STEP, plainly, case).cost
    assert cost == {"message": 6, "byte": 6 * 5}


def test_a_collective_does_not_do() -> None:
    def by_all(comm, x, x_hat, W, gamma, codec):
        told = comm.all_gather(codec.encode(x - x_hat[comm.rank]))
        for j in x_hat:
            x_hat[j] += codec.decode(told[j])
        i = comm.rank
        return x + gamma * sum(W[i, j] * (x_hat[j] - x_hat[i]) for j in x_hat)

    assert judge(STEP, by_all).sentence == "it calls all_gather: use send and recv alone"


def by_thirds(error):
    """Three parts instead of two, and a pleasant end."""
    low, high = 0.0, 1.0
    if error(high) < 1:
        return high
    while high - low > 0.05:
        third = low + (high - low) / 3
        if error(third) >= 1:
            high = third
        elif error(third + (high - low) / 3) < 1:
            low = third + (high - low) / 3
        else:
            low, high = third, third + (high - low) / 3
    return np.float64(low)


def rounded(error):
    """In sixteenths, as whole numbers."""
    low, high = 0, 16
    if error(1.0) < 1:
        return 1
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if error(middle / 16) < 1 else (low, middle)
    return low / 16


@pytest.mark.parametrize("answer", [by_thirds, rounded], ids=lambda f: f.__name__)
@pytest.mark.parametrize("seed", range(6))
def test_a_search_in_other_words(answer, seed: int) -> None:
    verdict = judge(GAMMA, answer, seed)
    assert verdict.sentence == "right on 4 cases, at the right cost", verdict


def test_a_gamma_is_judged_by_running_it() -> None:
    case = GAMMA.cases[1]
    error = left(*case.arguments)
    assert error(0.45) < 1 < error(0.6)
    for gamma, words in ((0.48, GOOD), (0.4, "smaller as well"), (0.6, "times as large")):
        assert words in observed(GAMMA, lambda error, gamma=gamma: gamma, case).value


@pytest.mark.parametrize(
    ("gamma", "told"),
    [
        (None, "None, which is no number"),
        (0.0, "γ = 0, which is not above 0"),
        (1.5, "γ = 1.5, which is not above 0 and at most 1"),
        (float("nan"), "γ = nan, which is not"),
        (True, "True, which is no number"),
    ],
)
def test_what_is_no_step_size_is_told(gamma, told: str) -> None:
    verdict = judge(GAMMA, lambda error: gamma if error else 0.5)
    assert told in verdict.details["got"]


def test_a_drawn_ring_has_a_largest_gamma_below_one() -> None:
    for seed in range(4):
        error = left(*GAMMA.drawn(np.random.default_rng(seed)).arguments)
        assert error(1.0) > 1 > error(0.1)
