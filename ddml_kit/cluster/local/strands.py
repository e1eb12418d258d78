"""What a rank does at once: its program, and what it started beside it, as threads."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from ddml_kit.cluster.endpoint import Pending
from ddml_kit.cluster.local.waiting import Waiter


class Strand(threading.local):
    """Of the thread that looks: its number, and when its last call on comm ended (monotonic s)."""

    number = 0
    mark = 0.0

    def touch(self) -> None:
        """A call has ended."""
        self.mark = time.monotonic()

    def begin(self, number: int) -> None:
        """This thread is strand `number`, from now on."""
        self.number = number
        self.touch()


class Started(Pending):
    """A function that runs in a thread of its own."""

    def __init__(
        self,
        number: int,
        waiter: Waiter,
        begin: Callable[[int], None],
        f: Callable[..., Any],
        *args: Any,
    ) -> None:
        """begin: called in the thread, with the strand's number, before f."""
        self._waiter, self._begin, self._f, self._args = waiter, begin, f, args
        self._number = number
        self._done = False
        self._value: Any = None
        self._error: BaseException | None = None
        waiter.begin()
        # a daemon: a strand that nobody waits for must not keep the process alive
        threading.Thread(target=self._run, name=f"strand {number}", daemon=True).start()

    def _run(self) -> None:
        try:
            self._begin(self._number)
            self._value = self._f(*self._args)
        except BaseException as error:
            self._error = error
        finally:
            self._done = True
            self._waiter.end()

    def wait(self) -> Any:
        """What the strand returned, once it has; raises what it raised."""
        self._waiter.sleep(lambda: self._done, lambda: f"its strand {self._number}")
        if self._error is not None:
            raise self._error
        return self._value
