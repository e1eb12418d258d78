"""What differs between systems: memory without a name, bells, giving way, fences.

Linux has memfds and eventfds. Elsewhere on POSIX a temporary file without a name and pipes do the
same, a little slower. Windows has named mappings, which vanish with the last process that has
them, and nothing to wait on: there, ranks look again every half millisecond.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import platform
import secrets
import select
import struct
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable
from multiprocessing import reduction
from typing import Any

try:
    import fcntl
except ImportError:
    import msvcrt

    fcntl = None  # type: ignore[assignment]

POSIX = os.name == "posix"
MEMFD = hasattr(os, "memfd_create")
ALIGN = 64  # bytes: a cache line, and what vector instructions like
AREA = 1 << (40 if MEMFD else 36)  # bytes from the start of one area to the next; sparse
SEGMENT = 1 << 26  # bytes of an area's first segment; each one after is twice as long
LOCKS = 1 << 62  # where the bytes of locks begin in the file: no memory is there
FLOCK = struct.Struct("hhqqi0q")  # type, whence, start, length, process; as Linux has it
SEGMENTS = 14 if MEMFD else 9 if POSIX else 2

give_way: Callable[[], None] = getattr(os, "sched_yield", lambda: time.sleep(0))

_turn = threading.Lock()
acquire, release = _turn.acquire, _turn.release
WEAK = platform.machine().lower() not in ("x86_64", "amd64", "i686", "i386")
# where WEAK, a store may be seen before an earlier one, and a load be done before an earlier one


def fence() -> None:
    """No load or store moves across this call.

    On x86 one turn of a lock is a full barrier. ARM may let accesses slip into the turn from both
    sides, so there it takes two: what is before the first release stays before the second acquire.
    """
    with _turn:
        pass
    if WEAK:
        with _turn:
            pass


def try_lock(fd: int, number: int) -> bool:
    """Whether this process now has the lock of that number, or had it."""
    try:
        if fcntl:
            fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, LOCKS + number)
        else:
            os.lseek(fd, number % (1 << 30), os.SEEK_SET)
            msvcrt.locking(fd, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
    except OSError:
        return False
    return True


def unlock(fd: int, number: int) -> None:
    if fcntl:
        fcntl.lockf(fd, fcntl.LOCK_UN, 1, LOCKS + number)
    else:
        os.lseek(fd, number % (1 << 30), os.SEEK_SET)
        msvcrt.locking(fd, msvcrt.LK_UNLCK, 1)  # type: ignore[attr-defined]


def lock_holder(fd: int, number: int) -> int | None:
    """The process that has this lock; None if it is this one or none, or the system hides it."""
    if sys.platform != "linux":
        return None
    asked = FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, LOCKS + number, 1, 0)
    kind, _, _, _, process = FLOCK.unpack(fcntl.fcntl(fd, fcntl.F_GETLK, asked))
    return None if kind == fcntl.F_UNLCK else process


class Memory:
    """Areas of memory that processes share: area 0 for control, area 1 + r for rank r's heap.

    An area is made of segments, which are mapped when they are first needed: a map as large as
    the whole area fails where the address space is limited.
    """

    fd: int  # a file that all share, for locks; on POSIX the memory itself

    def __init__(self, areas: int) -> None:
        self._tag, self._kept = "", list[mmap.mmap]()
        if MEMFD:
            self.fd = os.memfd_create("ddml_kit")
        elif POSIX:
            with tempfile.TemporaryFile() as file:
                self.fd = os.dup(file.fileno())
        else:  # a mapping lives as long as someone has it, so the parent keeps them all
            self._tag = f"ddml_kit-{secrets.token_hex(16)}"
            self._kept = [self.segment(a, k) for a in range(areas) for k in range(SEGMENTS)]
            self.fd = _temporary(self._tag)
        if POSIX:
            os.ftruncate(self.fd, areas * AREA)

    def segment(self, area: int, k: int) -> mmap.mmap:
        """A new map of the k-th segment of an area, SEGMENT << k bytes; zeros at first."""
        length = SEGMENT << k
        try:
            if not POSIX:
                return mmap.mmap(-1, length, tagname=f"{self._tag}-{area}-{k}")  # type: ignore
            start = area * AREA + SEGMENT * ((1 << k) - 1)
            return mmap.mmap(self.fd, length, offset=start)
        except OSError as error:
            raise MemoryError(
                f"can't map {length / 1e6:.0f} MB for messages: {error.strerror}; is the address "
                "space limited (ulimit -v)?"
            ) from error

    def close(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)
        self.fd, self._kept = -1, []

    def __getstate__(self) -> tuple[str, Any]:
        return self._tag, _duplicate(self.fd) if POSIX else None

    def __setstate__(self, state: tuple[str, Any]) -> None:
        self._tag, fd = state
        self._kept = []
        self.fd = _received(fd) if POSIX else _temporary(self._tag)


class Bells:
    """One bell a rank: anyone rings it, the rank sleeps until it rings."""

    def __init__(self, size: int) -> None:
        if hasattr(os, "eventfd"):
            fds = [os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC) for _ in range(size)]
            self._ends = [(fd, fd) for fd in fds]
        elif POSIX:
            self._ends = [os.pipe() for _ in range(size)]
            for fd in self._fds():
                os.set_blocking(fd, False)
        else:
            self._ends = []

    def ring(self, rank: int) -> None:
        """Wake `rank` if it sleeps, or keep it from falling asleep; never blocks."""
        if self._ends:
            with contextlib.suppress(BlockingIOError):  # then it has been rung often enough
                os.write(self._ends[rank][1], b"\1\0\0\0\0\0\0\0")

    def sleeper(self, rank: int, watched: Iterable[int]) -> Sleeper:
        return Sleeper(self._ends[rank][0] if self._ends else -1, watched)

    def _fds(self) -> set[int]:
        return {fd for ends in self._ends for fd in ends}

    def close(self) -> None:
        for fd in self._fds():
            os.close(fd)
        self._ends = []

    def __getstate__(self) -> list[tuple[Any, Any]]:
        copies = {fd: _duplicate(fd) for fd in self._fds()}
        return [(copies[a], copies[b]) for a, b in self._ends]

    def __setstate__(self, state: list[tuple[Any, Any]]) -> None:
        received = {id(fd): _received(fd) for ends in state for fd in ends}
        self._ends = [(received[id(a)], received[id(b)]) for a, b in state]


class Sleeper:
    """Sleeps until its bell rings or one of the watched descriptors becomes readable."""

    def __init__(self, bell: int, watched: Iterable[int]) -> None:
        self._bell = bell
        if bell >= 0:
            self._poll = select.epoll() if hasattr(select, "epoll") else select.poll()
            for fd in (bell, *watched):
                self._poll.register(fd, select.POLLIN)
        self._unit = 1.0 if hasattr(select, "epoll") else 1000.0  # poll counts in milliseconds

    def sleep(self, seconds: float) -> list[int] | None:
        """The watched descriptors that are readable; None if nothing rang in `seconds` at most.

        The system's poll counts in milliseconds, so what is left of one is slept deaf.
        """
        if self._bell < 0 or seconds < 0.001:
            time.sleep(min(seconds, 0.001))
            return None
        events = self._poll.poll((seconds - 0.001) * self._unit)  # rounded up
        if not events:
            return None
        readable = [fd for fd, _ in events]
        if self._bell in readable:
            readable.remove(self._bell)
            with contextlib.suppress(BlockingIOError):
                os.read(self._bell, 4096)
        return readable

    def forget(self, fd: int) -> None:
        self._poll.unregister(fd)


def _duplicate(fd: int) -> Any:
    return reduction.DupFd(fd)


def _received(fd: Any) -> int:
    return fd.detach()


def _temporary(name: str) -> int:
    """A file on Windows that vanishes when nobody has it open any more."""
    path = os.path.join(tempfile.gettempdir(), name)
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_TEMPORARY)  # type: ignore[attr-defined]
