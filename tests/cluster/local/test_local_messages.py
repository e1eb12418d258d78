"""Messages among real processes: order, tags, memory that is used again, strands, waiting."""

import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from local_ranks import Ranks, run

from ddml_kit.cluster import Timeout
from ddml_kit.cluster.local.encoding import KEEP
from ddml_kit.cluster.trace import RECEIVE, SEND


def test_messages_of_one_rank_and_tag_arrive_in_order():
    def program(comm):
        if comm.rank:
            for i in range(500):
                comm.send(i, 0, tag=i % 3)
                comm.send(np.full(i, comm.rank), 0, tag=3)
            return None
        order = {}
        for source in (2, 1):
            for tag in (3, 2, 0, 1):
                count = 500 if tag == 3 else len(range(tag, 500, 3))
                order[source, tag] = [comm.recv(source, tag).value for _ in range(count)]
        return order

    order = run(3, program)[0]
    for (source, tag), values in order.items():
        if tag == 3:
            assert [len(value) for value in values] == list(range(500))
            assert all((value == source).all() for value in values)
        else:
            assert values == list(range(tag, 500, 3))


@settings(max_examples=5, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 70_000)), max_size=60))
def test_any_mix_of_tags_and_sizes_arrives(messages):
    def program(comm, messages):
        if comm.rank == 0:
            for number, (tag, size) in enumerate(messages):
                comm.send((number, bytes(size)), 1, tag)
            return None
        found = []
        for tag in (2, 0, 1):
            wanted = [m for m in messages if m[0] == tag]
            found += [comm.recv(0, tag).value for _ in wanted]
        return found

    found = run(2, program, messages)[1]
    expected = [
        (number, bytes(size))
        for wanted in (2, 0, 1)
        for number, (tag, size) in enumerate(messages)
        if tag == wanted
    ]
    assert found == expected


def test_any_takes_the_first_to_arrive():
    def program(comm):
        if comm.rank == 0:
            comm.recv(3, tag=9)  # the token has been everywhere
            return [comm.recv() for _ in range(3)]
        if comm.rank != 2:
            comm.recv({1: 2, 3: 1}[comm.rank], tag=9)
        comm.send(10 * comm.rank, 0, tag=comm.rank)
        comm.send(None, {2: 1, 1: 3, 3: 0}[comm.rank], tag=9)
        return None

    assert run(4, program)[0] == [(20, 2, 2), (10, 1, 1), (30, 3, 3)]


def test_any_does_not_take_what_a_collective_sends():
    def program(comm):
        if comm.rank:
            gathering = comm.start(comm.all_gather, 7)  # rank 0 has it before it asks
            comm.recv(0)
            comm.send("mine", 0)
            comm.send("too", 0)
            return gathering.wait()
        comm.send("go on", 1)
        return comm.recv().value, comm.recv().value, comm.all_gather(8)

    assert run(2, program) == [("mine", "too", [8, 7]), [8, 7]]


def test_a_rank_can_send_to_itself():
    def program(comm):
        x = np.arange(KEEP)
        comm.send(x, 0)
        comm.send({"x": x}, 0, tag=1)
        x[:] = 0
        return comm.recv(0, 1).value["x"].sum() + comm.recv(0, 0).value.sum()

    assert run(1, program) == [KEEP * (KEEP - 1)]


@pytest.mark.parametrize("size", [10, KEEP])
def test_what_is_changed_after_send_does_not_change_what_arrives(size):
    def program(comm):
        if comm.rank == 0:
            for step in range(20):
                x = np.full(size, step)
                comm.send(x, 1)
                x[:] = -1
            return None
        arrays = []
        for _ in range(20):
            arrays.append(comm.recv(0).value)
            arrays[-1] += 1  # it is this rank's own
        return [set(array.tolist()) for array in arrays]

    assert run(2, program)[1] == [{step + 1} for step in range(20)]


def test_memory_is_used_again():
    """A million bytes there and back a thousand times need a few pieces."""

    def program(comm):
        value = np.zeros(1_000_000, np.uint8)
        for step in range(1000):
            if comm.rank == 0:
                comm.send(value, 1)
                value = comm.recv(1).value
            else:
                value = comm.recv(0).value
                value[step] += 1
                comm.send(value, 0)
        return int(value.sum()), comm._endpoint._mail._heap.grown

    (total, grown), (_, grown_too) = run(2, program)
    assert total == 1000
    assert max(grown, grown_too) < 5e6


def test_a_view_keeps_its_memory():
    def program(comm):
        views = []
        for step in range(20):
            if comm.rank == 0:
                comm.send(np.full(KEEP, step), 1)
                comm.recv(1)  # so that a piece that has come back is used again
            else:
                whole = comm.recv(0).value
                views.append([whole[-3:], memoryview(whole)[-3:], whole.reshape(2, -1)][step % 3])
                comm.send(None, 0)
        return [set(np.ravel(view).tolist()) for view in views]

    assert run(2, program)[1] == [{step} for step in range(20)]


def test_a_receiver_far_behind_gets_everything():
    def program(comm):
        if comm.rank == 0:
            for step in range(3000):
                comm.send(np.full(2000, step), 1)
            return comm.recv(1).value
        sums = [comm.recv(0).value[0] for _ in range(3000)]
        comm.send("thanks", 0)
        return sums == list(range(3000))

    assert run(2, program) == ["thanks", True]


def test_what_is_sent_to_a_rank_that_has_ended_takes_no_memory():
    def program(comm):
        if comm.rank:
            return comm._endpoint._wiring.mark_finished(1)
        while not comm._endpoint._wiring.is_finished(1):
            comm.work(1e-3)
        for _ in range(100):
            comm.send(np.zeros(KEEP), 1)
        return comm._endpoint._mail._heap.grown

    assert run(2, program, paced=True)[0] == 0


def test_a_receive_may_time_out():
    def program(comm):
        with pytest.raises(Timeout, match=r"waited 0.01 s for a message from rank 1, tag 3"):
            comm.recv(1, 3, timeout=0.01)
        with pytest.raises(Timeout, match="for a message from any rank"):
            comm.recv(timeout=0)
        comm.send("later", comm.rank)
        return comm.recv(timeout=10).value

    assert run(2, program) == ["later", "later"]


def test_two_strands_receive_at_once():
    def program(comm):
        def answer(tag, count):
            for _ in range(count):
                comm.send(comm.recv(tag=tag).value + 1, 1 - comm.rank, tag + 10)
            return tag

        if comm.rank == 0:
            strands = [comm.start(answer, tag, 200) for tag in (1, 2)]
            answer(3, 200)
            return [strand.wait() for strand in strands]
        for i in range(200):
            for tag in (2, 3, 1):
                comm.send(i, 0, tag)
        return [[comm.recv(0, tag + 10).value for _ in range(200)] for tag in (1, 2, 3)]

    with Ranks(2, program) as ranks:
        first, second = ranks.results()
    assert first == [1, 2]
    assert second == [list(range(1, 201))] * 3
    events = ranks.traces[0].of(RECEIVE).events
    assert np.bincount(events["strand"]).tolist() == [200, 200, 200]


def test_a_strand_s_error_comes_out_where_it_is_waited_for():
    def program(comm):
        def fail():
            raise ValueError("no luck")

        with pytest.raises(ValueError, match="no luck"):
            comm.start(fail).wait()
        strand = comm.start(comm.recv, 0, 4)
        comm.send("found", 0, 4)
        return strand.wait().value, threading.active_count()

    [(value, threads)] = run(1, program)
    assert value == "found"
    assert threads <= 2  # the strand may be in its last instruction


def test_the_trace_says_who_sent_what():
    def program(comm):
        if comm.rank == 0:
            comm.send(np.zeros(5), 1, tag=2)
        else:
            comm.recv(0)

    with Ranks(2, program) as ranks:
        ranks.results()
        [sent] = ranks.traces[0].events
        [received] = ranks.traces[1].events
    columns = ["kind", "rank", "peer", "tag", "bytes"]
    assert sent[columns].tolist() == (SEND, 0, 1, 2, 40)
    assert received[columns].tolist() == (RECEIVE, 1, 0, 2, 40)
    assert 0 <= sent["start"] <= sent["stop"]
    assert received["stop"] >= sent["start"], "one clock for all ranks"


def test_news_between_two_looks_is_not_slept_through():
    def program(comm):
        waiter = comm._endpoint._waiter
        looks = iter([False, True])  # it comes after the first look, and nobody rings

        class Unheard(type(waiter._changed)):
            def wait(self, timeout=None):
                raise AssertionError("it waits for a strand that is not there")

        waiter._changed.__class__ = Unheard
        return waiter.sleep(lambda: next(looks, True), lambda: "news")

    assert run(1, program) == [True]
