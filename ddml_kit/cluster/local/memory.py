"""A rank's heap in the shared memory: it alone hands pieces out, and takes them back.

A page that has been written lately copies ten times as fast as one that was never touched, so what
is freed is used again, last in, first out, in classes of size (a quarter of a power of two). Idle
pages above a budget go back to the system.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import threading
from collections.abc import Callable

from ddml_kit.cluster.local.system import ALIGN, SEGMENT, SEGMENTS, Memory

SHIFT = 39  # an address is segment << SHIFT | offset
OFFSET = (1 << SHIFT) - 1
PAGED = 1 << 16  # from here up pieces are whole pages, and idle ones are counted
SIZES = 4096  # of which the class is remembered
CHECK = 1 << 25  # look at what memory is left each time the heap has grown by this much
MARGIN = 1 << 26  # bytes that are left to the rest of the machine


class Views(dict[int, mmap.mmap]):
    """The maps of one area's segments, by number; made when first asked for, once each.

    A map that is let go of closes a descriptor of the file, and with any of them the process loses
    all its locks on it (fcntl: record locks), so two strands must not make two of one segment.
    """

    def __init__(self, memory: Memory, area: int) -> None:
        self._memory, self._area = memory, area
        self._making = threading.Lock()

    def __missing__(self, k: int) -> mmap.mmap:
        with self._making:
            view = self.get(k)  # another strand's, while this one waited
            if view is None:
                view = self[k] = self._memory.segment(self._area, k)
        return view


class Heap:
    """Hands out addresses of pieces, and takes them back. Not for two threads at once."""

    def __init__(self, views: Views, rank: int, budget: int) -> None:
        self.views = views
        self.refill: Callable[[], None] = lambda: None  # called before it grows
        self._rank, self._budget = rank, budget
        self._segment, self._top = 0, 0
        self._rounded: dict[int, int] = {}  # size asked for -> size of its class
        self._used: dict[int, int] = {}  # address -> size, of the pieces handed out
        self._free: dict[int, list[int]] = {}  # size -> addresses, the last freed last
        self._cold: dict[int, list[int]] = {}  # the same, of pieces without pages
        self._idle: dict[int, int] = {}  # address -> size, of large free ones, oldest first
        self._idle_bytes = 0
        self._unchecked = 0
        self.grown = 0  # bytes ever handed out for the first time, or without pages

    def take(self, size: int) -> int:
        """The address of a piece of at least `size` bytes, not zeroed. Raises MemoryError."""
        piece = self._rounded.get(size) or self._round(size)
        free = self._free.get(piece)
        if not free:
            self.refill()
            free = self._free.get(piece)
        if free:
            address = free.pop()
            if piece >= PAGED:
                self._idle_bytes -= self._idle.pop(address)
        else:
            address = self._grow(piece)
        self._used[address] = piece
        return address

    def give(self, address: int) -> None:
        """Take back a piece."""
        size = self._used.pop(address)
        self._free.setdefault(size, []).append(address)
        if size >= PAGED:
            self._idle[address] = size
            self._idle_bytes += size
            while self._idle_bytes > self._budget:
                self._cool()

    def _round(self, size: int) -> int:
        if len(self._rounded) >= SIZES:
            self._rounded.clear()
        step = max(ALIGN, 1 << max(0, (size - 1).bit_length() - 3))
        self._rounded[size] = rounded = -(-size // step) * step or ALIGN
        return rounded

    def _grow(self, size: int) -> int:
        self._unchecked += size
        if self._unchecked >= CHECK:
            left = available() - MARGIN
            if left < size:
                raise MemoryError(
                    f"rank {self._rank} needs {_mb(size)} more for messages: {_mb(max(0, left))} "
                    f"are left, and {_mb(sum(self._used.values()))} hold messages that nobody "
                    "has received, or whose arrays are still in use"
                )
            self._unchecked = 0
        self.grown += size
        cold = self._cold.get(size)
        if cold:
            return cold.pop()
        if size >= PAGED:  # only whole pages can be given back
            self._top = -(-self._top // mmap.PAGESIZE) * mmap.PAGESIZE
        while self._top + size > SEGMENT << self._segment:
            if self._segment + 1 == SEGMENTS:
                raise MemoryError(f"rank {self._rank}'s heap has no {_mb(size)} in one piece left")
            self._segment, self._top = self._segment + 1, 0
        self.views[self._segment]  # maps it, or fails here
        address = self._segment << SHIFT | self._top
        self._top += size
        return address

    def _cool(self) -> None:
        """Give back the pages of the piece that has been idle longest."""
        address, size = next(iter(self._idle.items()))
        del self._idle[address]
        self._idle_bytes -= size
        self._free[size].remove(address)
        self._cold.setdefault(size, []).append(address)
        if hasattr(mmap, "MADV_REMOVE") and size % mmap.PAGESIZE == 0:
            self.views[address >> SHIFT].madvise(mmap.MADV_REMOVE, address & OFFSET, size)


def total() -> int:
    """The memory that this process may count on, bytes: the machine's, or its container's."""
    limit = _number("/sys/fs/cgroup/memory.max")
    machine = 2 << 30
    if hasattr(os, "sysconf"):
        with contextlib.suppress(ValueError, OSError):
            machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return machine if limit is None else min(limit, machine)


def available() -> int:
    """What of it is left, bytes; very many where the system does not say."""
    left = 1 << 62
    with contextlib.suppress(OSError), open("/proc/meminfo", encoding="ascii") as file:
        for line in file:
            if line.startswith("MemAvailable:"):
                left = int(line.split()[1]) << 10
    limit = _number("/sys/fs/cgroup/memory.max")
    used = _number("/sys/fs/cgroup/memory.current")
    if limit is not None and used is not None:
        left = min(left, limit - used)
    return left


def _number(path: str) -> int | None:
    """The whole number in a file; None if there is none."""
    try:
        with open(path, encoding="ascii") as file:
            return int(file.read())
    except (OSError, ValueError):
        return None


def _mb(size: int) -> str:
    return f"{size / 1e6:.0f} MB"
