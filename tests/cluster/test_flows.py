"""Networks whose messages share links: who has how much of them, and when messages arrive."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ddml_kit.cluster import Deadlock, Network, RankFailed, Simulated
from ddml_kit.cluster.virtual.flows import fair

ALPHA, BETA = 1e-3, 1e6  # seconds; bytes a second
NET = Network(latency=ALPHA, bandwidth=BETA, fair=True)
RACKS = Network(
    latency=ALPHA,
    bandwidth=BETA,
    racks=2,
    uplink_latency=10 * ALPHA,
    uplink_bandwidth=BETA / 4,
    fair=True,
)
MILLI = 1e-3


def close(x):
    return pytest.approx(x, rel=1e-9, abs=1e-12)


def kilobytes(k):
    """An array that has a link to itself for k milliseconds."""
    return np.zeros(1000 * k, np.uint8)


def arrivals(network, size, messages, **options):
    """When messages (seconds, source, dest, kilobytes) arrive, in milliseconds, in that order."""

    def program(comm):
        mine = sorted(
            (at, k) for k, (at, source, _, _) in enumerate(messages) if source == comm.rank
        )
        pending = comm.start(receive, comm)
        for at, k in mine:
            comm.work(at - comm.now())
            comm.send(kilobytes(messages[k][3]), messages[k][2], tag=k)
        return pending.wait()

    def receive(comm):
        coming = sum(dest == comm.rank for _, _, dest, _ in messages)
        return {comm.recv().tag: comm.now() for _ in range(coming)}

    found = {}
    for result in Simulated(size, network=network, **options).run(program).results:
        found |= result
    return [found[k] / MILLI for k in range(len(messages))]


def test_a_message_alone_costs_what_it_costs_in_order():
    near, far = (0.0, 0, 1, 2), (100 * MILLI, 0, 3, 2)
    assert arrivals(RACKS, 4, [near, far]) == [close(1 + 2), close(100 + 11 + 8)]


def test_messages_that_leave_a_rank_together_arrive_together():
    assert arrivals(NET, 4, [(0.0, 0, k, 1) for k in (1, 2, 3)]) == [close(1 + 3)] * 3


def test_messages_that_come_into_a_rank_together_share_its_link():
    assert arrivals(NET, 4, [(0.0, k, 0, 1) for k in (1, 2, 3)]) == [close(1 + 3)] * 3


def test_the_ranks_of_a_rack_share_its_uplink_each_way_for_itself():
    there, back = [(0.0, k, 2 + k, 1) for k in (0, 1)], [(0.0, 3, 0, 1)]
    assert arrivals(RACKS, 4, there + back) == [close(11 + 8), close(11 + 8), close(11 + 4)]


def test_one_that_comes_later_slows_those_that_are_under_way_and_one_that_ends_frees_them():
    first, later = (0.0, 0, 1, 4), (2 * MILLI, 0, 2, 1)
    assert arrivals(NET, 3, [first, later]) == [close(1 + 5), close(1 + 4)]


def test_a_message_on_a_slow_way_leaves_the_rest_of_a_ranks_link_to_others():
    far, near = (0.0, 0, 3, 1), (0.0, 0, 1, 3)
    assert arrivals(RACKS, 4, [far, near]) == [close(11 + 4), close(1 + 4)]


def test_messages_of_a_pair_follow_one_another():
    pair = [(0.0, 0, 1, 1), (0.0, 0, 1, 0), (0.0, 0, 1, 2)]
    other = [(0.0, 2, 1, 2)]
    assert arrivals(NET, 3, pair + other) == [close(3), close(3), close(6), close(5)]


def test_a_message_without_bytes_and_one_to_oneself():
    assert arrivals(NET, 2, [(0.0, 0, 1, 0), (0.0, 1, 1, 5)]) == [close(1), 0.0]


def test_without_a_limit_it_is_latency_alone():
    network = Network(latency=ALPHA, bandwidth=math.inf, fair=True)
    assert arrivals(network, 3, [(0.0, 0, 1, 4), (0.0, 2, 1, 4)]) == [close(1), close(1)]


@st.composite
def shares(draw):
    """Links with capacities, and flows over some of them."""
    capacity = draw(st.lists(st.sampled_from([1.0, 2.0, 7.0, math.inf]), min_size=1, max_size=5))
    links = st.sets(st.sampled_from(range(len(capacity))), min_size=1)
    return capacity, [sorted(flow) for flow in draw(st.lists(links, max_size=8))]


@given(shares())
def test_fair_is_max_min_fair(case):
    """Every flow has a link that is full, and on which none has more."""
    capacity, flows = case
    rates = fair(flows, capacity)
    for flow, rate in zip(flows, rates, strict=True):
        limits = []
        for link in flow:
            users = [rates[k] for k, links in enumerate(flows) if link in links]
            assert sum(users) <= capacity[link] * (1 + 1e-9)
            full = sum(users) >= capacity[link] * (1 - 1e-9)
            limits.append(full and rate >= max(users) * (1 - 1e-9))
        assert any(limits)


@given(st.data())
def test_links_are_never_idle_while_something_waits_for_them(data):
    """To one rank, whatever comes when: the last message is whole when the link has carried all."""
    at = st.integers(0, 8).map(lambda t: t * MILLI)
    message = st.tuples(at, st.sampled_from([1, 2]), st.just(0), st.integers(0, 4))
    messages = data.draw(st.lists(message, min_size=1, max_size=8))
    free = 0.0
    for seconds, _, _, k in sorted(messages):
        free = max(free, seconds / MILLI) + k
    assert max(arrivals(NET, 3, messages)) == close(1 + free)


def test_a_run_is_the_same_event_by_event():
    def program(comm):
        rng = comm.stream("traffic")
        for _ in range(20):
            comm.work(rng.exponential(MILLI))
            comm.send(np.zeros(rng.integers(1, 5000)), int(rng.integers(comm.size)))
        comm.barrier()

    first, second = (Simulated(6, network=RACKS).run(program) for _ in range(2))
    assert first.trace == second.trace


def test_what_the_dead_have_sent_still_arrives_and_then_nothing_can():
    def program(comm, wanted):
        if comm.rank == 1:
            comm.send(kilobytes(3), 0, tag=1)
            comm.send(kilobytes(2), 0, tag=2)
            comm.send(kilobytes(3), 2, tag=1)
        comm.work(2 * MILLI)
        taken = [(comm.recv(1, tag).tag, comm.now()) for tag in wanted[comm.rank]]
        with pytest.raises(RankFailed):
            comm.recv(1)
        return taken

    cluster = Simulated(3, network=NET, crashes={1: MILLI}, on_failure="continue")
    first, _, other = cluster.run(program, [(2, 1), (), (1,)]).results
    assert first == [(2, close(9 * MILLI)), (1, close(9 * MILLI))]
    assert other == [(1, close(7 * MILLI))]


def test_a_deadlock_is_at_the_time_of_the_last_event():
    def program(comm):
        if comm.rank:
            comm.send(kilobytes(4), 0)
            comm.send(kilobytes(1), 2) if comm.rank == 1 else None
        comm.recv(tag=1)

    with pytest.raises(Deadlock, match=r"deadlock at 0.009 s"):
        Simulated(3, network=NET).run(program)


def test_fair_is_yes_or_no():
    with pytest.raises(TypeError, match="fair must be True or False, got 'yes'"):
        Network(fair="yes")
