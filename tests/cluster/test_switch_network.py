"""A simulated network whose last rank is a switch: a port for each of the others, half way."""

from __future__ import annotations

import math

import numpy as np
import pytest

from ddml_kit.cluster import Network, Simulated

ALPHA, BETA = 1e-3, 1e6
MESSAGE = np.zeros(1000, np.uint8)
SECONDS = 1000 / BETA


def seconds(program, size, *, fair=False, switch=True, **options):
    network = Network(latency=ALPHA, bandwidth=BETA, fair=fair, switch=switch, **options)
    return Simulated(size, network=network).run(program).results


def all_to_the_switch(comm):
    if comm.rank < comm.size - 1:
        comm.send(MESSAGE, comm.size - 1)
        return 0.0
    for _ in range(comm.size - 1):
        comm.recv()
    return comm.now()


def the_switch_to_all(comm):
    if comm.rank == comm.size - 1:
        for other in range(comm.size - 1):
            comm.send(MESSAGE, other)
        return 0.0
    comm.recv()
    return comm.now()


@pytest.mark.parametrize("fair", [False, True])
def test_a_switch_receives_from_all_at_once_and_sends_to_all_at_once(fair):
    assert seconds(all_to_the_switch, 5, fair=fair)[-1] == pytest.approx(ALPHA / 2 + SECONDS)
    for taken in seconds(the_switch_to_all, 5, fair=fair)[:-1]:
        assert taken == pytest.approx(ALPHA / 2 + SECONDS)
    plain = seconds(all_to_the_switch, 5, fair=fair, switch=False)[-1]
    assert plain == pytest.approx(ALPHA + 4 * SECONDS)


@pytest.mark.parametrize("fair", [False, True])
def test_the_links_of_the_others_are_as_busy_as_ever(fair):
    def two_to_the_switch_and_two_back(comm):
        if comm.rank == 0:
            comm.send(MESSAGE, 2)
            comm.send(MESSAGE, 2)
            comm.recv(2)
            comm.recv(2)
        elif comm.rank == 2:
            comm.recv(0)
            comm.recv(0)
            comm.send(MESSAGE, 0)
            comm.send(MESSAGE, 0)
        return comm.now()

    taken = seconds(two_to_the_switch_and_two_back, 3, fair=fair)[0]
    assert taken == pytest.approx(ALPHA + 4 * SECONDS)


@pytest.mark.parametrize("fair", [False, True])
def test_between_the_others_nothing_changes(fair):
    def ring(comm):
        comm.send(MESSAGE, (comm.rank + 1) % 4) if comm.rank < 4 else None
        comm.recv() if comm.rank < 4 else None
        return comm.now()

    for taken in seconds(ring, 5, fair=fair)[:4]:
        assert taken == pytest.approx(ALPHA + SECONDS)


def test_a_message_from_the_switch_may_be_there_before_one_that_was_sent_first():
    def program(comm):
        if comm.rank == 1:
            comm.send(MESSAGE, 0, tag=1)
        elif comm.rank == 2:
            comm.work(ALPHA / 4)
            comm.send(MESSAGE, 0, tag=2)
        else:
            return [(comm.recv().tag, comm.now()) for _ in range(2)]
        return None

    (first, at), (second, then) = seconds(program, 3)[0]
    assert (first, second) == (2, 1)
    assert math.isclose(at, 3 / 4 * ALPHA + SECONDS)
    assert math.isclose(then, at + SECONDS)


def test_in_another_rack_it_is_half_the_latency_and_that_of_the_uplink():
    taken = seconds(all_to_the_switch, 2, racks=2, uplink_latency=0.01, uplink_bandwidth=BETA)[-1]
    assert taken == pytest.approx(ALPHA / 2 + 0.01 + SECONDS)


def test_a_switch_is_yes_or_no():
    with pytest.raises(TypeError, match="switch must be True or False, got 1"):
        Network(switch=1)
