"""Who did what, when: the events of a run, in columns, and what they add up to.

An event is 48 bytes. A tuple for each would be 208: 0.9 GB for a ring all-reduce of 1,024 ranks.
"""

from __future__ import annotations

import json
import os
import struct
from collections import deque
from itertools import pairwise
from typing import Any

import numpy as np

KINDS = (
    "compute",
    "send",
    "receive",
    "barrier",
    "all_reduce",
    "all_gather",
    "broadcast",
    "lock",
)
COMPUTE, SEND, RECEIVE, BARRIER, ALL_REDUCE, ALL_GATHER, BROADCAST, LOCK = range(len(KINDS))
COLLECTIVES = (BARRIER, ALL_REDUCE, ALL_GATHER, BROADCAST)
EVENT = np.dtype(
    [
        ("start", "<f8"),  # seconds since the start of the run
        ("stop", "<f8"),
        ("bytes", "<i8"),  # payload: of a send or a collective, what this rank sends
        ("tag", "<i8"),  # -1 where there is none
        ("rank", "<i4"),
        ("peer", "<i4"),  # world rank of the other end; -1 where there is none
        ("kind", "<i4"),  # index into KINDS
        ("strand", "<i4"),  # 0: the program; 1, 2, ...: what it started
    ]
)
pack_event = struct.Struct("<ddqqiiii").pack  # (start, stop, bytes, tag, rank, peer, kind, strand)


class Recorder:
    """Collects events in one growing buffer, to which pack_event(...) can also be added by hand."""

    def __init__(self) -> None:
        self.buffer = bytearray()

    def add(
        self,
        kind: int,
        rank: int,
        start: float,
        stop: float,
        peer: int = -1,
        tag: int = -1,
        nbytes: int = 0,
        strand: int = 0,
    ) -> None:
        """One event; start and stop in seconds."""
        self.buffer += pack_event(start, stop, nbytes, tag, rank, peer, kind, strand)

    def tobytes(self) -> bytes:
        return bytes(self.buffer)

    def trace(self) -> Trace:
        return Trace(np.frombuffer(self.tobytes(), EVENT))


class Trace:
    """The events of a run. `events` is a structured array with the columns of EVENT, (k,)."""

    def __init__(self, events: np.ndarray) -> None:
        self.events = events

    def __len__(self) -> int:
        return len(self.events)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Trace) and np.array_equal(self.events, other.events)

    __hash__ = None  # type: ignore[assignment]

    def __getitem__(self, column: str) -> np.ndarray:
        return self.events[column]

    def of(self, *kinds: int, rank: int | None = None) -> Trace:
        """The events of these kinds, of one rank or of all."""
        chosen = np.isin(self.events["kind"], kinds)
        if rank is not None:
            chosen &= self.events["rank"] == rank
        return Trace(self.events[chosen])

    def seconds(self, kind: int, size: int) -> np.ndarray:
        """Time that each rank spent in this kind of event, in seconds, (size,)."""
        events = self.events[self.events["kind"] == kind]
        return np.bincount(events["rank"], events["stop"] - events["start"], minlength=size)

    def bytes_by_rank(self, size: int) -> np.ndarray:
        """Payload bytes that each rank sent, collectives included, (size,)."""
        sent = self.events[self.events["kind"] != RECEIVE]
        total = np.zeros(size, np.int64)
        np.add.at(total, sent["rank"], sent["bytes"])
        return total

    def steps(self, size: int) -> int:
        """The longest chain of messages, each sent after its sender had received the one before.

        What an algorithm of single messages takes in latencies, on links that are free. Messages
        to oneself and those inside collectives don't count. Clocks are compared within a rank
        only. Messages of a pair with one tag are taken to arrive in the order sent, also where
        they belong to different communicators.
        """
        chosen = np.isin(self.events["kind"], (SEND, RECEIVE))
        chosen &= self.events["rank"] != self.events["peer"]
        events = self.events[chosen]
        moment = np.where(events["kind"] == SEND, events["start"], events["stop"])
        events = events[np.lexsort((moment, events["rank"]))]  # those of one moment as they were
        bounds = np.searchsorted(events["rank"], np.arange(size + 1))
        moves = [events[a:b][["kind", "peer", "tag"]] for a, b in pairwise(bounds.tolist())]
        return _longest_chain([rank.tolist() for rank in moves])

    def to_perfetto(self, path: str | os.PathLike) -> None:
        """Write the trace as JSON that ui.perfetto.dev and chrome://tracing open.

        Format: Google, "Trace Event Format"; complete events ("X"), times in microseconds, one
        thread a strand.
        """
        lanes = np.unique(self.events[["rank", "strand"]]).tolist()
        number = {lane: i for i, lane in enumerate(lanes)}
        shown = [_metadata("process_name", 0, "cluster")]
        shown += [
            _metadata("thread_name", i, f"rank {rank}" + f", strand {strand}" * (strand > 0))
            for i, (rank, strand) in enumerate(lanes)
        ]
        shown += [_perfetto(event, number) for event in self.events.tolist()]
        with open(path, "w", encoding="utf8") as file:
            json.dump({"traceEvents": shown}, file)


def _longest_chain(moves: list[list[tuple[int, int, int]]]) -> int:
    """The longest chain of messages, where each rank does its moves, (kind, peer, tag), in order.

    A message that was received but not sent, as when a sender's trace was lost, begins a chain.
    """
    chain = [0] * len(moves)  # the longest that has come to a rank
    at = [0] * len(moves)  # the next move of a rank
    travelling: dict[tuple[int, int, int], deque[int]] = {}  # by sender, receiver, tag
    waiting: dict[tuple[int, int, int], int] = {}
    ready = list(range(len(moves)))
    longest = 0
    while ready or waiting:
        if not ready:  # a message that nobody sent
            _, rank = waiting.popitem()
            chain[rank] = max(chain[rank], 1)
            longest = max(longest, chain[rank])
            at[rank] += 1
            ready.append(rank)
        rank = ready.pop()
        own = moves[rank]
        while at[rank] < len(own):
            kind, peer, tag = own[at[rank]]
            if kind == SEND:
                key = rank, peer, tag
                travelling.setdefault(key, deque()).append(chain[rank] + 1)
                longest = max(longest, chain[rank] + 1)
                if key in waiting:
                    ready.append(waiting.pop(key))
            else:
                key = peer, rank, tag
                if not travelling.get(key):
                    waiting[key] = rank
                    break
                chain[rank] = max(chain[rank], travelling[key].popleft())
            at[rank] += 1
    return longest


def _metadata(what: str, thread: int, name: str) -> dict[str, Any]:
    return {"name": what, "ph": "M", "pid": 0, "tid": thread, "args": {"name": name}}


def _perfetto(event: tuple, number: dict[tuple[int, int], int]) -> dict[str, Any]:
    """One complete event, on the thread of its strand."""
    start, stop, nbytes, tag, rank, peer, kind, strand = event
    return {
        "name": KINDS[kind],
        "ph": "X",
        "ts": start * 1e6,
        "dur": (stop - start) * 1e6,
        "pid": 0,
        "tid": number[rank, strand],
        "args": {"peer": peer, "tag": tag, "bytes": nbytes},
    }
