"""What a rank does at once: its program, and what it started beside it, as threads."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, Protocol

from ddml_kit.cluster.endpoint import Pending
from ddml_kit.cluster.local.waiting import Strand


class Waits(Protocol):
    """Where the strands of a rank wait; each way of sending has its own."""

    def check(self) -> None:
        """Raises Stopped if the run is to end."""

    def begin(self) -> None:
        """One strand more."""

    def end(self) -> None:
        """One strand fewer; whoever waits for it looks."""

    def sleep(
        self, ready: Callable[[], bool], what: Callable[[], str], deadline: float | None = None
    ) -> bool:
        """True once ready(), False at `deadline` (time.monotonic). Raises Stopped.

        what: in words, for the report of a deadlock.
        """


class Started(Pending):
    """A function that runs in a thread of its own. seen: somebody has waited for its end."""

    def __init__(
        self, number: int, strand: Strand, waiter: Waits, f: Callable[..., Any], *args: Any
    ) -> None:
        self.number, self._strand, self._waiter = number, strand, waiter
        self._f, self._args = f, args
        self._done = False
        self._value: Any = None
        self._error: BaseException | None = None
        self.seen = False
        waiter.begin()
        # a daemon: a strand that nobody waits for must not keep the process alive
        threading.Thread(target=self._run, name=f"strand {number}", daemon=True).start()

    def _run(self) -> None:
        self._strand.number = self.number
        self._strand.touch()
        try:
            self._value = self._f(*self._args)
        except BaseException as error:
            self._error = error
        finally:
            self._done = True
            self._waiter.end()

    def wait(self) -> Any:
        """What the strand returned, once it has; raises what it raised."""
        self._waiter.sleep(lambda: self._done, lambda: f"its strand {self.number}")
        self.seen = True
        if self._error is not None:
            raise self._error
        return self._value

    def unseen_error(self) -> BaseException | None:
        """What it has raised, if nobody has waited for it."""
        return None if self.seen else self._error
