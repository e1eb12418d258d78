"""A lock that strands get in the order in which they asked, in virtual time."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from ddml_kit.cluster.virtual.loop import Loop, Strand


class Lock:
    """What all ranks share of it."""

    def __init__(self) -> None:
        self.holder: Strand | None = None
        self.queue: deque[Strand] = deque()


class RankLock:
    """A rank's end of it, for `with`. taken: called with when it was asked for, once it is got."""

    def __init__(
        self, lock: Lock, loop: Loop, *, check: Callable[[], None], taken: Callable[[float], None]
    ) -> None:
        self._lock, self._loop, self._check, self._taken = lock, loop, check, taken

    def __enter__(self) -> None:
        self._check()
        lock, loop, start = self._lock, self._loop, self._loop.now
        strand = loop.current
        if lock.holder is None:
            lock.holder = strand
        else:
            lock.queue.append(strand)
            strand.queue, strand.blocked = lock.queue, self._held
            try:
                loop.block(strand)
            except BaseException:
                if lock.holder is strand:  # it was handed over, but too late
                    self.__exit__()
                raise
            finally:
                strand.blocked = None
        self._taken(start)

    def __exit__(self, *_: object) -> None:
        lock = self._lock
        lock.holder = lock.queue[0] if lock.queue else None
        if lock.holder is not None:
            self._loop.wake(lock.holder)

    def _held(self) -> str:
        holder = self._lock.holder
        assert holder is not None
        assert holder.endpoint is not None
        return f"a lock that rank {holder.endpoint.rank} holds"
