"""What each worker did when, read off a trace: compute, communicate, wait, wait for a lock.

A receive waits until its message is sent and communicates from then on; a collective waits until
its last member has come. Messages are matched to receives in the order in which they were sent
between two ranks with one tag; a collective of all ranks by counting it on each rank. What can't
be matched so (a collective of a group) counts as communicating throughout.
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
        """Those at which the mask `chosen` is true."""
        return Intervals(*(column[chosen] for column in self))


def intervals(run: Run) -> Intervals:
    """All that the workers of a run did."""
    events = run.trace.events
    order = np.lexsort((events["start"], events["rank"]))
    events = events[order]
    # What is waited for ends the wait: the matching send, or the last to come.
    until = np.where(events["kind"] == RECEIVE, np.inf, -np.inf)
    _match_messages(events, until)
    for kind in COLLECTIVES:
        _match_collective(events, kind, run.size, until)
    start, stop, rank = events["start"], events["stop"], events["rank"]
    split = np.clip(until, start, stop)
    first = np.full(len(events), WAIT)
    first[events["kind"] == LOCK] = WAIT_LOCK
    split = np.where(events["kind"] == LOCK, stop, split)
    second = np.where(events["kind"] == COMPUTE, WORK, COMMUNICATE)
    both = Intervals(
        np.concatenate([rank, rank]).astype(np.int64),
        np.concatenate([start, split]),
        np.concatenate([split, stop]),
        np.concatenate([first, second]),
        np.concatenate([events["strand"], events["strand"]]).astype(np.int64),
    )
    return _sorted(both.where(both.stop > both.start))


def window(done: Intervals, seconds: float) -> float:
    """How much of a run to show, in seconds: some forty activities of a typical worker."""
    if not len(done.rank):
        return seconds
    _, counts = np.unique(done.rank, return_counts=True)
    typical = float(np.median(counts))
    if typical <= 2 * SHOWN:
        return seconds
    starts = np.searchsorted(done.rank, np.unique(done.rank))
    at = [done.stop[i + SHOWN - 1] for i, n in zip(starts, counts, strict=True) if n >= SHOWN]
    rounded = _round_up(float(np.median(at)))
    return seconds if rounded > 0.8 * seconds else rounded


def first_part(done: Intervals, seconds: float, ranks: Sequence[int]) -> Intervals:
    """What some ranks did in the first `seconds`, simplified where it would be too fine to see."""
    seen = done.where((done.start < seconds) & np.isin(done.rank, ranks))
    seen = seen._replace(stop=np.minimum(seen.stop, seconds))
    parts = []
    for rank, strand in np.unique(np.stack([seen.rank, seen.strand], axis=1), axis=0):
        own = seen.where((seen.rank == rank) & (seen.strand == strand))
        parts.append(own if len(own.rank) <= BINS else _coarse(own, seconds))
    if not parts:
        return seen
    return Intervals(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))


def shares(done: Intervals, seconds: float, size: int) -> np.ndarray:
    """The share of the first `seconds` that each rank's program spent on each, (size, 4)."""
    done = done.where(done.strand == 0)
    length = np.clip(done.stop, 0, seconds) - np.clip(done.start, 0, seconds)
    total = np.zeros((size, len(ACTIVITIES)))
    np.add.at(total, (done.rank, done.activity), length)
    return total / seconds if seconds > 0 else total


def _match_messages(events: np.ndarray, until: np.ndarray) -> None:
    """Set `until` of each receive to the start of its send; it stays infinite without one."""
    sends = np.flatnonzero(events["kind"] == SEND)
    receives = np.flatnonzero((events["kind"] == RECEIVE) & (events["peer"] >= 0))
    if not len(sends) or not len(receives):
        return
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
    until[receives[found]] = events["start"][sends][order][at[found]]


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
    order = np.argsort(keys, kind="stable")
    ordered = keys[order]
    firsts = np.flatnonzero(np.append(True, ordered[1:] != ordered[:-1]))
    turn = np.empty(len(keys), np.int64)
    turn[order] = np.arange(len(keys)) - np.repeat(firsts, np.diff(firsts, append=len(keys)))
    return turn


def _coarse(own: Intervals, seconds: float) -> Intervals:
    """One strand's intervals in BINS equal parts of the time, each shown as what filled it most."""
    edges = np.linspace(0.0, seconds, BINS + 1)
    filled = np.zeros((len(ACTIVITIES) + 1, BINS))
    for activity in range(len(ACTIVITIES)):
        chosen = own.where(own.activity == activity)
        if len(chosen.rank):
            length = np.cumsum(chosen.stop - chosen.start)
            times = np.stack([chosen.start, chosen.stop], axis=1).reshape(-1)
            total = np.stack([np.concatenate([[0.0], length[:-1]]), length], axis=1).reshape(-1)
            filled[activity] = np.diff(np.interp(edges, times, total))
    filled[-1] = seconds / BINS - filled.sum(axis=0)  # nothing recorded
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


def _sorted(done: Intervals) -> Intervals:
    order = np.lexsort((done.start, done.rank))
    return Intervals(*(column[order] for column in done))


def _round_up(x: float) -> float:
    """x rounded up to one digit, or to 1.5 of it."""
    power = 10.0 ** math.floor(math.log10(x))
    digit = next(d for d in (1, 1.5, 2, 3, 4, 5, 6, 8, 10) if x <= d * power * (1 + 1e-9))
    return float(f"{digit * power:.3g}")
