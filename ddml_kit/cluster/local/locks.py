"""Locks among processes, which the kernel releases when their holder dies.

A lock is one byte of a file that all ranks have open (IEEE Std 1003.1-2017, fcntl: record locks).
The kernel grants it to a process, so the strands of one rank take a lock of their own first. It
does not tell who waits; that is said in a word of the control area, and the next rank in turn is
woken at a release.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from ddml_kit.cluster.local.system import fence, lock_holder, try_lock, unlock
from ddml_kit.cluster.local.waiting import Waiter
from ddml_kit.cluster.local.wiring import Wiring


class RankLock:
    """For `with`. number: which lock, above 0, the same on all ranks.

    taken: called with the time.monotonic() from which it was asked for, when it is there.
    given: called at its release.
    """

    def __init__(
        self,
        number: int,
        wiring: Wiring,
        rank: int,
        waiter: Waiter,
        taken: Callable[[float], None],
        given: Callable[[], None],
    ) -> None:
        self._number, self._wiring, self._rank, self._waiter = number, wiring, rank, waiter
        self._taken, self._given = taken, given
        self._among_strands = threading.Lock()

    def __enter__(self) -> None:
        start = time.monotonic()
        self._waiter.check()
        if not self._try():
            self._wait()
        self._taken(start)

    def __exit__(self, *_: object) -> None:
        unlock(self._wiring.memory.fd, self._number)
        self._among_strands.release()
        fence()
        control, size = self._wiring.control, self._wiring.size
        for step in range(1, size + 1):
            rank = (self._rank + step) % size
            if control.words[control.wanted + rank] == self._number:
                self._wiring.wake(rank)
                break
        self._given()

    def _try(self) -> bool:
        if not self._among_strands.acquire(blocking=False):
            return False
        if try_lock(self._wiring.memory.fd, self._number):
            return True
        self._among_strands.release()
        return False

    def _wait(self) -> None:
        granted = False

        def ready() -> bool:  # may be asked by another strand, on behalf of this one
            nonlocal granted
            granted = granted or self._try()
            return granted

        words, wanted = self._wiring.control.words, self._wiring.control.wanted + self._rank
        words[wanted] = self._number
        try:
            self._waiter.wait(ready, self._held)
        except BaseException:
            if granted:
                self.__exit__()
            raise
        finally:
            words[wanted] = 0

    def _held(self) -> str:
        process = lock_holder(self._wiring.memory.fd, self._number)
        if process is None:
            return (
                f"a lock that rank {self._rank} holds" if self._among_strands.locked() else "a lock"
            )
        return f"a lock that rank {self._wiring.rank_of(process)} holds"
