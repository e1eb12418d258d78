"""What an all-reduce costs on paper is what it takes in virtual time."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ddml_kit.cluster import Network, Simulated
from ddml_kit.collectives import (
    cost,
    halving_doubling,
    hierarchical,
    master_worker,
    ring,
    tree,
)

ALPHA, BETA = 1e-3, 1e6
NETWORK = Network(latency=ALPHA, bandwidth=BETA)
S = 8 * 9 * 16 * 5  # bytes of a vector that 2 to 6, 8, 9 and 16 ranks divide


def seconds(n, algorithm, network=NETWORK, nbytes=S):
    x = np.zeros(nbytes // 8)
    return Simulated(n, network=network).run(lambda comm: algorithm(comm, x)).seconds


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 8, 9, 16])
def test_in_virtual_time_they_take_what_they_cost_on_paper(n):
    ring_ = cost.ring_seconds(n, S, NETWORK)
    assert ring_ == pytest.approx(2 * (n - 1) * (ALPHA + S / n / BETA))
    assert seconds(n, ring) == pytest.approx(ring_)
    master = cost.master_worker_seconds(n, S, NETWORK)
    assert master == pytest.approx(2 * (n > 1) * (ALPHA + (n - 1) * S / BETA))
    assert seconds(n, master_worker) == pytest.approx(master)


@pytest.mark.parametrize("n", [1, 2, 4, 8, 16])
def test_trees_and_halves_of_a_power_of_two_too(n):
    rounds = int(np.log2(n))
    tree_ = cost.tree_seconds(n, S, NETWORK)
    assert tree_ == pytest.approx(2 * rounds * (ALPHA + S / BETA))
    assert seconds(n, tree) == pytest.approx(tree_)
    halves = cost.halving_doubling_seconds(n, S, NETWORK)
    assert halves == pytest.approx(2 * rounds * ALPHA + 2 * (n - 1) / n * S / BETA)
    assert seconds(n, halving_doubling) == pytest.approx(halves)


@given(n=st.integers(1, 20), nbytes=st.integers(0, 200).map(lambda length: 64 * length))
def test_other_trees_take_less_and_other_halves_a_vector_more_at_most(n, nbytes):
    assert seconds(n, tree, nbytes=nbytes) <= cost.tree_seconds(n, nbytes, NETWORK) * (1 + 1e-9)
    p = 1 << (n.bit_length() - 1)
    if nbytes // 8 % p == 0:
        taken = seconds(n, halving_doubling, nbytes=nbytes)
        paper = cost.halving_doubling_seconds(n, nbytes, NETWORK)
        assert paper * (1 - 1e-9) <= taken <= (paper + nbytes / BETA) * (1 + 1e-9)


@pytest.mark.parametrize(("n", "racks"), [(4, 1), (6, 2), (9, 3), (8, 3), (5, 5), (16, 4), (13, 4)])
def test_over_racks_it_takes_as_long_as_on_paper_at_most(n, racks):
    network = Network(
        latency=ALPHA, bandwidth=BETA, racks=racks, uplink_latency=3e-3, uplink_bandwidth=BETA / 2
    )
    paper = cost.hierarchical_seconds(n, S, network)
    m, between = n // racks, ALPHA + 3e-3
    expected = 2 * (m - 1) * (ALPHA + S / m / BETA)
    if racks > 1:
        expected += 2 * (racks - 1) * (between + S / racks / (BETA / 2))
    if n % racks:
        expected += 2 * (ALPHA + S / BETA)
    assert paper == pytest.approx(expected)
    taken = seconds(n, partial(hierarchical, racks=racks), network)
    assert 0.75 * paper <= taken <= paper * (1 + 1e-9)
    if racks in (1, n):
        assert taken == pytest.approx(paper)


def test_with_more_racks_than_ranks_each_rank_has_its_own():
    network = Network(racks=8)
    assert cost.hierarchical_seconds(4, S, network) == cost.ring_seconds(4, S, network)
    assert cost.hierarchical_seconds(1, S, network) == 0


def test_where_racks_are_far_apart_it_pays_to_know_of_them():
    network = Network(racks=4, uplink_latency=500e-6, uplink_bandwidth=2.5e8)
    over_racks = partial(hierarchical, racks=4)
    for nbytes in (8_000, 800_000):
        assert seconds(24, over_racks, network, nbytes) < seconds(24, ring, network, nbytes)
        assert seconds(24, over_racks, network, nbytes) < seconds(
            24, halving_doubling, network, nbytes
        )


def test_a_short_vector_wants_few_steps_and_a_long_one_few_bytes():
    """The crossover of tree and ring is where their formulas cross."""
    n = 8
    # 2 log2 n (alpha + S / beta) = 2 (n - 1) (alpha + S / (n beta)) at this S:
    crossover = (n - 1 - 3) * ALPHA * BETA / (3 - (n - 1) / n)
    for nbytes in (crossover * 0.9, crossover * 1.1):
        whole = round(nbytes / 64) * 64
        assert (seconds(n, tree, nbytes=whole) < seconds(n, ring, nbytes=whole)) == (
            nbytes < crossover
        )
