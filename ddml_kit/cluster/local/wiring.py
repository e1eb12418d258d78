"""The shared memory and the bells that join the ranks of a run on this machine.

Made in the parent, passed to the workers; it has no name anywhere, so nothing is left behind by a
kill: when the last process that has it is gone, the kernel takes it back.

The control area is a table of int64 words and a few texts. Each word has one writer (or writers
that write the same), and an aligned word is read and written whole, so no lock is needed.
"""

from __future__ import annotations

import mmap
from typing import Any, NamedTuple

from ddml_kit.cluster.errors import RankFailed, deadlock_sentence
from ddml_kit.cluster.local.system import SEGMENT, Bells, Memory, fence

STOP = 0  # the first word: not 0 when the run is to end
LINE = 8  # words in a cache line
TEXT = 512  # bytes of a text
MOST_RANKS = 200  # ranks: each has a descriptor, and 256 travel with a new process
NEVER = float("inf")


class State(NamedTuple):
    """What a rank is doing, as seen from outside, without stopping it."""

    rank: int
    status: str  # "running", "waiting", "finished" or "dead"
    what: str  # of a waiting rank, in words: "waits for a message from rank 1, tag 3"
    has_timeout: bool  # the wait will end by itself
    moves: int  # changes with every wait that begins


class Control:
    """The words and texts of the control area, by name.

    Fields of one word a rank are the index of rank 0's word. `sent + r * stride + s` is what s has
    sent to r, `returned + r * stride + s` what s has given back to r (see queues.py).
    """

    def __init__(self, view: mmap.mmap, size: int) -> None:
        self.view = view
        self.words = memoryview(view).cast("q")
        self.size = size
        self.stride = stride = -(-size // LINE) * LINE
        fields = iter(range(LINE, SEGMENT // 8, stride))
        self.asleep = next(fields)  # the number of the sleep that a rank is about to begin; or 0
        self.woken = next(fields)  # the number of the sleep that someone has ended
        self.deep = next(fields)  # not 0: all of the rank's strands wait; a new number each time
        self.timeout = next(fields)  # 1: one of these waits ends by itself
        self.finished = next(fields)
        self.dead = next(fields)
        self.gone = next(fields)  # finished or dead: takes no more messages
        self.wanted = next(fields)  # the lock that a rank waits for, or 0
        self.process = next(fields)  # of a rank: its id
        self.sent = next(fields)
        self.returned = self.sent + size * stride
        self._texts = (self.returned + size * stride) * 8
        assert self._texts + 2 * size * TEXT <= SEGMENT

    def text(self, rank: int, second: bool = False) -> str:
        """The first text of a rank: what it does. The second: what it died of."""
        start = self._texts + (2 * rank + second) * TEXT
        return self.view[start : start + TEXT].rstrip(b"\0").decode(errors="replace")

    def set_text(self, rank: int, text: str, second: bool = False) -> None:
        start = self._texts + (2 * rank + second) * TEXT
        self.view[start : start + TEXT] = text.encode()[:TEXT].ljust(TEXT, b"\0")


class Wiring:
    """What the parent makes, the workers share, and the parent's guards act on.

    Picklable while a process is being started (forkserver, spawn), inherited under fork.
    """

    def __init__(self, memory: Memory, bells: Bells, size: int) -> None:
        self.size, self.memory, self.bells = size, memory, bells
        self.control = Control(memory.segment(0, 0), size)
        self._dead_at = slice(self.control.dead * 8, (self.control.dead + size) * 8)
        self._nobody = bytes(size * 8)
        self._peek: list[State] = []

    @classmethod
    def create(cls, size: int) -> Wiring:
        """Memory and bells for `size` ranks."""
        if not 1 <= size <= MOST_RANKS:
            raise ValueError(f"local processes can be 1 to {MOST_RANKS}, got {size}")
        return cls(Memory(1 + size), Bells(size), size)

    def __reduce__(self) -> Any:
        return Wiring, (self.memory, self.bells, self.size)

    def close(self) -> None:
        """Let go of it in this process."""
        self.control.words.release()
        self.control.view.close()
        self.memory.close()
        self.bells.close()

    def stop(self) -> None:
        """Every rank raises Stopped at its next or current wait; never blocks."""
        self.control.words[STOP] = 1
        self._wake_all()

    def hear(self, message: Any) -> None:
        """Ranks that share memory say there what they do."""
        raise AssertionError(f"a worker sent {message!r}")

    def mark_finished(self, rank: int) -> None:
        """`rank`'s program has returned: its end is no death."""
        self.control.words[self.control.finished + rank] = 1
        self.control.words[self.control.gone + rank] = 1

    def mark_dead(self, rank: int, reason: str = "", seconds: float = NEVER) -> None:
        """Whoever needs `rank` from now on raises RankFailed(rank, reason, seconds).

        What it sent before can still be received. The first reason given stays.
        """
        control = self.control
        if reason and not control.text(rank, second=True):
            control.set_text(rank, f"{seconds!r} {reason}", second=True)
        control.words[control.dead + rank] = 1
        control.words[control.gone + rank] = 1
        self._wake_all()

    def is_finished(self, rank: int) -> bool:
        return bool(self.control.words[self.control.finished + rank])

    def is_dead(self, rank: int) -> bool:
        return bool(self.control.words[self.control.dead + rank])

    def some_dead(self) -> bool:
        return self.control.view[self._dead_at] != self._nobody

    def failure(self, rank: int) -> RankFailed:
        """Why a dead rank died, as far as is known."""
        seconds, _, reason = self.control.text(rank, second=True).partition(" ")
        if not reason:
            return RankFailed(rank, "its process died")
        return RankFailed(rank, reason, None if seconds == "inf" else float(seconds))

    def rank_of(self, process: int) -> int:
        """Whose process this is."""
        first = self.control.process
        return self.control.words[first : first + self.size].tolist().index(process)

    def wake(self, rank: int) -> None:
        """End the sleep of `rank`, if it sleeps. A fence must lie between the news and this."""
        words, control = self.control.words, self.control
        sleep = words[control.asleep + rank]
        if sleep and words[control.woken + rank] != sleep:
            self.bells.ring(rank)
            words[control.woken + rank] = sleep

    def _wake_all(self) -> None:
        fence()
        for rank in range(self.size):
            self.wake(rank)

    def states(self) -> list[State]:
        """What each rank is doing, by rank; never blocks."""
        return [self._state(rank) for rank in range(self.size)]

    def _state(self, rank: int) -> State:
        control, words = self.control, self.control.words
        if words[control.dead + rank]:
            return State(rank, "dead", "", False, 0)
        if words[control.finished + rank]:
            return State(rank, "finished", "", False, 0)
        moves = words[control.deep + rank]
        sleep = words[control.asleep + rank]
        if moves and sleep and words[control.woken + rank] != sleep:
            timeout = bool(words[control.timeout + rank])
            return State(rank, "waiting", control.text(rank), timeout, moves)
        return State(rank, "running", "", False, moves)

    def deadlock(self) -> str | None:
        """Who waits for whom, if nobody could go on at this call and at the one before.

        A rank that someone has woken counts as running from that moment, so if all were asleep at
        two looks, and none has begun another wait in between, all slept at one time; and nobody
        falls asleep without looking once more for what it waits for.
        """
        before, self._peek = self._peek, self.states()
        waiting = [state for state in self._peek if state.status == "waiting"]
        if (
            not waiting
            or self._peek != before
            or any(state.status == "running" or state.has_timeout for state in self._peek)
        ):
            return None
        ended = {"finished": "has finished", "dead": "has failed"}
        return deadlock_sentence(
            {state.rank: ended.get(state.status, state.what) for state in self._peek}
        )
