"""A run seen from the parent: one thread that waits for all that can happen.

It collects what the workers send, notices the ends of processes, failures and deadlocks, and stops
the run. When the run has ended, nothing of it is left, this thread included.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import selectors
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import Any, NamedTuple, Protocol

from ddml_kit.cluster.errors import ClusterError, Deadlock, RankFailed, reason
from ddml_kit.cluster.local.books import Books
from ddml_kit.cluster.local.crew import Crew, why
from ddml_kit.cluster.local.outbox import End, Ready, Value, take
from ddml_kit.cluster.local.worker import START
from ddml_kit.cluster.run import Badge, Metric, Run, Snapshot

READ = selectors.EVENT_READ
PEEK = 0.05  # seconds between two looks for a deadlock
ASK, KILL = 0.5, 0.75  # seconds from the wish to stop until SIGTERM, and until SIGKILL


@dataclass(frozen=True)
class Terms:
    """What the cluster was told of the run."""

    size: int
    seed: int
    badge: Badge
    goes_on: bool  # after a failure
    crashes: dict[int, float]


class Hold(Protocol):
    """What the watcher holds of the ranks while their programs run: of `Processes` a Wiring."""

    def stop(self) -> None:
        """Every rank raises Stopped at its next or current wait; never blocks."""

    def mark_dead(self, rank: int, reason: str, seconds: float) -> None:
        """Whoever needs `rank` from now on raises RankFailed(rank, reason, seconds)."""

    def hear(self, message: Any) -> None:
        """A worker's message that is none of outbox.py's."""

    def deadlock(self) -> str | None:
        """Who waits for whom, if nobody can go on."""

    def close(self) -> None:
        """All processes have ended."""


class Unreadable(NamedTuple):
    """Stands for a value that could not be unpacked here."""

    why: str


class Watch:
    """One run. `stop` and `abandon` may be called from any thread, at any time."""

    def __init__(
        self, terms: Terms, crew: Crew, hold: Hold, connections: Sequence[Connection]
    ) -> None:
        self._terms, self._crew, self._hold = terms, crew, hold
        self._connections = dict(enumerate(connections))  # those that are open
        self.books = Books(terms.size)
        self._alive = set(range(terms.size))
        self._ready: set[int] = set()
        self._started: float | None = None  # time.monotonic() when all ranks were let go
        self._next_peek = 0.0
        self._stopping: float | None = None  # since when
        self._pressure: list[tuple[float, Callable[[int], None]]] = []  # seconds after that
        self._stop_asked = self._abandoned = False
        self._deadlock: Deadlock | None = None
        self._broken: BaseException | None = None
        self._run: Run | None = None
        self._owner = os.getpid()
        self._bell, self._ring = multiprocessing.Pipe(duplex=False)
        self._lock = threading.RLock()  # a collection of garbage may call `abandon` anywhere
        self._selector = _selector()
        self._selector.register(self._bell, READ, self._heed)
        for waitable in crew.waitables():
            self._selector.register(waitable, READ, lambda w=waitable: self._take_exits(w))
        for rank, end in self._connections.items():
            self._selector.register(end, READ, lambda r=rank: self._take(r))
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="ddml_kit-run", daemon=True)
        self._thread.start()

    # ------------------------------------------------------------------ for other threads

    def stop(self) -> None:
        """End the run soon."""
        if not self._stop_asked:
            self._stop_asked = True
            self._wake()

    def abandon(self) -> None:
        """End the run at once; nobody wants its result."""
        if os.getpid() == self._owner:  # not in a fork of it
            self._abandoned = True
            self._wake()

    def wait(self, seconds: float) -> bool:
        """Whether everything of the run has ended; waits for that, `seconds` at most."""
        if not self._ended.wait(seconds):  # an interrupted join takes a thread for ended
            return False
        self._thread.join()
        return True

    def outcome(self) -> Run:
        """The run, once it has ended; raises what ended it."""
        if self._broken is not None:
            raise self._broken
        assert self._run is not None
        error: ClusterError | None = self._deadlock
        failures = self.books.failures.values()
        if failures and not self._terms.goes_on:
            error = min(failures, key=lambda failure: failure.seconds or 0.0)
        if error is not None:
            error.run = self._run
            raise error
        return self._run

    def _wake(self) -> None:
        with self._lock, contextlib.suppress(OSError):  # it has ended
            if not self._ring.closed:
                self._ring.send_bytes(b"!")

    # --------------------------------------------------------------------- its own thread

    def _watch(self) -> None:
        with contextlib.ExitStack() as last:  # from the last to the first
            last.callback(self._ended.set)
            last.callback(self.books.close)
            last.callback(self._stop_listening)
            last.callback(self._hold.close)
            last.callback(self._crew.close)
            try:
                while self._alive:
                    for key, _ in self._selector.select(self._patience()):
                        key.data()
                    self._press()
                    self._look_for_deadlock()
                self._run = self.books.run(
                    badge=self._terms.badge, seed=self._terms.seed, stopped=self._stop_asked
                )
            except BaseException as error:  # a mistake of ours: `outcome` raises it
                self._broken = error

    def _stop_listening(self) -> None:
        self._selector.close()
        for connection in self._connections.values():
            connection.close()
        with self._lock:
            self._bell.close()
            self._ring.close()

    def _patience(self) -> float | None:
        """Seconds until something has to be done even if nothing happens."""
        if self._stopping is not None:
            due = [self._stopping + seconds for seconds, _ in self._pressure]
        else:
            due = [self._next_peek] if self._started is not None else []
        return max(0.0, min(due) - time.monotonic()) if due else None

    def _heed(self) -> None:
        self._bell.recv_bytes()
        if self._abandoned:
            self._end_soon()
            self._pressure = [(0.0, self._crew.kill)]
        elif self._stop_asked:
            self._end_soon()

    def _end_soon(self) -> None:
        if self._stopping is None:
            self._stopping = time.monotonic()
            self._pressure = [(ASK, self._crew.terminate), (KILL, self._crew.kill)]
            self._hold.stop()
            if self._started is None:  # no program runs yet, so nothing is lost
                self._pressure = [(0.0, self._crew.kill)]

    def _press(self) -> None:
        """Those that do not stop by themselves are made to."""
        while (
            self._stopping is not None
            and self._pressure
            and time.monotonic() >= self._stopping + self._pressure[0][0]
        ):
            _, act = self._pressure.pop(0)
            for rank in self._alive:
                act(rank)

    def _look_for_deadlock(self) -> None:
        now = time.monotonic()
        if self._started is not None and self._stopping is None and now >= self._next_peek:
            self._next_peek = now + PEEK
            if not self._alive.isdisjoint(self._terms.crashes):
                return  # a rank that is still to crash will end the waiting
            who = self._hold.deadlock()
            if who is not None:
                self._deadlock = Deadlock(f"deadlock at {self._now():.6g} s: {who}")
                self._end_soon()

    def _take(self, rank: int) -> None:
        """One message of this rank's."""
        connection = self._connections.get(rank)
        if connection is None:  # closed since it was found ready
            return
        try:
            message = take(connection)
        except EOFError:
            self._hang_up(rank)
            return
        except Exception as error:  # all but a value are made of the kit's own types
            message = Value(Unreadable(reason(error)))
        if isinstance(message, Ready):
            self._ready.add(rank)
            self._start_if_all_are_ready()
        elif isinstance(message, Value):
            self.books.values[rank] = message.content
        elif isinstance(message, End):
            self._note_end(rank, message)
        elif isinstance(message, Metric | Snapshot):
            self.books.add(message)
        else:
            self._hold.hear(message)

    def _note_end(self, rank: int, end: End) -> None:
        self.books.ends[rank] = end
        if end.how == "failed":
            cause = self.books.values.pop(rank, None)
            self._fail(
                RankFailed(rank, end.reason, end.seconds, end.traceback),
                cause if isinstance(cause, BaseException) else None,
            )
        elif end.how == "returned" and isinstance(self.books.values[rank], Unreadable):
            self.books.ends[rank] = end._replace(how="failed")
            text = f"its result can't be unpacked in the parent ({self.books.values[rank].why})"
            self._fail(RankFailed(rank, text, end.seconds), None)
        elif end.how == "stopped":
            self._fail(RankFailed(rank, why(-signal.SIGTERM), end.seconds), None)

    def _take_exits(self, waitable: Any) -> None:
        for rank, code in self._crew.exits(waitable):
            while rank in self._connections and self._connections[rank].poll():
                self._take(rank)
            self._hang_up(rank)
            self._alive.discard(rank)
            end = self.books.ends.get(rank)
            if end is None or end.how == "crashed":
                seconds = end.seconds if end else self._now()
                self._fail(RankFailed(rank, self._why(rank, end, code), seconds), None)
            self._start_if_all_are_ready()

    def _hang_up(self, rank: int) -> None:
        connection = self._connections.pop(rank, None)
        if connection is not None:
            self._selector.unregister(connection)
            connection.close()

    def _start_if_all_are_ready(self) -> None:
        if self._started is None and self._stopping is None and self._ready >= self._alive:
            self._started = time.monotonic()
            self._next_peek = self._started + PEEK
            for connection in self._connections.values():
                with contextlib.suppress(OSError):  # it has ended
                    connection.send_bytes(START.pack(self._started))

    def _fail(self, failure: RankFailed, cause: BaseException | None) -> None:
        """What it leads to. What happens after the run was to stop is a consequence of that."""
        known = self.books.failures.values()
        if self._stopping is not None and not any(_earlier(failure, other) for other in known):
            return
        self.books.fail(failure, cause)
        if self._terms.goes_on:
            self._hold.mark_dead(failure.rank, failure.reason, failure.seconds or 0.0)
        else:
            self._end_soon()

    def _why(self, rank: int, end: End | None, code: int) -> str:
        if end is not None:
            return f"crashed, as crashes={{{rank}: {self._terms.crashes[rank]:g}}} asked"
        return why(code)

    def _now(self) -> float:
        return 0.0 if self._started is None else time.monotonic() - self._started


def _earlier(failure: RankFailed, other: RankFailed) -> bool:
    return (failure.seconds or 0.0) < (other.seconds or 0.0)


class _Handles:
    """As much of a selector as is needed here, where sockets alone can be selected: Windows."""

    def __init__(self) -> None:
        self._data: dict[Any, Callable[[], None]] = {}

    def register(self, waitable: Any, events: int, data: Callable[[], None]) -> None:
        self._data[waitable] = data

    def unregister(self, waitable: Any) -> None:
        del self._data[waitable]

    def select(self, timeout: float | None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = wait(list(self._data), timeout)
        return [(selectors.SelectorKey(w, -1, READ, self._data[w]), READ) for w in ready]

    def close(self) -> None:
        self._data.clear()


def _selector() -> Any:
    return _Handles() if sys.platform == "win32" else selectors.DefaultSelector()
