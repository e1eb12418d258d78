"""The transport without what only Linux has, and with the fences of weakly ordered machines."""

import os
import select

import numpy as np
import pytest
from local_ranks import run

from ddml_kit.cluster.local import system
from ddml_kit.cluster.local.system import Bells, Sleeper, fence


def everything(comm):
    """A bit of all that there is."""
    other = 1 - comm.rank
    for step in range(50):
        for value in (step, np.full(10, step), np.full(20_000, step)):
            comm.send(value, other)
            assert np.array_equal(comm.recv(other).value, value)
        comm.barrier()
    total = comm.shared(np.zeros(1))
    lock = comm.lock()
    for _ in range(50):
        with lock:
            total[0] += 1
    comm.barrier()
    sums = [comm.all_reduce(np.full(length, comm.rank + 1.0)).sum() for length in (3, 30_000)]
    return total[0], sums, comm.all_gather(comm.rank), comm.broadcast(comm.rank, 1)


EXPECTED = [(100.0, [9.0, 90_000.0], [0, 1], 1)] * 2


def test_without_memfds_and_eventfds(monkeypatch):
    monkeypatch.setattr(system, "MEMFD", False)
    monkeypatch.delattr(os, "eventfd", raising=False)
    assert run(2, everything) == EXPECTED


def test_with_the_fences_of_a_weakly_ordered_machine():
    def program(comm):
        from ddml_kit.cluster.local import collectives, queues, system

        system.WEAK = queues.WEAK = collectives.WEAK = True
        return everything(comm)

    assert run(2, program) == EXPECTED
    fence()


def test_where_ranks_share_cores():
    def program(comm):
        comm._endpoint._waiter._roomy = False
        return everything(comm)

    assert run(2, program) == EXPECTED


@pytest.mark.parametrize("poll", ["epoll", "poll"])
def test_a_sleeper_hears_its_bell_and_what_it_watches(monkeypatch, poll):
    if poll == "poll":
        monkeypatch.delattr(select, "epoll", raising=False)
    bells = Bells(2)
    readable, writable = os.pipe()
    sleeper = bells.sleeper(1, [readable])
    assert sleeper.sleep(0.002) is None
    assert sleeper.sleep(0.0001) is None
    bells.ring(0)
    assert sleeper.sleep(0.002) is None, "another's bell"
    bells.ring(1)
    bells.ring(1)
    assert sleeper.sleep(60) == []
    assert sleeper.sleep(0.002) is None, "it has been heard"
    os.write(writable, b"x")
    assert sleeper.sleep(60) == [readable]
    sleeper.forget(readable)
    assert sleeper.sleep(0.002) is None
    os.close(readable)
    os.close(writable)
    bells.close()


def test_a_bell_can_be_rung_any_number_of_times(monkeypatch):
    monkeypatch.delattr(os, "eventfd", raising=False)
    bells = Bells(1)
    sleeper = bells.sleeper(0, [])
    for _ in range(20_000):  # more than a pipe holds
        bells.ring(0)
    while sleeper.sleep(0.002) is not None:
        pass
    bells.close()


def test_without_bells_a_sleeper_looks_often():
    assert Sleeper(-1, []).sleep(60) is None
