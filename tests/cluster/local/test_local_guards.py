"""Whoever waits is released: by a stop, by a death. And who can never go on is found out."""

import itertools
import os
import signal
import time

import numpy as np
import pytest
from local_ranks import Ranks, run

from ddml_kit.cluster import RankFailed, Stopped, Timeout
from ddml_kit.cluster.faults import Constant
from ddml_kit.cluster.local.wiring import MOST_RANKS, Wiring
from ddml_kit.cluster.run import Metric, Snapshot
from ddml_kit.cluster.trace import COMPUTE, LOCK, RECEIVE

PATIENCE = 60


def until(condition):
    """Look again and again; what is waited for has no bell in the parent."""
    deadline = time.monotonic() + PATIENCE
    while not (found := condition()):
        assert time.monotonic() < deadline, "it never came"
        os.sched_yield()
    return found


def waits(wiring, rank):
    return wiring.states()[rank].status == "waiting"


def blocked_in_recv(comm):
    comm.recv(1 - comm.rank)


def blocked_in_barrier(comm):
    if comm.rank == 0:
        comm.barrier()
    comm.recv(0)


def blocked_in_all_reduce(comm):
    if comm.rank == 0:
        comm.all_reduce(np.zeros(100_000))
    comm.recv(0)


def blocked_in_lock(comm):
    lock = comm.lock()
    with lock:
        comm.barrier() if comm.rank else None
        comm.recv(0)


def blocked_in_work(comm):
    comm.work(1000.0)


def blocked_in_strands(comm):
    comm.start(comm.recv, 0, 5)
    comm.start(comm.recv, 1, 6).wait()


def busy_sending(comm):
    while True:
        comm.send(1, comm.rank)
        comm.recv()


def busy_recording(comm):
    while True:
        comm.record(loss=1.0)


def busy_with_snapshots(comm):
    w = np.zeros(3)
    while True:
        comm.snapshot(w)


@pytest.mark.parametrize(
    "program",
    [
        blocked_in_recv,
        blocked_in_barrier,
        blocked_in_all_reduce,
        blocked_in_lock,
        blocked_in_work,
        blocked_in_strands,
        busy_sending,
        busy_recording,
        busy_with_snapshots,
    ],
    ids=lambda program: program.__name__,
)
def test_stop_ends_everything(program):
    with Ranks(2, program, paced=True) as ranks:
        if program.__name__.startswith("blocked"):
            until(lambda: all(s.status == "waiting" for s in ranks.wiring.states()))
        ranks.wiring.stop()
        assert [type(result) for result in ranks.results()] == [Stopped] * 2


def test_a_death_releases_who_waits_for_the_dead():
    def program(comm):
        if comm.rank == 1:
            comm.send("last words", 0)
            comm.recv(0)
        assert comm.recv(1).value == "last words"
        with pytest.raises(RankFailed, match=r"rank 1 failed at 3 s: killed") as e:
            comm.recv(1)
        with pytest.raises(RankFailed):
            comm.recv()  # there is nobody else
        comm.send("to nobody", 1)
        return e.value.rank, e.value.seconds

    with Ranks(2, program) as ranks:
        until(lambda: waits(ranks.wiring, 0) and waits(ranks.wiring, 1))
        ranks.processes[1].kill()
        ranks.wiring.mark_dead(1, "killed", 3.0)
        ranks.wiring.mark_dead(1, "the first reason stays", 4.0)
        assert ranks.results()[0] == (1, 3.0)


def test_any_source_waits_for_those_who_live():
    def program(comm):
        if comm.rank == 0:
            return comm.recv().value
        if comm.rank == 2:
            comm.recv(1)
            comm.send("alive", 0)
            return None
        comm.send(None, 2)
        comm._endpoint._wiring.mark_dead(1)
        return None

    assert run(3, program)[0] == "alive"


@pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="this system has no pidfds")
def test_ranks_watch_each_other_where_they_can():
    def program(comm):
        pid = comm.all_gather(os.getpid())[1 - comm.rank]
        fds = [-1, -1]
        fds[1 - comm.rank] = os.pidfd_open(pid)
        waiter = comm._endpoint._waiter
        waiter._peers = {fds[1 - comm.rank]: 1 - comm.rank}
        waiter._sleeper = comm._endpoint._wiring.bells.sleeper(comm.rank, waiter._peers)
        comm.barrier()
        if comm.rank == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        with pytest.raises(RankFailed, match="rank 1 failed: its process died"):
            comm.recv(1)
        return "released"

    with Ranks(2, program) as ranks:
        assert ranks.results()[0] == "released"


def deadlocked(wiring):
    """What the second look of two says."""
    wiring.deadlock()
    return wiring.deadlock()


def test_a_deadlock_says_who_waits_for_whom():
    def program(comm):
        if comm.rank == 0:
            comm.recv(1, 3)
        elif comm.rank == 1:
            comm.send("with another tag", 0, 4)
            comm.recv()
        elif comm.rank == 2:
            comm.group([2, 0]).barrier()

    with Ranks(4, program) as ranks:
        said = until(lambda: deadlocked(ranks.wiring))
        assert said == (
            "rank 0 waits for a message from rank 1, tag 3; "
            "rank 1 waits for a message from any rank; "
            "rank 2 waits for rank 0 to call barrier; rank 3 has finished"
        )
        ranks.wiring.stop()
        ranks.results()


def test_a_deadlock_of_strands_and_locks_is_found():
    def program(comm):
        lock = comm.lock()
        if comm.rank == 0:
            with lock:
                comm.send("I have it", 1)
                comm.start(comm.recv, 1, 2).wait()
        comm.recv(0)
        with lock:
            comm.send("too late", 0, 2)

    with Ranks(2, program) as ranks:
        said = until(lambda: deadlocked(ranks.wiring))
        ranks.wiring.stop()
        ranks.results()
    assert "in strand 1 waits for a message from rank 1, tag 2" in said
    assert "waits for its strand 1" in said
    assert "; rank 1 waits for a lock" in said


def test_no_deadlock_while_somebody_can_go_on():
    def program(comm):
        if comm.rank:
            return comm.recv(0).value
        with pytest.raises(Timeout):
            comm.recv(1, timeout=0.3)
        comm.send("go on", 1)
        return None

    with Ranks(2, program) as ranks:
        until(lambda: all(s.status == "waiting" for s in ranks.wiring.states()))
        assert ranks.wiring.states()[0].has_timeout
        while not all(s.status == "finished" for s in ranks.wiring.states()):
            assert ranks.wiring.deadlock() is None
        assert ranks.results() == [None, "go on"]


def test_busy_ranks_are_never_taken_for_deadlocked():
    def program(comm):
        for _ in range(500):
            comm.send(None, (comm.rank + 1) % comm.size)
            comm.recv((comm.rank - 1) % comm.size)
        comm.barrier()

    with Ranks(3, program) as ranks:
        while not all(s.status == "finished" for s in ranks.wiring.states()):
            assert ranks.wiring.deadlock() is None
        assert ranks.results() == [None] * 3


def test_work_lasts_its_time_where_it_is_paced():
    def program(comm):
        assert comm.work(0.01)
        return None

    with Ranks(2, program, paced=True, slowdowns=[Constant({1: 3.0})]) as ranks:
        ranks.results()
        for rank, least in ((0, 0.01), (1, 0.03)):
            [event] = ranks.traces[rank].of(COMPUTE).events
            assert event["stop"] - event["start"] >= least
    with Ranks(2, program, slowdowns=[Constant({1: 3.0})]) as ranks:
        ranks.results()
        [event] = ranks.traces[1].of(COMPUTE).events
        assert event["stop"] - event["start"] >= 0.02, "the extra is slept, paced or not"


def test_a_message_interrupts_work():
    def program(comm):
        if comm.rank == 1:
            comm.send("wrong tag", 0, tag=1)
            comm.recv(0)
            comm.send("now", 0, tag=2)
            return None
        comm.send("go on", 1)
        assert not comm.work(1000.0, until=2)
        assert comm.recv(1, 2).value == "now"
        return comm.recv(1, 1).value

    assert run(2, program, paced=True)[0] == "wrong tag"


def test_metrics_and_snapshots_come_out():
    def program(comm):
        w = np.zeros(4)
        for step in range(300):
            w[:] = step
            comm.snapshot(w)
        comm.record(loss=0.5, accuracy=1)

    with Ranks(1, program) as ranks:
        ranks.results()
        *snapshots, metric = ranks.emitted
    assert isinstance(metric, Metric)
    assert metric.values == {"loss": 0.5, "accuracy": 1.0}
    assert all(isinstance(s, Snapshot) and (s.w == s.step).all() for s in snapshots)
    steps = [s.step for s in snapshots]
    assert steps[:8] == list(range(8))
    gaps = np.diff(steps[7:])
    assert all(later % earlier == 0 for earlier, later in itertools.pairwise(gaps))


def test_waiting_for_a_lock_and_for_a_message_is_in_the_trace():
    def program(comm):
        with comm.lock():
            comm.send(None, 0)
        comm.recv()

    with Ranks(1, program) as ranks:
        ranks.results()
        assert len(ranks.traces[0].of(LOCK)) == len(ranks.traces[0].of(RECEIVE)) == 1


def test_there_can_be_so_many_ranks():
    with pytest.raises(ValueError, match=f"local processes can be 1 to {MOST_RANKS}, got 0"):
        Wiring.create(0)
    wiring = Wiring.create(MOST_RANKS)
    assert len(wiring.states()) == MOST_RANKS
    wiring.mark_dead(MOST_RANKS - 1, "x" * 2000, 1.0)
    assert wiring.failure(MOST_RANKS - 1).reason.startswith("xxx")
    wiring.close()
