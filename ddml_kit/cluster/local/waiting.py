"""Waiting without burning a core, and without missing the moment.

First a rank looks some times more: the news mostly comes within microseconds. Where ranks share
cores it gives way after each look, so that those can run who make the news. Elsewhere it does not:
on a busy machine the core would go to a stranger, for milliseconds. There it looks less often the
next time if nothing came, but tries again, more and more seldom, what a longer look would bring.

Then it says that it falls asleep, looks once more, and sleeps until its bell rings. Whoever has
news publishes it, and then looks whether the rank sleeps. With a fence between store and load on
both sides, one of the two sees the other (E. W. Dijkstra, "Cooperating Sequential Processes", 1965:
Dekker's algorithm), so bells ring only when needed.

A rank has one bell, and may have several strands that wait. One of them, the leader, sleeps at the
bell; when it wakes it wakes the others, which look for themselves.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Sequence

from ddml_kit.cluster.errors import Stopped
from ddml_kit.cluster.local.system import fence, give_way
from ddml_kit.cluster.local.wiring import STOP, Wiring

GLANCES, FEWEST = 800, 100  # looks before falling asleep, where each rank can have a core
RETRY, SELDOM = 8, 256  # long waits until it looks often again: twice as many each time, up to
LOOKS = 50  # before falling asleep where ranks share cores
NAP = 0.1  # seconds after which a sleeper looks again unasked; nothing depends on it


class Strand(threading.local):
    """Of the thread that looks: its number, and when its last call on comm ended (monotonic s)."""

    number = 0  # 0: the program; 1, 2, ...: what it has started
    mark = 0.0

    def touch(self) -> None:
        """A call has ended."""
        self.mark = time.monotonic()


class Wait:
    """One strand's wait: `ready()` tests, and changes nothing that a second call would miss."""

    __slots__ = ("deadline", "ready", "strand", "what")

    def __init__(
        self,
        strand: int,
        ready: Callable[[], bool],
        what: Callable[[], str],
        deadline: float | None,
    ) -> None:
        self.strand, self.ready, self.what, self.deadline = strand, ready, what, deadline

    def __str__(self) -> str:
        where = f"in strand {self.strand} " if self.strand else ""
        return f"{where}waits for {self.what()}"


class Waiter:
    """Where the strands of one rank wait.

    peers: a pidfd a rank, by rank, -1 where there is none. When a process ends whose rank has not
    finished, the rank is marked dead, and everyone woken.
    """

    def __init__(
        self, wiring: Wiring, rank: int, strand: Strand, peers: Sequence[int] = ()
    ) -> None:
        self._wiring, self._rank, self._strand = wiring, rank, strand
        self._words, self._control = wiring.control.words, wiring.control
        self._peers = {fd: peer for peer, fd in enumerate(peers) if fd >= 0}
        self._sleeper = wiring.bells.sleeper(rank, self._peers)
        cores = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else {0}
        self._roomy = wiring.size <= len(cores)
        if self._roomy:
            self._spread()
        self._glances, self._long, self._patience = GLANCES, 0, RETRY
        self._changed = threading.Condition(threading.Lock())
        self._waits: list[Wait] = []
        self._led = False
        self._strands = 1
        self._sleeps = self._moves = 0

    def check(self) -> None:
        """Raises Stopped if the run is to end."""
        if self._words[STOP]:
            raise Stopped

    def wait(
        self, ready: Callable[[], bool], what: Callable[[], str], deadline: float | None = None
    ) -> bool:
        """True as soon as ready(); False at `deadline` (time.monotonic). Raises Stopped.

        what: in words, for the report of a deadlock; asked only if it takes long.
        """
        return self.look(ready) or self.sleep(ready, what, deadline)

    def look(self, ready: Callable[[], bool]) -> bool:
        """Whether it gets ready soon."""
        if self._strands > 1:  # another strand may be waiting for the interpreter
            return ready()
        if self._roomy:
            for _ in range(self._glances):
                if ready():
                    self._glances = GLANCES
                    return True
            self._took_long()
        else:
            for _ in range(LOOKS):
                if ready():
                    return True
                give_way()
        return False

    def look_at(self, words: memoryview, places: Sequence[int], least: int) -> bool:
        """Whether the words at these places, one or more, all get to be `least` or more soon.

        The same as `look`, made short: a look is a load, not a call.
        """
        last, k = len(places) - 1, 0
        crowded, looks = not self._roomy, 1
        if self._strands == 1:
            looks = LOOKS if crowded else 2 * self._glances
        for _ in range(looks):
            while words[places[k]] >= least:
                if k == last:
                    self._glances = GLANCES
                    return True
                k += 1
            if crowded:
                give_way()
        if not crowded and looks > 1:
            self._took_long()
        return False

    def _took_long(self) -> None:
        """Nothing came while I looked."""
        self._long += 1
        self._glances = max(FEWEST, self._glances // 2)
        if self._long == self._patience:
            self._long, self._patience = 0, min(2 * self._patience, SELDOM)
            self._glances = GLANCES
            self._spread()

    def sleep(
        self, ready: Callable[[], bool], what: Callable[[], str], deadline: float | None = None
    ) -> bool:
        """The same as `wait`, for what is not expected soon: falls asleep at once."""
        wait = Wait(self._strand.number, ready, what, deadline)
        with self._changed:
            self._waits.append(wait)
            try:
                while True:
                    self.check()
                    if ready():
                        return True
                    left = NAP if deadline is None else deadline - time.monotonic()
                    if left <= 0:
                        return False
                    if self._led or self._any_ready(but=wait):  # let go: another leads, or is next
                        self._declare()
                        self._changed.wait(min(left, NAP))
                    else:
                        self._lead(deadline)
            finally:
                self._waits.remove(wait)
                self._words[self._control.deep + self._rank] = 0
                self._changed.notify_all()  # one of those left must lead

    def _spread(self) -> None:
        """Move to a core of one's own, and be free to leave it.

        The system likes to put who is woken beside who has woken it. Then each look of one keeps
        the other from its work.
        """
        if hasattr(os, "sched_setaffinity"):
            allowed = os.sched_getaffinity(0)  # the program may have changed it
            cores = sorted(allowed)
            run = os.fstat(self._wiring.memory.fd).st_ino  # so that several runs don't meet
            with contextlib.suppress(OSError):  # a core that has just been taken away
                try:
                    os.sched_setaffinity(0, {cores[(run + self._rank) % len(cores)]})
                finally:
                    os.sched_setaffinity(0, allowed)

    def begin(self) -> None:
        """One strand more."""
        with self._changed:
            self._strands += 1

    def end(self) -> None:
        """One strand fewer; whoever waits for it looks."""
        with self._changed:
            self._strands -= 1
            self._changed.notify_all()
            if self._led:
                self._wiring.bells.ring(self._rank)

    def _lead(self, deadline: float | None) -> None:
        """Sleep at the bell until there may be news for any of the strands."""
        words, asleep = self._words, self._control.asleep + self._rank
        self._led = True
        self._sleeps += 1
        words[asleep] = self._sleeps
        fence()
        try:
            while not (self._any_ready() or words[STOP]):
                self._declare()
                nap = NAP if deadline is None else min(NAP, deadline - time.monotonic())
                if nap <= 0:
                    return
                self._changed.release()
                try:
                    readable = self._sleeper.sleep(nap)
                finally:
                    self._changed.acquire()
                if readable is not None:
                    self._mourn(readable)
                    return
        finally:
            words[asleep] = 0
            words[self._control.deep + self._rank] = 0
            self._led = False
            self._changed.notify_all()

    def _any_ready(self, but: Wait | None = None) -> bool:
        """Whether a wait is over; of another strand than this one, which looks for itself."""
        return any(wait is not but and wait.ready() for wait in self._waits)

    def _declare(self) -> None:
        """Say from outside's view that the rank waits, if all its strands do; else nothing."""
        deep = self._control.deep + self._rank
        if len(self._waits) < self._strands or self._words[deep]:
            return
        self._control.set_text(self._rank, " and ".join(map(str, sorted(self._waits, key=_strand))))
        timeout = any(wait.deadline is not None for wait in self._waits)
        self._words[self._control.timeout + self._rank] = timeout
        self._moves += 1
        self._words[deep] = self._moves

    def _mourn(self, readable: list[int]) -> None:
        """Of each process that has ended: if its rank had not finished, it is dead."""
        for fd in readable:
            self._sleeper.forget(fd)
            peer = self._peers[fd]
            if not self._wiring.is_finished(peer):
                self._wiring.mark_dead(peer)


def _strand(wait: Wait) -> int:
    return wait.strand
