"""The longest chain of messages of a trace."""

from __future__ import annotations

import numpy as np
import pytest

from ddml_kit.cluster import Simulated
from ddml_kit.cluster.trace import RECEIVE, SEND, Recorder
from tests.clusters import CLUSTERS


def steps(size, *events):
    """events: (kind, rank, start, stop, peer, tag)."""
    recorder = Recorder()
    for kind, rank, start, stop, peer, *tag in events:
        recorder.add(kind, rank, start, stop, peer, *(tag or [0]))
    return recorder.trace().steps(size)


def test_no_messages_are_no_step():
    assert steps(3) == 0


def test_messages_side_by_side_are_one_step():
    assert steps(3, (SEND, 0, 0, 0, 1), (SEND, 0, 0, 0, 2), (SEND, 1, 0, 0, 2)) == 1


def test_one_sent_after_one_was_received_is_a_step_more():
    first, answer = (SEND, 0, 0, 0, 1), (SEND, 1, 2, 2, 0)
    assert steps(2, first, (RECEIVE, 1, 0, 1, 0), answer) == 2
    assert steps(2, first, answer, (RECEIVE, 1, 0, 3, 0)) == 1


def test_a_short_chain_that_comes_later_does_not_cut_a_long_one():
    long = [(SEND, 0, 0, 0, 1), (RECEIVE, 1, 0, 1, 0), (SEND, 1, 1, 1, 2), (RECEIVE, 2, 0, 2, 1)]
    short = [(SEND, 3, 0, 0, 2), (RECEIVE, 2, 2, 3, 3)]
    assert steps(4, *long, *short, (SEND, 2, 4, 4, 0)) == 3


def test_the_order_in_which_ranks_are_listed_does_not_matter():
    line = [(SEND, 0, 0, 0, 1)]
    for rank in (1, 2, 3):
        line += [(RECEIVE, rank, 0, rank, rank - 1), (SEND, rank, rank, rank, (rank + 1) % 4)]
    line.append((RECEIVE, 0, 0, 4, 3))
    assert steps(4, *line) == 4
    by_rank = sorted(line, key=lambda event: event[1])
    assert steps(4, *by_rank[::1]) == steps(4, *sorted(by_rank, key=lambda e: -e[1])) == 4


def test_what_a_strand_sent_while_another_waited_came_before():
    """A receive is listed when it began, or when another strand had done more: its end counts."""
    received, sent = (RECEIVE, 1, 0.0, 5.0, 0), (SEND, 1, 2.0, 2.0, 0)
    assert steps(2, (SEND, 0, 0, 0, 1), received, sent) == 1
    assert steps(2, (SEND, 0, 0, 0, 1), sent, received) == 1


def test_messages_with_other_tags_may_overtake():
    events = [
        (SEND, 0, 0, 0, 1, 7),
        (RECEIVE, 0, 0, 1, 2, 0),
        (SEND, 0, 1, 1, 1, 8),
        (SEND, 2, 0, 0, 0, 0),
    ]
    taken = (RECEIVE, 1, 0, 2, 0)
    sent_on = (SEND, 1, 2, 2, 2, 0)
    assert steps(3, *events, (*taken, 8), sent_on) == 3
    assert steps(3, *events, (*taken, 7), sent_on) == 2


def test_messages_to_oneself_are_none():
    assert steps(1, (SEND, 0, 0, 0, 0), (RECEIVE, 0, 0, 0, 0), (SEND, 0, 1, 1, 0)) == 0


def test_a_message_whose_sender_left_no_trace_is_a_step():
    assert steps(2, (RECEIVE, 0, 0, 1, 1), (RECEIVE, 0, 1, 2, 1), (SEND, 0, 2, 2, 1)) == 2


@pytest.mark.parametrize("cluster", CLUSTERS)
def test_steps_of_a_run(cluster):
    def there_and_back(comm, trips):
        other = 1 - comm.rank
        for _ in range(trips):
            if comm.rank:
                comm.send(comm.recv(other).value, other)
            else:
                comm.send(np.zeros(3), other)
                comm.recv(other)
        comm.all_reduce(1.0)

    assert cluster(2).run(there_and_back, 10).trace.steps(2) == 20


def test_a_large_trace_takes_a_moment():
    def round_once(comm):
        for _ in range(comm.size):
            comm.send(None, (comm.rank + 1) % comm.size)
            comm.recv((comm.rank - 1) % comm.size)

    assert Simulated(100).run(round_once).trace.steps(100) == 100
