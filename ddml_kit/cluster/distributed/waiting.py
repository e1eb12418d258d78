"""Where the strands of one rank wait for frames, and how the watcher learns of it.

One lock guards all that a rank knows of the others. The threads that receive change it and wake
those who wait, who look for themselves. Who waits for longer than a moment, while all other strands
of the rank wait, too, and none of them for a while only, tells the watcher (reports.py), and says
so before it goes on.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from ddml_kit.cluster.errors import Stopped
from ddml_kit.cluster.local.waiting import Strand

PATIENCE = 0.03  # seconds of waiting after which it is reported
NAP = 1.0  # seconds after which a sleeper looks again unasked; nothing depends on it


class Wait:
    """One strand's wait."""

    __slots__ = ("deadline", "impatient", "ready", "strand", "what")

    def __init__(
        self,
        strand: int,
        ready: Callable[[], bool],
        what: Callable[[], str],
        deadline: float | None,
        impatient: Callable[[], None],
    ) -> None:
        self.strand, self.ready, self.what, self.deadline = strand, ready, what, deadline
        self.impatient = impatient

    def __str__(self) -> str:
        where = f"in strand {self.strand} " if self.strand else ""
        return f"{where}waits for {self.what()}"


class Waiter:
    """Lets strands wait. `changed` is the lock, and tells of news.

    report: gets what the rank waits for, in words, and "" when it goes on; called with the lock.
    """

    def __init__(self, strand: Strand, report: Callable[[str], None]) -> None:
        self.changed = threading.Condition(threading.Lock())
        self.stopped = False
        self.broken: BaseException | None = None  # what every strand raises: no frames come
        self.ended = ""  # how the program did, once it has: "has finished", "has failed"
        self._strand, self._report = strand, report
        self._waits: list[Wait] = []
        self._strands = 1
        self._reported = False

    def check(self) -> None:
        """Raises Stopped if the run is to end, and what broke a link of this rank's."""
        if self.broken is not None:
            raise self.broken
        if self.stopped:
            raise Stopped

    def stop(self) -> None:
        """Every strand raises Stopped at its next or present wait."""
        with self.changed:
            self.stopped = True
            self.changed.notify_all()

    def begin(self) -> None:
        """One strand more."""
        with self.changed:
            self._strands += 1

    def end(self) -> None:
        """One strand fewer; whoever waits for it looks."""
        with self.changed:
            self._strands -= 1
            self.changed.notify_all()

    def sleep(
        self,
        ready: Callable[[], bool],
        what: Callable[[], str],
        deadline: float | None = None,
        impatient: Callable[[], None] = lambda: None,
    ) -> bool:
        """True as soon as ready(); False at `deadline` (time.monotonic). Raises Stopped.

        ready: only looks, for other strands call it, too. what: in words, for the report of a
        deadlock. impatient: called once, if it takes long. All three are called with the lock.
        """
        with self.changed:
            return self.sleep_locked(ready, what, deadline, impatient)

    def sleep_locked(
        self,
        ready: Callable[[], bool],
        what: Callable[[], str],
        deadline: float | None = None,
        impatient: Callable[[], None] = lambda: None,
    ) -> bool:
        """The same, by one who has the lock."""
        self.check()
        if ready():
            return True
        wait = Wait(self._strand.number, ready, what, deadline, impatient)
        self._waits.append(wait)
        try:
            nap, asked = PATIENCE, False
            while True:
                if deadline is not None:
                    nap = min(nap, deadline - time.monotonic())
                    if nap <= 0:
                        return False
                news = self.changed.wait(nap)
                self.check()
                if ready():
                    return True
                nap = PATIENCE if news else NAP
                if not news:
                    if not asked:
                        asked = True
                        impatient()
                    self._declare()
        finally:
            self._waits.remove(wait)
            if self._reported:
                self._reported = False
                self._report("")

    def _declare(self) -> None:
        """Report, if all strands wait and none of them for a while only, or the program is over."""
        if self.ended:
            self._report(self.ended)
            return
        if len(self._waits) < self._strands or any(w.deadline is not None for w in self._waits):
            return
        if any(wait.ready() for wait in self._waits):
            return
        self._reported = True
        self._report(" and ".join(map(str, sorted(self._waits, key=lambda wait: wait.strand))))
