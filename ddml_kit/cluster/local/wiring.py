"""The shared memory and the bells that join the ranks of a run on this machine.

Made in the parent, passed to the workers; it has no name anywhere, so nothing is left behind by a
kill: when the last process that has it is gone, the kernel takes it back.
"""

from __future__ import annotations

from typing import NamedTuple


class State(NamedTuple):
    """What a rank is doing, as seen from outside, without stopping it."""

    rank: int
    status: str  # "running", "waiting", "finished" or "dead"
    what: str  # what a waiting rank waits for, as words: "a message from rank 1, tag 3"
    has_timeout: bool  # the wait will end by itself
    moves: int  # changes with every wait that begins


class Wiring:
    """What the parent makes, the workers share, and the parent's guards act on.

    Picklable while a process is being started (forkserver, spawn), inherited under fork.
    """

    size: int

    @classmethod
    def create(cls, size: int) -> Wiring:
        """Memory and bells for `size` ranks."""
        raise NotImplementedError

    def close(self) -> None:
        """Let go of it in this process."""
        raise NotImplementedError

    def stop(self) -> None:
        """Every rank raises Stopped at its next or current wait; never blocks."""
        raise NotImplementedError

    def mark_finished(self, rank: int) -> None:
        """`rank`'s program has returned: its end is no death."""
        raise NotImplementedError

    def mark_dead(
        self, rank: int, reason: str = "its process died", seconds: float | None = None
    ) -> None:
        """Whoever needs `rank` from now on raises RankFailed(rank, reason, seconds).

        What it sent before can still be received. The first reason given stays.
        """
        raise NotImplementedError

    def states(self) -> list[State]:
        """What each rank is doing, by rank; never blocks."""
        raise NotImplementedError

    def deadlock(self) -> str | None:
        """Who waits for whom, if nobody could go on at this call and at the one before."""
        raise NotImplementedError
