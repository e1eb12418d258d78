"""What ranks and watcher tell each other: who waits for whom, and what is to be done about it.

A rank that waits reports whom it waits for and how many frames it has sent to and received from
each other, and reports again before it goes on. If the last reports of all ranks say that they wait
or have ended, and on each way as many frames were received as were sent, nothing is under way and
nothing will be: a deadlock. It makes no difference that the reports are of different moments. Were
one of the ranks going on by now, then by a frame that it had not received when it reported. The
first such frame was sent by a rank before that one's last report, and so the counts of the two
differ. (Counts for each way: F. Mattern, "Algorithms for distributed termination detection",
Distributed Computing 2, 1987, section 6.)
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import NamedTuple

from ddml_kit.cluster.errors import deadlock_sentence

FINISHED, FAILED = "has finished", "has failed"  # of a program that is over


class Report(NamedTuple):
    """From a rank to the watcher.

    says: what it does, "waits for ..." or "has finished"; "" if it computes. sent, received:
    frames to and from each rank, by rank. closed: the ranks from which nothing can come any more.
    heard: the commands that it has got.
    """

    rank: int
    says: str
    sent: Sequence[int]
    received: Sequence[int]
    closed: frozenset[int]
    heard: int


class Stop(NamedTuple):
    """From the watcher: every call on comm raises Stopped from now on."""


class Dead(NamedTuple):
    """From the watcher: a rank has failed, and the run goes on without it."""

    rank: int
    reason: str
    seconds: float


Command = Stop | Dead


class Reins:
    """The watcher's hold of the ranks. tell: sends a command to a rank; never blocks for long."""

    def __init__(self, size: int, tell: Callable[[int, Command], None]) -> None:
        self._size, self._tell = size, tell
        self._told = 0
        self._dead: set[int] = set()
        self._reports: dict[int, Report] = {}
        self._hearing = threading.Lock()

    def stop(self) -> None:
        """Every rank raises Stopped at its next or current wait."""
        self._tell_all(Stop())

    def mark_dead(self, rank: int, reason: str = "", seconds: float = 0.0) -> None:
        """Whoever needs `rank` from now on raises RankFailed(rank, reason, seconds)."""
        self._dead.add(rank)
        self._tell_all(Dead(rank, reason, seconds))

    def _tell_all(self, command: Command) -> None:
        self._told += 1
        for rank in range(self._size):
            self._tell(rank, command)

    def hear(self, report: Report) -> None:
        """Take a report in; from any thread."""
        with self._hearing:
            self._reports[report.rank] = report

    def deadlock(self) -> str | None:
        """Who waits for whom, if nobody can ever go on."""
        with self._hearing:
            reports = dict(self._reports)
        alive = [rank for rank in range(self._size) if rank not in self._dead]
        if any(rank not in reports or not reports[rank].says for rank in alive):
            return None
        if any(reports[rank].says == FAILED for rank in alive):
            return None  # a report may be here before the failure, which ends the waiting
        if not any(reports[rank].says.startswith("waits") for rank in alive):
            return None
        for rank in alive:
            mine = reports[rank]
            if mine.heard != self._told or not self._dead <= mine.closed:
                return None
            for other in alive:
                if other != rank and reports[other].sent[rank] != mine.received[other]:
                    return None
        return deadlock_sentence(
            {
                rank: FAILED if rank in self._dead else reports[rank].says
                for rank in range(self._size)
            }
        )

    def close(self) -> None:
        """Nothing is left to be let go of."""
