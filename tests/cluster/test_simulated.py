"""The simulated cluster: its clock, its network, its stragglers; what only it can promise."""

# ruff: noqa: NPY002 - programs that draw from the global generators are what is tested

from __future__ import annotations

import gc
import math
import random
import subprocess
import sys
import textwrap
import threading
import weakref

import numpy as np
import pytest
import torch
from greenlet import getcurrent, greenlet
from hypothesis import given
from hypothesis import strategies as st

from ddml_kit.cluster import Deadlock, Metric, RankFailed, Stopped, Timeout
from ddml_kit.cluster.faults import Constant, Exponential, Pareto, Transient
from ddml_kit.cluster.network import Network
from ddml_kit.cluster.simulated import Simulated
from ddml_kit.cluster.trace import RECEIVE, SEND
from ddml_kit.cluster.virtual import loop
from ddml_kit.cluster.virtual.generators import NumpyGenerator, PythonGenerator, TorchGenerator
from ddml_kit.cluster.virtual.links import Links

ALPHA, BETA = 1e-3, 1e6  # seconds; bytes a second
NET = Network(latency=ALPHA, bandwidth=BETA)
KILO = np.zeros(1000, np.uint8)  # takes a millisecond to pass a link
MILLI = 1e-3


def close(x):
    return pytest.approx(x, rel=1e-12, abs=1e-15)


# ------------------------------------------------------------------------------- network


def test_a_message_takes_latency_and_bytes_over_bandwidth():
    def program(comm, x):
        comm.send(x, 1) if comm.rank == 0 else comm.recv()
        return comm.now()

    run = Simulated(2, network=NET).run(program, KILO)
    assert run.results == [0.0, close(ALPHA + MILLI)]
    [receive] = run.trace.of(RECEIVE).events
    assert (receive["start"], receive["stop"]) == (0.0, close(ALPHA + MILLI))
    assert (receive["peer"], receive["bytes"]) == (0, 1000)
    [send] = run.trace.of(SEND).events
    assert (send["start"], send["stop"], send["peer"]) == (0.0, 0.0, 1)  # send never waits


def test_the_senders_link_serves_one_message_after_the_other():
    def program(comm, x):
        if comm.rank == 0:
            for dest in (1, 2, 3):
                comm.send(x, dest)
        else:
            comm.recv()
        return comm.now()

    times = Simulated(4, network=NET).run(program, KILO).results
    assert times == [0.0, *(close(ALPHA + k * MILLI) for k in (1, 2, 3))]


def test_the_receivers_link_is_the_bottleneck_of_a_parameter_server():
    def program(comm, x):
        if comm.rank:
            comm.send(x, 0)
            return None
        return [(comm.recv().source, comm.now()) for _ in range(comm.size - 1)]

    received = Simulated(5, network=NET).run(program, KILO).results[0]
    assert received == [(k, close(ALPHA + k * MILLI)) for k in (1, 2, 3, 4)]


def test_a_rank_reaches_itself_in_no_time():
    def program(comm, x):
        comm.send(x, comm.rank)
        comm.recv()
        return comm.now()

    assert Simulated(1, network=NET).run(program, KILO).results == [0.0]


RACKS = Network(
    latency=ALPHA, bandwidth=BETA, racks=2, uplink_latency=10 * ALPHA, uplink_bandwidth=BETA / 4
)


def test_between_racks_it_takes_longer():
    def program(comm, x):
        comm.send(x, 3) if comm.rank == 0 else None
        if comm.rank == 3:
            comm.recv()
        return comm.now()

    assert [RACKS.rack(rank, 5) for rank in range(5)] == [0, 0, 0, 1, 1]
    assert Simulated(4, network=RACKS).run(program, KILO).results[3] == close(
        11 * ALPHA + 4 * MILLI
    )


def test_the_ranks_of_a_rack_share_its_uplink():
    def program(comm, x):
        if comm.rank < 2:
            comm.send(x, comm.rank + 2)
        else:
            comm.recv()
        return comm.now()

    times = Simulated(4, network=RACKS).run(program, KILO).results
    assert times[2:] == [close(11 * ALPHA + 4 * MILLI), close(11 * ALPHA + 8 * MILLI)]


def test_a_later_message_from_nearby_comes_first():
    def program(comm, x):
        if comm.rank == 0:
            comm.send(x, 2)
        elif comm.rank == 3:
            comm.work(5 * MILLI)
            comm.send(x, 2)
        elif comm.rank == 2:
            return [comm.recv().source for _ in range(2)]
        return None

    assert Simulated(4, network=RACKS).run(program, KILO).results[2] == [3, 0]


@st.composite
def traffic(draw):
    """A network of 1 to 3 racks, and messages as (time, source, dest, bytes)."""
    network = Network(
        latency=draw(st.sampled_from([0.0, 1.0, 2.5])),
        bandwidth=1.0,
        racks=draw(st.integers(1, 3)),
        uplink_latency=draw(st.sampled_from([0.0, 2.0])),
        uplink_bandwidth=draw(st.sampled_from([0.5, 2.0])),
    )
    # To two ranks only, so that they meet there.
    message = st.tuples(*(st.integers(0, most) for most in (6, 3, 1, 3)))
    return network, sorted(draw(st.lists(message, min_size=6, max_size=20)), key=lambda m: m[0])


class Clockwork:
    """A loop of events and nothing else: the time, a heap, first come first served."""

    def __init__(self):
        self.now, self.events, self.count = 0.0, [], 0

    def arrive_at(self, time, event):
        self.count += 1
        self.events.append((time, self.count, event))

    def run(self):
        while self.events:
            first = min(self.events, key=lambda event: event[:2])
            self.events.remove(first)
            self.now, _, event = first
            event[0](event)


@given(traffic())
def test_a_message_whose_event_is_spared_arrives_when_it_would_have(case):
    network, messages = case

    def arrivals(spare):
        loop, seen = Clockwork(), []
        links = Links(network, 4, loop)
        carry = links.carry if spare else links._queue

        def arrive(event):
            seen.append((loop.now, event[1]))

        def depart(event):
            _, i, (time, source, dest, nbytes) = event
            (links.carry if source == dest else carry)(time, source, dest, nbytes, (arrive, i))

        for i, message in enumerate(messages):
            loop.arrive_at(message[0], (depart, i, message))
        loop.run()
        return sorted(seen, key=lambda s: s[1])

    assert arrivals(spare=True) == arrivals(spare=False)


def test_collectives_take_the_time_of_the_textbook_from_the_last_arrival():
    def program(comm, x):
        comm.work(comm.rank)  # the last comes after 4 seconds
        times = []
        for collective in (
            lambda: comm.all_reduce(x),
            lambda: comm.all_gather(x[: 100 * comm.rank]),
            lambda: comm.broadcast(x),
            comm.barrier,
        ):
            before = comm.now()
            collective()
            times.append(comm.now() - before)
        return times

    runs = {n: Simulated(5, network=n).run(program, KILO) for n in (NET, RACKS)}
    slow = {NET: (ALPHA, BETA), RACKS: (11 * ALPHA, BETA / 4)}
    for network, run in runs.items():
        a, b = slow[network]
        reduce, gather, broadcast, barrier = run.results[4]
        assert reduce == pytest.approx(8 * (a + 200 / b))
        assert gather == pytest.approx(4 * (a + 400 / b))
        assert broadcast == pytest.approx(3 * (a + 1000 / b))
        assert barrier == pytest.approx(3 * a)
        assert run.results[0][0] == pytest.approx(4 + reduce)
        assert run.results[0][1:] == pytest.approx(run.results[4][1:])


def test_a_group_within_a_rack_is_fast():
    def program(comm):
        comm.group([0, 1] if comm.rank < 2 else [2, 3]).barrier()
        return comm.now()

    assert Simulated(4, network=RACKS).run(program).results == [ALPHA] * 4


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"latency": -1}, "latency must be 0 or more seconds, got -1"),
        ({"uplink_latency": math.inf}, "uplink_latency must be 0 or more seconds, got inf"),
        ({"bandwidth": 0}, "bandwidth must be more than 0 bytes a second, got 0"),
        ({"uplink_bandwidth": math.nan}, "uplink_bandwidth must be more than 0 bytes a second"),
        ({"racks": 0}, "a network needs 1 or more racks, got 0"),
        ({"racks": 1.5}, "racks must be a whole number, got 1.5"),
        ({"latency": "a"}, "latency must be 0 or more seconds, got 'a'"),
        ({"uplink_bandwidth": None}, "more than 0 bytes a second, got None"),
    ],
)
def test_networks_that_cannot_be(options, sentence):
    with pytest.raises((ValueError, TypeError), match=sentence):
        Network(**options)


# ----------------------------------------------------------------------- slowdowns, crashes


def durations(slowdowns, size=3, pieces=1, seed=0):
    """How long each piece of one second of work takes, (size, pieces)."""

    def program(comm, pieces):
        times = [comm.now()]
        for _ in range(pieces):
            comm.work(1.0)
            times.append(comm.now())
        return np.diff(times)

    return np.array(Simulated(size, slowdowns=slowdowns, seed=seed).run(program, pieces).results)


def test_constant_and_transient_slowdowns_multiply():
    slowdowns = [Constant({1: 3.0}), Transient(1, 2.0, 4.0, 2.0), Constant({1: 0.5, 2: 2.0})]
    np.testing.assert_allclose(
        durations(slowdowns, pieces=4),
        [[1, 1, 1, 1], [1.5, 1.5, 3, 1.5], [2, 2, 2, 2]],
    )


def test_exponential_and_pareto_slowdowns_have_their_means_and_draws_of_their_own():
    exponential = durations([Exponential()], pieces=4000)
    assert exponential.mean() == pytest.approx(1, abs=0.03)
    assert (exponential < 1).mean() == pytest.approx(1 - 1 / math.e, abs=0.02)
    pareto = durations([Pareto(3.0, ranks=[0, 2])], pieces=4000)
    np.testing.assert_allclose(pareto[1], 1)
    assert pareto[[0, 2]].mean() == pytest.approx(1.5, abs=0.05)
    assert pareto.min() >= 1 - 1e-9
    assert (pareto[0] > 2).mean() == pytest.approx(1 / 8, abs=0.02)
    np.testing.assert_array_equal(durations([Exponential()], pieces=4000), exponential)
    other_seed = durations([Exponential()], pieces=4000, seed=1)
    for draws in (exponential, np.concatenate([exponential[:1], other_seed[:1]])):
        assert len(np.unique(draws.round(9))) == draws.size


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: Constant({1: 0.0}), "Constant needs factors above 0, got 0.0"),
        (lambda: Pareto(1.0), r"Pareto needs shape > 1.*; got 1.0"),
        (lambda: Transient(0, 2.0, 1.0, 3.0), "0 <= start < stop, got start=2.0 and stop=1.0"),
        (lambda: Transient(0, 0.0, 1.0, math.inf), "Transient needs factors above 0, got inf"),
        (lambda: Simulated(0), "Simulated needs 1 or more ranks, got 0"),
        (lambda: Simulated(2.5), "Simulated needs 1 or more ranks, got 2.5"),
        (lambda: Simulated(2, seed=-1), "seed must be a whole number >= 0, got -1"),
        (lambda: Simulated(2, on_failure="ignore"), 'on_failure must be "stop" or "continue"'),
        (lambda: Simulated(2, network=3), "network must be a Network, got 3"),
        (lambda: Simulated(2, slowdowns=Exponential()), "slowdowns must be a sequence"),
        (lambda: Simulated(2, slowdowns=[3.0]), r"needs factor\(rank, seconds, rng\), got 3.0"),
        (lambda: Simulated(2, slowdowns=[Constant({2: 3.0})]), "names rank 2, but ranks go from 0"),
        (lambda: Simulated(2, crashes={5: 1.0}), "crashes names rank 5, but ranks go from 0 to 1"),
        (lambda: Simulated(True), "Simulated needs 1 or more ranks, got True"),
        (lambda: Simulated(2, crashes=[0]), r"crashes must be \{rank: seconds\}, got \[0\]"),
        (lambda: Simulated(2, crashes={0: "a"}), "must crash at 0 or more seconds, got 'a'"),
        (lambda: Simulated(2, crashes={0.5: 1}), "a rank that is no whole number, got 0.5"),
        (lambda: Constant([1]), r"Constant needs \{rank: factor\}, got \[1\]"),
        (lambda: Constant({1: "a"}), "Constant needs factors above 0, got 'a'"),
        (lambda: Exponential(0), "needs a collection of ranks, or None for all, got 0"),
        (lambda: Pareto(2.0, 1), "needs a collection of ranks, or None for all, got 1"),
        (lambda: Pareto("a"), "Pareto needs shape > 1, got 'a'"),
        (lambda: Transient(0, None, 1.0, 2.0), "start < stop in seconds, got None"),
        (lambda: Simulated(2, crashes={1: -1.0}), "rank 1 must crash at 0 or more seconds"),
    ],
)
def test_clusters_that_cannot_be(make, sentence):
    with pytest.raises((ValueError, TypeError), match=sentence):
        make()


def test_a_crash_comes_at_its_time_in_work_and_in_waiting():
    def program(comm):
        if comm.rank == 0:
            with pytest.raises(RankFailed) as caught:
                comm.recv(1)
            first = comm.now(), caught.value.seconds
            with pytest.raises(RankFailed):
                comm.recv(2)
            return first, comm.now()
        comm.work(100.0) if comm.rank == 1 else comm.recv(0)
        return "not reached"

    run = Simulated(3, crashes={1: 2.5, 2: 4.0}, on_failure="continue").run(program)
    assert run.results == [((2.5, 2.5), 4.0), None, None]
    assert str(run.failures[1]) == "rank 1 failed at 2.5 s: crashed, as crashes={1: 2.5} asked"


def test_a_crash_at_the_start_comes_before_all_else():
    def program(comm):
        comm.record(alive=1)

    run = Simulated(2, crashes={0: 0.0}, on_failure="continue").run(program)
    assert run.metrics["rank"].tolist() in ([1], [0, 1])
    assert 0 not in run.failures or run.results[0] is None


def test_what_the_dead_have_sent_still_arrives():
    def program(comm, x):
        if comm.rank == 1:
            comm.send(x, 0)
            raise ValueError("dead before it arrives")
        message = comm.recv(1)
        with pytest.raises(RankFailed):
            comm.recv(1)
        return message.source, comm.now()

    run = Simulated(2, network=NET, on_failure="continue").run(program, KILO)
    assert run.results[0] == (1, close(ALPHA + MILLI))


# -------------------------------------------------------------------------- time, failures


def test_at_one_time_a_message_comes_before_patience_and_work_end():
    def program(comm):
        if comm.rank == 0:
            comm.send("in time", 1)
            comm.send("in time", 2, tag=7)
            return None
        if comm.rank == 1:
            return comm.recv(timeout=ALPHA).value
        return comm.work(ALPHA, until=7)

    assert Simulated(3, network=Network(latency=ALPHA, bandwidth=math.inf)).run(
        program
    ).results == [None, "in time", False]


def test_a_timeout_is_virtual():
    def program(comm):
        with pytest.raises(Timeout):
            comm.recv(timeout=1e9)
        return comm.now()

    run = Simulated(1).run(program)
    assert run.results == [1e9]
    assert run.seconds == 1e9


def test_an_error_names_rank_and_virtual_time():
    def program(comm):
        comm.work(1.25)
        return 1 / (1 - comm.rank)

    with pytest.raises(
        RankFailed, match=r"rank 1 failed at 1\.25 s: ZeroDivisionError: "
    ) as caught:
        Simulated(2).run(program)
    assert "virtual" not in caught.value.worker_traceback  # none of the machinery's frames
    assert caught.value.run.seconds == 1.25


def test_a_deadlock_of_many_names_some_and_counts_the_rest():
    def program(comm):
        comm.work(0.5)
        if comm.rank < 30:
            comm.recv((comm.rank + 1) % 30)

    with pytest.raises(Deadlock) as caught:
        Simulated(40).run(program)
    sentence = str(caught.value)
    assert sentence.startswith("deadlock at 0.5 s: rank 0 waits for a message from rank 1; rank 1 ")
    assert sentence.endswith("; 22 more wait; 10 have ended")


def test_a_deadlock_tells_of_strands_and_locks_and_collectives():
    def program(comm):
        lock = comm.lock()
        if comm.rank == 0:
            with lock:
                comm.start(comm.recv, 2, 5).wait()
        elif comm.rank == 1:
            comm.work(1.0)
            with lock:
                pass
        else:
            comm.barrier()

    with pytest.raises(Deadlock) as caught:
        Simulated(3).run(program)
    sentence = str(caught.value)
    assert (
        "rank 0 waits for its strand 1 and in strand 1 waits for a message from rank 2, tag 5"
        in (sentence)
    )
    assert "rank 1 waits for a lock that rank 0 holds" in sentence
    assert "rank 2 waits for ranks 0, 1 to call barrier" in sentence


def test_a_lock_is_given_in_the_order_in_which_it_was_asked_for():
    def program(comm):
        lock = comm.lock()
        start = comm.now()
        comm.work((comm.size - comm.rank) * MILLI)
        with lock:
            got = comm.now() - start
            comm.work(1.0)
        return got

    results = Simulated(3).run(program).results
    assert results == pytest.approx([2 + MILLI, 1 + MILLI, MILLI])


def test_shared_memory_is_one_array_and_work_lets_others_in():
    def program(comm):
        w = comm.shared(np.zeros(1))
        for _ in range(10):
            read = w[0]
            comm.work(MILLI)
            w[0] = read + 1
        return w[0]

    assert Simulated(4).run(program).results == [10.0] * 4  # three of four updates are lost


# ------------------------------------------------------------------------------ repeatable


def asynchronous(comm, steps):
    """Workers that push to a server at random times."""
    rng = comm.stream("noise")
    for step in range(steps):
        comm.work(float(rng.exponential()), until=2)
        if comm.rank:
            comm.send(rng.random(3), 0, tag=1)
            comm.recv(0, tag=2)
        else:
            for _ in range(comm.size - 1):
                message = comm.recv(tag=1)
                comm.send(message.value * step, message.source, tag=2)
    comm.record(end=comm.now())


def test_a_run_is_the_same_event_by_event():
    cluster = Simulated(6, slowdowns=[Exponential()], network=Network(racks=2), seed=3)
    first, second = (cluster.run(asynchronous, 5) for _ in range(2))
    assert len(first.trace) > 100
    assert first.trace == second.trace
    assert first.points == second.points
    watched = cluster.start(asynchronous, 5)
    assert list(watched) == list(first.points)  # looking makes no difference
    assert watched.result().trace == first.trace
    other = Simulated(6, slowdowns=[Exponential()], network=Network(racks=2), seed=4)
    assert other.run(asynchronous, 5).trace != first.trace


def test_two_runs_can_be_watched_side_by_side():
    runs = [Simulated(3, seed=seed).start(asynchronous, 3) for seed in (0, 1)]
    seen = list(zip(*runs, strict=True))
    assert len(seen) == 3
    alone = [list(Simulated(3, seed=seed).start(asynchronous, 3)) for seed in (0, 1)]
    assert [list(points) for points in zip(*seen, strict=True)] == alone


def test_a_program_can_simulate_a_cluster_itself():
    def inner(comm):
        comm.barrier()
        return comm.all_reduce(random.random())

    def program(comm):
        before = random.random()
        result = Simulated(3, seed=comm.rank).run(inner).results
        comm.barrier()
        return before, result, random.random()

    def without(comm):
        before = random.random()
        comm.barrier()
        return before, random.random()

    run = Simulated(2).run(program)
    for rank, (before, result, after) in enumerate(run.results):
        assert result == Simulated(3, seed=rank).run(inner).results
        assert (before, after) == Simulated(2).run(without).results[rank]


def test_thousands_of_ranks_train():
    def program(comm, dim):
        w = np.zeros(dim)
        for _ in range(3):
            comm.work(MILLI)
            w -= 0.1 * comm.all_reduce(w - comm.rank, "mean")
        return float(w[0])

    run = Simulated(2000).run(program, 10)
    assert len(set(run.results)) == 1
    assert len(run.trace) == 2000 * 6


# -------------------------------------------------------------------- threads and greenlets


def living_greenlets():
    getcurrent()  # makes the thread's own, which stays
    gc.collect()
    return sum(type(thing) is greenlet and bool(thing) for thing in gc.get_objects())


def waits(comm, log):
    try:
        comm.record(step=1)
        comm.recv(comm.rank)
    finally:
        with pytest.raises(Stopped):
            comm.now()
        log.append(comm.rank)


def test_when_a_run_is_abandoned_its_ranks_are_ended():
    log = globals().setdefault("LOG", [])
    log.clear()

    def program(comm):
        import test_simulated

        waits(comm, test_simulated.LOG)

    before = living_greenlets()
    running = Simulated(3).start(program)
    points = iter(running)
    for _ in range(3):
        next(points)
    assert log == []
    gone = weakref.ref(running._simulation)
    del running, points
    assert sorted(log) == [0, 1, 2]
    assert living_greenlets() == before
    assert gone() is None


@pytest.mark.parametrize("end", ["stop", "deadlock", "error"])
def test_when_a_run_ends_its_ranks_are_ended(end):
    log = globals().setdefault("LOG", [])
    log.clear()

    def program(comm, end):
        import test_simulated

        if end == "error" and comm.rank == 0:
            comm.work(1.0)
            raise ValueError("no")
        if end == "stop" and comm.rank == 0:
            while True:
                comm.work(1.0)
        waits(comm, test_simulated.LOG)

    before = living_greenlets()
    running = Simulated(3).start(program, end)
    points = iter(running)
    for _ in range(3 if end == "deadlock" else 2):
        next(points)
    if end == "stop":
        running.stop()
        assert running.result().stopped
    else:
        with pytest.raises(Deadlock if end == "deadlock" else RankFailed):
            running.result()
    assert sorted(log) == ([0, 1, 2] if end == "deadlock" else [1, 2])
    assert living_greenlets() == before


def test_a_run_is_driven_by_one_thread_and_stopped_by_any():
    def program(comm):
        while True:
            comm.work(1.0)
            comm.record(step=1)

    running = Simulated(2).start(program)
    first, stopped, runs = threading.Event(), threading.Event(), []

    def drive():
        for _ in running:
            first.set()
        runs.append(running.result())
        stopped.set()

    thread = threading.Thread(target=drive, name="driver")
    thread.start()
    try:
        assert first.wait(60)
        with pytest.raises(RuntimeError, match="begun in driver and can't be driven from Main"):
            running.result()
    finally:
        running.stop()
        thread.join(60)
    assert stopped.is_set()
    assert runs[0].stopped
    assert running.result() is runs[0]


def test_a_program_that_only_computes_is_stopped_at_its_next_call():
    def program(comm):
        while True:
            comm.record(x=1)  # takes no virtual time

    running = Simulated(2).start(program)
    for point in running:
        assert point == Metric(0, 0.0, {"x": 1.0})
        running.stop()
    assert running.result().stopped


def test_an_error_in_the_program_has_its_own_frames_as_cause():
    def helper():
        raise ValueError("deep")

    def program(comm):
        helper()

    with pytest.raises(RankFailed) as caught:
        Simulated(1).run(program)
    cause = caught.value.__cause__
    assert cause.__traceback__.tb_frame.f_code.co_name == "program"
    assert cause.__traceback__.tb_next.tb_frame.f_code.co_name == "helper"


# ---------------------------------------------------------------------- what ranks have alone


@pytest.mark.parametrize("kind", [PythonGenerator, NumpyGenerator, TorchGenerator])
def test_the_words_of_a_generator_are_found(kind):
    generator = kind()
    assert generator.memory is not None
    for number in range(700):  # every draw shows in what is watched; so does a seeding
        before = [view[0] for view in generator.watched]
        generator._draw()
        after = [view[0] for view in generator.watched]
        assert before != after, number
    generator.seed(5)
    once = [view[0] for view in generator.watched]
    generator.seed(6)
    assert once != [view[0] for view in generator.watched]


def draws(comm):
    drawn = []
    for i in range(4):
        comm.barrier()
        if (comm.rank + i) % 2:
            drawn += [random.random(), random.gauss(), np.random.rand(), np.random.randn()]
            drawn += [torch.rand(1).item(), torch.randn(1).item(), torch.randn(16).sum().item()]
        elif i == 2:
            random.seed(comm.rank), np.random.seed(comm.rank), torch.manual_seed(comm.rank)
    return drawn


def test_the_same_numbers_come_where_the_words_are_not_found(monkeypatch):
    found = Simulated(3).run(draws).results
    for kind in (PythonGenerator, NumpyGenerator, TorchGenerator):
        monkeypatch.setattr(kind, "_addresses", lambda self: ())
    assert PythonGenerator().memory is None
    assert Simulated(3).run(draws).results == found


@pytest.mark.parametrize("while_it_runs", [False, True])
def test_the_callers_numpy_may_have_a_generator_of_another_kind(while_it_runs):
    expected = list(Simulated(2).run(draws).results)
    standard, state = np.random.mtrand.get_bit_generator(), np.random.get_state()
    try:
        running = Simulated(2).start(lambda comm: (comm.record(x=1), draws(comm))[1])
        if while_it_runs:
            next(iter(running))
        np.random.set_bit_generator(np.random.PCG64(1))
        np.random.randn()  # a second number is kept
        before = np.random.get_state(legacy=False)
        if not while_it_runs:
            running = Simulated(2).start(draws)
        assert list(running.result().results) == expected
        after = np.random.get_state(legacy=False)
        assert after == before
        assert np.random.mtrand.get_bit_generator() is not standard
    finally:
        np.random.set_bit_generator(standard)
        np.random.set_state(state)


def draws_late(comm, who, when):
    drawn = []
    for i in range(100):
        comm.barrier()
        if (i == when or i > 90) and comm.rank in who:
            drawn += [random.random(), np.random.randn(), torch.randn(1).item()]
    return drawn


@pytest.mark.parametrize(("who", "when"), [((0,), -1), ((0, 1, 2), 0), ((2,), 30)])
def test_the_numbers_do_not_depend_on_when_they_are_drawn(monkeypatch, who, when):
    drawn = Simulated(3).run(draws_late, who, when).results
    assert sum(map(len, drawn)) >= 27 * len(who)
    monkeypatch.setattr(loop, "TRIAL", 10**9)
    assert Simulated(3).run(draws_late, who, when).results == drawn


def test_a_rank_that_draws_late_from_a_global_generator_is_told(monkeypatch):
    with pytest.warns(RuntimeWarning, match=r"rank 1 was the first to draw .*, late in"):
        drawn = Simulated(3).run(draws_late, (1, 2), -1).results
    monkeypatch.setattr(loop, "TRIAL", 10**9)
    expected = Simulated(3).run(draws_late, (1, 2), -1).results
    assert drawn[2] == expected[2]
    assert drawn[1] != expected[1]
    assert len(set(drawn[1] + drawn[2])) == len(drawn[1] + drawn[2])


def test_what_stands_for_all_ranks_is_not_what_the_caller_finds(monkeypatch):
    def program(comm):
        for _ in range(100):
            comm.barrier()
        comm.record(x=comm.rank)
        return random.random(), np.random.rand(), torch.rand(1).item()

    running = Simulated(2).start(program)
    random.seed(1), np.random.seed(1), torch.manual_seed(1)
    first = [random.random(), np.random.rand(), torch.rand(1).item()]
    random.seed(1), np.random.seed(1), torch.manual_seed(1)
    assert next(iter(running)).rank == 0
    assert [random.random(), np.random.rand(), torch.rand(1).item()] == first
    results = running.result().results
    monkeypatch.setattr(loop, "TRIAL", 10**9)
    assert Simulated(2).run(program).results == results


def test_what_the_caller_draws_between_two_points_is_the_callers():
    def program(comm):
        for _ in range(3):
            comm.record(x=random.gauss() + np.random.randn() + torch.randn(1).item())
            comm.work(1.0)

    def seeded():
        random.seed(1), np.random.seed(1), torch.manual_seed(1)

    def drawn():
        return random.gauss(), np.random.randn(), torch.randn(1).item()

    seeded()
    expected = [drawn() for _ in range(7)]
    seeded()
    found, points = [drawn()], []
    for point in Simulated(2).start(program):
        found.append(drawn())
        points.append(point)
    assert found == expected
    assert points == list(Simulated(2).run(program).points)


def test_the_callers_torch_is_as_it_was():
    def program(comm):
        torch.set_default_dtype(torch.float64)
        torch.set_grad_enabled(False)  # and never back on
        comm.barrier()
        return torch.get_default_dtype(), torch.is_grad_enabled(), torch.get_num_threads()

    threads = torch.get_num_threads()
    running = Simulated(2).start(program)
    with torch.inference_mode():
        assert running.result().results == [(torch.float64, False, 1)] * 2
        assert torch.is_inference_mode_enabled()
    assert torch.get_default_dtype() == torch.float32
    assert torch.is_grad_enabled()
    assert torch.get_num_threads() == threads


def python(source):
    """What a fresh interpreter prints."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(source)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_run_needs_neither_torch_nor_numba():
    assert (
        python("""
            import sys
            from ddml_kit.cluster.simulated import Simulated
            print(Simulated(2).run(lambda comm: comm.all_gather(comm.rank)).results)
            print({"torch", "numba", "plotly"} & sys.modules.keys())
        """)
        == "[[0, 1], [0, 1]]\nset()\n"
    )


def test_torch_can_be_loaded_by_a_rank():
    assert (
        python("""
            from ddml_kit.cluster.simulated import Simulated

            def program(comm):
                import torch
                with torch.no_grad():
                    comm.barrier()
                    first = torch.rand(1).item()
                    comm.barrier()
                    inside = torch.is_grad_enabled()
                return inside, torch.is_grad_enabled(), first, torch.get_num_threads()

            results = Simulated(2).run(program).results
            print([(a, b, threads) for a, b, _, threads in results])
            print(len({first for _, _, first, _ in results}))
            import torch
            print(torch.is_grad_enabled())
        """)
        == "[(False, True, 1), (False, True, 1)]\n2\nTrue\n"
    )
