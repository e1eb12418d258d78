"""What each worker did when, read off a trace: compute, communicate, wait, wait for a lock.

A receive waits until its message is sent and communicates from then on; a collective waits until
its last member has come; a program waits while it does nothing and a strand of its own is at work.
Messages are matched to receives in the order in which they were sent between two ranks with one
tag; a collective of all ranks by counting it on each rank. What can't be matched so (a collective
of a group) counts as communicating throughout.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ddml_kit.cluster.run import Run
from ddml_kit.cluster.trace import COLLECTIVES, COMPUTE, LOCK, RECEIVE, SEND

ACTIVITIES = ("compute", "communicate", "wait", "lock")
WORK, COMMUNICATE, WAIT, WAIT_LOCK = range(len(ACTIVITIES))
SHOWN = 40  # activities of a typical worker that a timeline shows
BINS = 400  # parts in which a worker is drawn who did much more than that


class Intervals(NamedTuple):
    """Who did what from when to when: five arrays of one length; sorted by rank, then start.

    activity: index into ACTIVITIES. start, stop: seconds since the start of the run. strand: 0 for
    the program itself, above for what it started beside it.
    """

    rank: np.ndarray
    start: np.ndarray
    stop: np.ndarray
    activity: np.ndarray
    strand: np.ndarray

    def where(self, chosen: np.ndarray) -> Intervals:
        """Those at which the mask `chosen` is true, or that it lists."""
        return Intervals(*(column[chosen] for column in self))


def window(run: Run, first: float | None = None) -> tuple[float, float]:
    """From when to when to show a run, in seconds: from the first thing done, as workers may take
    a while to start; for `first` seconds, or for some forty activities of a typical worker.
    """
    events = run.trace.events
    lasting = np.flatnonzero(events["stop"] > events["start"])
    if not len(lasting):
        return 0.0, min(first or run.seconds, run.seconds)
    begin = float(events["start"].min())
    if first is None:
        first = run.seconds
        ranks = events["rank"][lasting]
        counts = np.bincount(ranks)
        if np.median(counts[counts > 0]) > 2 * SHOWN:
            fortieth = events["stop"][lasting[_turn(ranks) == SHOWN - 1]]
            first = _round_up(float(np.median(fortieth)) - begin)
    end = begin + first if begin + first < 0.8 * run.seconds else run.seconds
    return (begin if begin > 0.02 * (end - begin) else 0.0), end


def intervals(run: Run, end: float = math.inf) -> Intervals:
    """What the workers of a run did, as far as they began it before `end`."""
    events = run.trace.events
    if end < run.seconds:
        events = events[_needed(events, end)]
    events = events[np.lexsort((events["start"], events["rank"]))]
    kind, start, stop = events["kind"], events["start"], events["stop"]
    # What is waited for ends the wait: the matching send, or the last to come.
    sent = match_messages(events)
    until = np.where(sent >= 0, start[sent], np.where(kind == RECEIVE, np.inf, -np.inf))
    for collective in COLLECTIVES:
        _match_collective(events, collective, run.size, until)
    split = np.where(kind == LOCK, stop, np.clip(until, start, stop))
    both = Intervals(
        np.tile(events["rank"].astype(np.int64), 2),
        np.concatenate([start, split]),
        np.concatenate([split, stop]),
        np.concatenate(
            [
                np.where(kind == LOCK, WAIT_LOCK, WAIT),
                np.where(kind == COMPUTE, WORK, COMMUNICATE),
            ]
        ),
        np.tile(events["strand"].astype(np.int64), 2),
    )
    if both.strand.any():
        both = _joined(both, _waits_for_strands(both))
    both = both.where((both.stop > both.start) & (both.start < end))
    order = np.lexsort((both.start, both.rank))
    return both.where(order)


def _joined(a: Intervals, b: Intervals) -> Intervals:
    return Intervals(*(np.concatenate(columns) for columns in zip(a, b, strict=True)))


def _waits_for_strands(done: Intervals) -> Intervals:
    """Where a rank's program did nothing while a strand of its own was at work."""
    waits = [np.empty((0, 3))]  # rank, start, stop
    for rank in np.unique(done.rank[done.strand > 0]):
        own = done.where((done.rank == rank) & (done.stop > done.start))
        times = np.unique(np.concatenate([own.start, own.stop]))
        idle = _busy(own.where(own.strand > 0), times) & ~_busy(own.where(own.strand == 0), times)
        change = np.diff(idle.astype(np.int8), prepend=0, append=0)
        starts, stops = times[np.flatnonzero(change > 0)], times[np.flatnonzero(change < 0)]
        waits.append(np.stack([np.full(len(starts), rank), starts, stops], axis=1))
    ranks, start, stop = np.concatenate(waits).T
    zeros = np.zeros(len(ranks), np.int64)
    return Intervals(ranks.astype(np.int64), start, stop, zeros + WAIT, zeros)


def _busy(own: Intervals, times: np.ndarray) -> np.ndarray:
    """Whether one of the intervals covers the span between two times, (len(times) - 1,)."""
    change = np.zeros(len(times), np.int64)
    np.add.at(change, np.searchsorted(times, own.start), 1)
    np.add.at(change, np.searchsorted(times, own.stop), -1)
    return np.cumsum(change)[:-1] > 0


def _needed(events: np.ndarray, end: float) -> np.ndarray:
    """A mask: what began before `end`, and the rest of the collectives that some rank began."""
    needed = events["start"] < end
    for kind in COLLECTIVES:
        at = np.flatnonzero(events["kind"] == kind)
        turn = _turn(events["rank"][at])
        if needed[at].any():
            needed[at[turn <= turn[needed[at]].max()]] = True
    return needed


def part(done: Intervals, begin: float, end: float, ranks: Sequence[int]) -> Intervals:
    """What some ranks did between two times, simplified where it would be too fine to see."""
    seen = done.where((done.start < end) & (done.stop > begin) & np.isin(done.rank, ranks))
    seen = seen._replace(start=np.maximum(seen.start, begin), stop=np.minimum(seen.stop, end))
    parts = []
    for rank, strand in np.unique(np.stack([seen.rank, seen.strand], axis=1), axis=0):
        own = seen.where((seen.rank == rank) & (seen.strand == strand))
        parts.append(own if len(own.rank) <= BINS else _coarse(own, begin, end))
    if not parts:
        return seen
    return Intervals(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))


def shares(done: Intervals, begin: float, end: float, size: int) -> np.ndarray:
    """The share of the time that each rank's program spent on each activity, (size, 4)."""
    done = done.where(done.strand == 0)
    length = np.clip(done.stop, begin, end) - np.clip(done.start, begin, end)
    total = np.zeros((size, len(ACTIVITIES)))
    np.add.at(total, (done.rank, done.activity), length)
    return total / (end - begin) if end > begin else total


def beside(done: Intervals, begin: float, end: float, size: int) -> np.ndarray:
    """The share of the time in which something that a rank started communicated, (size,)."""
    total = np.zeros(size)
    done = done.where((done.strand > 0) & (done.activity == COMMUNICATE))
    done = done._replace(start=np.clip(done.start, begin, end), stop=np.clip(done.stop, begin, end))
    for rank in np.unique(done.rank):
        own = done.where(done.rank == rank)
        times = np.unique(np.concatenate([own.start, own.stop]))
        total[rank] = np.diff(times)[_busy(own, times)].sum()
    return total / (end - begin) if end > begin else total


def match_messages(events: np.ndarray) -> np.ndarray:
    """The index of the send that belongs to each receive, -1 where there is none, (k,).

    Events of a rank are in their order; those that are no receive have -1.
    """
    matched = np.full(len(events), -1)
    sends = np.flatnonzero(events["kind"] == SEND)
    receives = np.flatnonzero((events["kind"] == RECEIVE) & (events["peer"] >= 0))
    if not len(sends) or not len(receives):
        return matched
    _, tag = np.unique(
        np.concatenate([events["tag"][sends], events["tag"][receives]]), return_inverse=True
    )
    source = np.concatenate([events["rank"][sends], events["peer"][receives]]).astype(np.int64)
    dest = np.concatenate([events["peer"][sends], events["rank"][receives]]).astype(np.int64)
    way = (source * (dest.max() + 1) + dest) * (tag.max() + 1) + tag
    sent, received = way[: len(sends)], way[len(sends) :]
    most = max(len(sent), len(received))  # of one way
    sent, received = sent * most + _turn(sent), received * most + _turn(received)
    order = np.argsort(sent)
    at = np.minimum(np.searchsorted(sent[order], received), len(sent) - 1)
    found = sent[order][at] == received
    matched[receives[found]] = sends[order][at[found]]
    return matched


def _match_collective(events: np.ndarray, kind: int, size: int, until: np.ndarray) -> None:
    """Set `until` of the collectives of all ranks to when their last member came."""
    at = np.flatnonzero(events["kind"] == kind)
    if not len(at):
        return
    turn = _turn(events["rank"][at])
    last, earliest = np.full(turn.max() + 1, -np.inf), np.full(turn.max() + 1, np.inf)
    np.maximum.at(last, turn, events["start"][at])
    np.minimum.at(earliest, turn, events["stop"][at])
    complete = (np.bincount(turn) == size) & (last <= earliest)
    until[at] = np.where(complete[turn], last[turn], -np.inf)


def _turn(keys: np.ndarray) -> np.ndarray:
    """How many equal keys come before each, (k,)."""
    if not len(keys):
        return np.zeros(0, np.int64)
    order = np.argsort(keys, kind="stable")
    ordered = keys[order]
    firsts = np.flatnonzero(np.append(True, ordered[1:] != ordered[:-1]))
    turn = np.empty(len(keys), np.int64)
    turn[order] = np.arange(len(keys)) - np.repeat(firsts, np.diff(firsts, append=len(keys)))
    return turn


def _coarse(own: Intervals, begin: float, end: float) -> Intervals:
    """One strand's intervals in BINS equal parts of the time, each shown as what filled it most."""
    edges = np.linspace(begin, end, BINS + 1)
    filled = np.zeros((len(ACTIVITIES) + 1, BINS))
    for activity in range(len(ACTIVITIES)):
        chosen = own.where(own.activity == activity)
        if len(chosen.rank):
            length = np.cumsum(chosen.stop - chosen.start)
            times = np.stack([chosen.start, chosen.stop], axis=1).reshape(-1)
            total = np.stack([np.concatenate([[0.0], length[:-1]]), length], axis=1).reshape(-1)
            filled[activity] = np.diff(np.interp(edges, times, total))
    filled[-1] = (end - begin) / BINS - filled.sum(axis=0)  # nothing recorded
    most = filled.argmax(axis=0)
    firsts = np.flatnonzero(np.diff(most, prepend=-1))
    stops = np.append(firsts[1:], BINS)
    kept = most[firsts] < len(ACTIVITIES)
    return Intervals(
        np.full(int(kept.sum()), own.rank[0]),
        edges[firsts][kept],
        edges[stops][kept],
        most[firsts][kept],
        np.full(int(kept.sum()), own.strand[0]),
    )


def _round_up(x: float) -> float:
    """x rounded up to one digit, or to 1.5 of it."""
    power = 10.0 ** math.floor(math.log10(x))
    digit = next(d for d in (1, 1.5, 2, 3, 4, 5, 6, 8, 10) if x <= d * power * (1 + 1e-9))
    return float(f"{digit * power:.3g}")
