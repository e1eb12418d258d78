"""What each worker did when, from traces made by hand and from a simulated run."""

import numpy as np
import pytest

from ddml_kit.cluster.run import Run
from ddml_kit.cluster.simulated import Simulated
from ddml_kit.cluster.trace import (
    ALL_REDUCE,
    COMPUTE,
    LOCK,
    RECEIVE,
    SEND,
    Recorder,
)
from ddml_kit.notebook.figures.activity import (
    ACTIVITIES,
    BINS,
    beside,
    intervals,
    part,
    shares,
    window,
)


def run_of(recorder: Recorder, size: int, seconds: float) -> Run:
    return Run("simulated", size, 0, seconds, [None] * size, recorder.trace())


def told(run: Run) -> list[tuple]:
    done = intervals(run)
    names = [ACTIVITIES[a] for a in done.activity]
    return list(
        zip(done.rank.tolist(), names, done.start.tolist(), done.stop.tolist(), strict=True)
    )


def test_a_receive_waits_until_its_message_is_sent() -> None:
    recorder = Recorder()
    recorder.add(RECEIVE, 1, 0.0, 3.0, peer=0, tag=5)
    recorder.add(COMPUTE, 0, 0.0, 2.0)
    recorder.add(SEND, 0, 2.0, 2.0, peer=1, tag=5)
    recorder.add(SEND, 0, 2.0, 2.0, peer=1, tag=6)
    recorder.add(RECEIVE, 1, 3.0, 4.0, peer=0, tag=6)
    assert told(run_of(recorder, 2, 4.0)) == [
        (0, "compute", 0.0, 2.0),
        (1, "wait", 0.0, 2.0),
        (1, "communicate", 2.0, 3.0),
        (1, "communicate", 3.0, 4.0),
    ]


def test_messages_are_matched_in_the_order_they_were_sent() -> None:
    recorder = Recorder()
    for start in (1.0, 5.0):
        recorder.add(SEND, 0, start, start, peer=1, tag=0)
    recorder.add(RECEIVE, 1, 0.0, 2.0, peer=0, tag=0)
    recorder.add(RECEIVE, 1, 2.0, 6.0, peer=0, tag=0)
    assert [t[1:] for t in told(run_of(recorder, 2, 6.0))] == [
        ("wait", 0.0, 1.0),
        ("communicate", 1.0, 2.0),
        ("wait", 2.0, 5.0),
        ("communicate", 5.0, 6.0),
    ]


def test_a_receive_without_a_message_waits_to_its_end() -> None:
    recorder = Recorder()
    recorder.add(RECEIVE, 0, 0.0, 1.0, peer=-1)
    recorder.add(RECEIVE, 0, 1.0, 2.0, peer=1)
    assert [t[1:] for t in told(run_of(recorder, 2, 2.0))] == [
        ("wait", 0.0, 1.0),
        ("wait", 1.0, 2.0),
    ]


def test_a_collective_waits_for_its_last_member() -> None:
    recorder = Recorder()
    for rank, start in enumerate([0.0, 2.0, 1.0]):
        recorder.add(ALL_REDUCE, rank, start, 2.5)
    assert told(run_of(recorder, 3, 2.5)) == [
        (0, "wait", 0.0, 2.0),
        (0, "communicate", 2.0, 2.5),
        (1, "communicate", 2.0, 2.5),
        (2, "wait", 1.0, 2.0),
        (2, "communicate", 2.0, 2.5),
    ]


def test_collectives_that_cannot_be_matched_communicate() -> None:
    recorder = Recorder()  # two groups of two, one after the other
    for rank, (start, stop) in enumerate([(0.0, 1.0), (0.5, 1.0), (2.0, 3.0), (2.0, 3.0)]):
        recorder.add(ALL_REDUCE, rank, start, stop)
    assert {t[1] for t in told(run_of(recorder, 4, 3.0))} == {"communicate"}


def test_the_first_part_is_the_same_as_that_of_the_whole() -> None:
    def program(comm):
        for step in range(20):
            comm.work(1.0 + (comm.rank + step) % 3)
            comm.send(step, (comm.rank + 1) % comm.size)
            comm.recv((comm.rank - 1) % comm.size)
            comm.all_reduce(1.0)

    run = Simulated(3).run(program)
    whole = intervals(run)
    for end in (1.5, 2.5, 7.3, 20.0):  # at 2.5 one rank waits in a collective
        first = part(intervals(run, end), 0.0, end, range(3))
        np.testing.assert_equal(first, part(whole, 0.0, end, range(3)))
        assert np.unique(first.activity).size > 1


def test_waiting_for_a_lock_is_told_apart() -> None:
    recorder = Recorder()
    recorder.add(LOCK, 0, 0.0, 1.0)
    assert told(run_of(recorder, 1, 1.0)) == [(0, "lock", 0.0, 1.0)]


def test_shares_add_up() -> None:
    recorder = Recorder()
    recorder.add(COMPUTE, 0, 0.0, 3.0)
    recorder.add(LOCK, 0, 3.0, 4.0)
    done = intervals(run_of(recorder, 2, 4.0))
    np.testing.assert_allclose(shares(done, 0.0, 4.0, 2), [[0.75, 0, 0, 0.25], [0, 0, 0, 0]])
    np.testing.assert_allclose(shares(done, 0.0, 2.0, 2)[0], [1, 0, 0, 0])


def steps(rank: int, recorder: Recorder, count: int, seconds: float) -> None:
    for k in range(count):
        recorder.add(COMPUTE, rank, k * seconds, (k + 0.5) * seconds)
        recorder.add(LOCK, rank, (k + 0.5) * seconds, (k + 1) * seconds)


def test_short_runs_are_shown_whole_and_long_ones_in_part() -> None:
    short, long = Recorder(), Recorder()
    steps(0, short, 20, 0.1)
    steps(0, long, 1000, 0.1)
    assert window(run_of(short, 1, 2.0)) == (0.0, 2.0)
    assert window(run_of(long, 1, 100.0)) == (0.0, 2.0)
    assert window(run_of(long, 1, 100.0), 5.0) == (0.0, 5.0)
    assert window(run_of(Recorder(), 1, 1.0)) == (0.0, 1.0)


def test_a_run_is_shown_from_where_its_workers_begin() -> None:
    recorder = Recorder()
    for k in range(1000):
        recorder.add(COMPUTE, 0, 5.0 + 0.01 * k, 5.0 + 0.01 * (k + 1))
    assert window(run_of(recorder, 1, 15.0)) == (5.0, 5.4)


def test_a_worker_that_did_very_much_is_drawn_coarsely_and_keeps_its_shares() -> None:
    recorder = Recorder()
    steps(0, recorder, 40, 1.0)
    for k in range(20_000):  # 0.3 of each 0.002 s, too fine to see: the rest fills it more
        recorder.add(COMPUTE, 1, k * 0.002, k * 0.002 + 0.0006)
        recorder.add(LOCK, 1, k * 0.002 + 0.0006, (k + 1) * 0.002)
    done = intervals(run_of(recorder, 2, 40.0))
    drawn = part(done, 0.0, 40.0, [0, 1])
    coarse = drawn.where(drawn.rank == 1)
    assert len(coarse.rank) == 1
    assert ACTIVITIES[coarse.activity[0]] == "lock"
    assert (coarse.start[0], coarse.stop[0]) == (0.0, 40.0)
    assert np.count_nonzero(drawn.rank == 0) == 80


def test_the_parts_of_a_coarse_row_are_where_they_were() -> None:
    recorder = Recorder()
    for k in range(1000):
        recorder.add(COMPUTE if k < 500 else LOCK, 0, k * 0.01, (k + 1) * 0.01)
    drawn = part(intervals(run_of(recorder, 1, 20.0)), 0.0, 20.0, [0])
    assert [ACTIVITIES[a] for a in drawn.activity] == ["compute", "lock"]
    np.testing.assert_allclose(drawn.start, [0.0, 5.0])
    np.testing.assert_allclose(drawn.stop, [5.0, 10.0], atol=20.0 / BINS)


def test_a_simulated_run_is_busy_or_waiting_all_the_time() -> None:
    def program(comm):
        for _ in range(3):
            comm.work(1.0 + comm.rank)
            comm.all_reduce(np.ones(1000))
        if comm.rank == 0:
            comm.send(np.ones(10), 1)
        if comm.rank == 1:
            comm.recv(0)

    run = Simulated(3).run(program)
    total = shares(intervals(run), 0.0, run.seconds, 3)
    assert total[2, 0] == pytest.approx(9.0 / run.seconds)
    assert total[0, 2] == pytest.approx(6.0 / run.seconds, rel=1e-3)  # the two slower ones' lead
    assert (total.sum(axis=1) > 0.99).all()


def test_a_program_waits_for_the_strands_that_it_started() -> None:
    recorder = Recorder()
    recorder.add(COMPUTE, 0, 0.0, 2.0)
    recorder.add(SEND, 0, 1.0, 3.0, peer=1, strand=1)
    recorder.add(SEND, 0, 2.5, 5.0, peer=1, strand=2)
    recorder.add(COMPUTE, 0, 6.0, 7.0)
    recorder.add(SEND, 0, 8.0, 9.0, peer=1, strand=3)
    recorder.add(COMPUTE, 1, 0.0, 1.0)
    done = intervals(run_of(recorder, 2, 10.0))
    waits = done.where(done.activity == ACTIVITIES.index("wait"))
    assert set(waits.strand) == set(waits.rank) == {0}
    assert list(zip(waits.start, waits.stop, strict=True)) == [(2.0, 5.0), (8.0, 9.0)]
    np.testing.assert_allclose(shares(done, 0.0, 10.0, 2), [[0.3, 0, 0.4, 0], [0.1, 0, 0, 0]])
    np.testing.assert_allclose(beside(done, 0.0, 10.0, 2), [0.5, 0])
    np.testing.assert_allclose(beside(done, 2.0, 4.0, 2), [1, 0])
