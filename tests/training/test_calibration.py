"""Ping-pong, the fit of latency and bandwidth, and a network made from them."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ddml_kit.cluster import Exponential, Network, Processes, Simulated
from ddml_kit.training.calibration import (
    SIZES,
    calibrate,
    crowded,
    fit,
    network,
    ping_pong,
    timed,
)
from ddml_kit.training.messages import broadcast

NETWORK = Network(latency=2e-5, bandwidth=3e8)


def test_a_ping_pong_measures_what_the_network_costs() -> None:
    run = Simulated(2, network=NETWORK).run(ping_pong, [8, 3000], repeats=3)
    expected = [2e-5 + 8 / 3e8, 2e-5 + 3000 / 3e8]
    assert np.allclose(run.results[0], expected, rtol=1e-12)
    assert run.messages == 2 * 2 * 3
    assert run.bytes == 2 * 3 * 3008


def test_other_ranks_look_on() -> None:
    run = Simulated(4, network=NETWORK).run(ping_pong, [8], repeats=5)
    assert run.results[3].tolist() == [0.0]
    assert run.messages == 10


@given(
    alpha=st.floats(1e-7, 1e-2),
    beta=st.floats(1e6, 1e11),
    sizes=st.lists(st.integers(1, 10**7), min_size=2, max_size=8, unique=True),
)
def test_a_fit_finds_the_line_on_which_the_points_lie(alpha, beta, sizes) -> None:
    seconds = [alpha + m / beta for m in sizes]
    found = fit(sizes, seconds)
    assert np.allclose([found[0] + m / found[1] for m in sizes], seconds, rtol=1e-9)


def test_a_fit_of_noisy_points_is_near() -> None:
    rng = np.random.default_rng(0)
    seconds = [(1e-5 + m / 1e9) * rng.uniform(0.9, 1.1) for m in SIZES]
    alpha, beta = fit(SIZES, seconds)
    assert 0.9e-5 < alpha < 1.1e-5
    assert 0.8e9 < beta < 1.25e9


def test_a_fit_weighs_relative_errors_so_that_short_messages_count() -> None:
    seconds = [1e-5, 1e-5, 1e-3, 2.3e-3]  # the last is 15 % too long: 0.3 ms, thirty latencies
    alpha, _ = fit([8, 80, 10**6, 2 * 10**6], seconds)
    assert 0.9e-5 < alpha < 1.1e-5


def test_a_fit_gives_nothing_negative_however_odd_the_times() -> None:
    alpha, beta = fit([8, 1000], [2e-5, 1e-5])  # the longer one was faster
    assert alpha > 0
    assert beta == math.inf
    alpha, beta = fit([100, 1000], [1e-5, 2e-4])  # the line would cross zero below
    assert alpha == 0
    assert 0 < beta < math.inf


@pytest.mark.parametrize(
    ("sizes", "seconds", "words"),
    [
        ([8], [1e-5], "two or more sizes"),
        ([8, 8], [1e-5, 1e-5], "two or more sizes"),
        ([8, 80], [1e-5], "got 1 times for"),
        ([8, 80], [1e-5, 0.0], "above 0 seconds"),
        ([8, 80], [1e-5, math.nan], "above 0 seconds"),
    ],
)
def test_a_fit_refuses_what_is_no_line(sizes, seconds, words) -> None:
    with pytest.raises(ValueError, match=words):
        fit(sizes, seconds)


@pytest.mark.parametrize(("latency", "bandwidth"), [(1e-7, 1e10), (5e-5, 1e9), (1e-2, 1e6)])
def test_calibrating_the_simulated_cluster_gives_its_own_network(latency, bandwidth) -> None:
    network = Network(latency=latency, bandwidth=bandwidth)
    found = calibrate(Simulated(2, network=network), repeats=2)
    assert math.isclose(found.latency, latency, rel_tol=1e-6)
    assert math.isclose(found.bandwidth, bandwidth, rel_tol=1e-6)


def test_calibrating_processes_gives_a_network_that_a_simulation_takes() -> None:
    network = calibrate(Processes(2), sizes=(8, 10_000), repeats=3)
    assert Simulated(3, network=network).run(broadcast, 1.0).results == [1.0] * 3


def test_a_ping_pong_needs_two() -> None:
    with pytest.raises(ValueError, match="needs 2 ranks, got a cluster of 1"):
        calibrate(Simulated(1))


def test_timed_measures_from_a_barrier_so_that_no_late_rank_counts() -> None:
    def late_once(comm, log):
        comm.work(1.0)
        return log

    def program(comm):
        if comm.rank == 1:
            comm.work(5.0)
        return timed(comm, late_once, 3, "log")

    run = Simulated(2).run(program)
    assert np.allclose(run.results, np.ones((2, 3)))


def test_timed_repeats_and_a_repeat_lasts_as_long_as_its_slowest_rank() -> None:
    def work(comm, seconds):
        comm.work(seconds)

    run = Simulated(3, slowdowns=[Exponential()], seed=1).run(timed, work, 4, 0.5)
    taken = np.array(run.results)
    assert taken.shape == (3, 4)
    assert len(np.unique(taken)) == 12
    barriers = 4 * Network().barrier_seconds(range(3), 3)
    assert math.isclose(np.max(taken, axis=0).sum() + barriers, run.seconds)


TWO_RACKS = Network(
    latency=2e-5, bandwidth=3e8, racks=2, uplink_latency=1e-4, uplink_bandwidth=1e7, fair=True
)


@pytest.mark.parametrize("size", [3, 4, 5])
def test_calibrating_racks_gives_their_network(size) -> None:
    found = calibrate(Simulated(size, network=TWO_RACKS), repeats=2, racks=2, fair=True)
    for name, value in vars(TWO_RACKS).items():
        assert math.isclose(getattr(found, name), value, rel_tol=1e-6), name


def test_racks_that_are_no_farther_apart_have_uplinks_without_latency() -> None:
    found = network([8, 1000], [2e-5, 3e-5], [1e-5, 3e-5], racks=2)
    assert found.uplink_latency == 0


@pytest.mark.parametrize(
    ("far", "racks", "words"),
    [
        ([2e-5, 3e-5], 1, "got them for racks = 1"),
        (None, 2, "got none for racks = 2"),
    ],
)
def test_times_between_racks_go_with_racks(far, racks, words) -> None:
    with pytest.raises(ValueError, match=f"more racks than 1 and only they .*{words}"):
        network([8, 1000], [1e-5, 2e-5], far, racks=racks)


@pytest.mark.parametrize(("size", "racks"), [(3, 3), (8, 9), (4, 0)])
def test_a_ping_pong_within_a_rack_needs_two_ranks_there(size, racks) -> None:
    with pytest.raises(
        ValueError, match=f"so {size} ranks have from 1 to {size - 1} racks, got {racks}"
    ):
        calibrate(Simulated(size), racks=racks)


@pytest.mark.parametrize("size", [1, 2, 5])
def test_in_a_crowd_that_shares_nothing_a_round_takes_a_message(size) -> None:
    seconds = Simulated(size, network=NETWORK).run(crowded, 10).results
    assert np.allclose(seconds, 2e-5 + 8 / 3e8 if size > 1 else 0.0, rtol=1e-9)


def test_no_latency_is_less_than_in_the_crowd() -> None:
    sizes = [8, 10**6]
    near, far = ([alpha + m / 1e8 for m in sizes] for alpha in (1e-5, 3e-5))
    for least, latency, uplink in ((0.0, 1e-5, 2e-5), (2e-5, 2e-5, 1e-5), (5e-5, 5e-5, 0.0)):
        found = network(sizes, near, far, racks=2, least=least)
        assert math.isclose(found.latency, latency, rel_tol=1e-6)
        assert math.isclose(found.uplink_latency, uplink, rel_tol=1e-6)
