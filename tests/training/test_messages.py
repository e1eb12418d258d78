"""Sums and broadcasts made of messages: their values, their messages, and what they take."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ddml_kit.cluster import Network, Processes, Simulated
from ddml_kit.training.messages import broadcast, ring_sum, total, tree_total

ALPHA, BETA = 1e-3, 1e6
NETWORK = Network(latency=ALPHA, bandwidth=BETA)


def of_rank(comm, program, values):
    return program(comm, values[comm.rank])


def simulated(program, values):
    return Simulated(len(values), network=NETWORK).run(of_rank, program, values)


@pytest.mark.parametrize("program", [total, tree_total])
@given(values=st.lists(st.integers(-1000, 1000), min_size=1, max_size=20))
def test_every_rank_knows_the_sum_after_as_few_messages_as_there_can_be(program, values) -> None:
    run = simulated(program, values)
    assert run.results == [sum(values)] * len(values)
    assert run.messages == 2 * (len(values) - 1)
    assert run.bytes == 8 * run.messages


@given(n=st.integers(1, 20), text=st.text(max_size=3))
def test_a_broadcast_is_the_first_rank_s_value(n, text) -> None:
    run = simulated(broadcast, [text, *range(n - 1)])
    assert run.results == [text] * n
    assert run.messages == n - 1


@given(n=st.integers(1, 9), d=st.integers(0, 30))
def test_a_ring_adds_ragged_and_empty_vectors(n, d) -> None:
    vectors = [np.arange(d) * 10.0**rank for rank in range(n)]
    run = simulated(ring_sum, vectors)
    for result in run.results:
        assert np.allclose(result, np.sum(vectors, axis=0))
    assert run.messages == 2 * n * (n - 1)
    assert run.bytes == 2 * (n - 1) * 8 * d


def test_a_ring_leaves_its_argument_alone_and_owns_its_result() -> None:
    def program(comm, x):
        before = x.copy()
        result = ring_sum(comm, x)
        result += 1
        return np.array_equal(x, before)

    assert Simulated(3).run(program, np.arange(5.0)).results == [True] * 3


@pytest.mark.parametrize("n", [2, 4, 8, 32])
def test_in_virtual_time_they_take_what_the_model_says(n) -> None:
    x = np.zeros(32 * 10)
    message = ALPHA + x.nbytes / BETA
    for program, seconds in (
        (total, 2 * (n - 1) * message),
        (broadcast, math.log2(n) * message),
        (tree_total, 2 * math.log2(n) * message),
        (ring_sum, 2 * (n - 1) * (ALPHA + x.nbytes / n / BETA)),
    ):
        assert math.isclose(simulated(program, [x] * n).seconds, seconds), program.__name__


@pytest.mark.parametrize("n", [3, 5, 6, 7, 13])
def test_where_the_ranks_fill_no_tree_it_takes_at_most_as_long(n) -> None:
    x = np.zeros(100)
    rounds = math.ceil(math.log2(n)) * (ALPHA + x.nbytes / BETA)
    assert simulated(broadcast, [x] * n).seconds <= rounds * (1 + 1e-12)
    assert simulated(tree_total, [x] * n).seconds <= 2 * rounds * (1 + 1e-12)


def test_processes_get_the_same_with_the_same_messages() -> None:
    values = [np.arange(7.0) * 10**rank for rank in range(3)]
    for program in (total, tree_total, broadcast, ring_sum):
        ours = Processes(3).run(of_rank, program, values)
        theirs = simulated(program, values)
        for a, b in zip(ours.results, theirs.results, strict=True):
            assert np.array_equal(a, b)
        assert (ours.messages, ours.bytes) == (theirs.messages, theirs.bytes)
