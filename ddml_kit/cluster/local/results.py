"""Arrays whose memory is used again when they are gone.

The first touch of a page costs ten times as much as writing to it, so a large result that is made
in every step is better made in the memory of the last one but one.
"""

from __future__ import annotations

import mmap
import weakref
from collections import deque

import numpy as np

FROM = 1 << 17  # bytes; below, NumPy's own allocator does as well
KEPT = 3  # free pieces that are kept


class _Life(weakref.ref):
    """Tells when an array has died, and which memory it had."""

    __slots__ = ("memory",)
    memory: mmap.mmap


class Results:
    """Makes arrays; their memory comes back by itself."""

    def __init__(self) -> None:
        self._free: deque[mmap.mmap] = deque(maxlen=KEPT)
        self._alive: dict[int, _Life] = {}

    def empty(self, size: int, dtype: np.dtype) -> np.ndarray:
        """An array of `size` elements, not set, (size,)."""
        nbytes = size * dtype.itemsize
        if nbytes < FROM:
            return np.empty(size, dtype)
        memory = self._recycled(nbytes) or _fresh(nbytes)
        # An array over a mapping is the base of all its views, so it lives as long as they do
        array = np.ndarray((size,), dtype, memory)
        life = _Life(array, self._died)
        life.memory = memory
        self._alive[id(life)] = life
        return array

    def _recycled(self, nbytes: int) -> mmap.mmap | None:
        """A free piece that is large enough, and not more than twice as large."""
        for _ in range(len(self._free)):
            memory = self._free.pop()
            if nbytes <= len(memory) <= 2 * nbytes:
                return memory
            self._free.appendleft(memory)
        return None

    def _died(self, life: _Life) -> None:
        """Called by the garbage collector, at any moment, in any strand."""
        if self._alive.pop(id(life), None):
            self._free.append(life.memory)


def _fresh(nbytes: int) -> mmap.mmap:
    if hasattr(mmap, "MAP_PRIVATE"):
        return mmap.mmap(-1, nbytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    return mmap.mmap(-1, nbytes)
