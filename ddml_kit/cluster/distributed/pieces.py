"""Memory for what travels, used again while it is warm.

The first touch of a page costs ten times as much as writing to it, so a message is best written
into the memory of an earlier one. A piece is a mapping without a name, and the same as a tensor,
which is what torch.distributed sends.
"""

from __future__ import annotations

import mmap
import threading
import weakref
from collections import defaultdict
from dataclasses import dataclass

import numpy as np
import torch

from ddml_kit.cluster.local.memory import total

IDLE = 1 << 28  # bytes of idle memory that a rank keeps at most
LEAST = 1 << 12  # bytes; longer ones come in powers of two


@dataclass(frozen=True, eq=False)
class Piece:
    """`memory`, a writable mapping, and the same as a tensor of uint8, (len(memory),)."""

    memory: mmap.mmap
    tensor: torch.Tensor


class Pieces:
    """Lends pieces; may be used by any thread."""

    def __init__(self, size: int) -> None:
        """size: the ranks among whom the memory of this machine is shared out, at worst."""
        self._most = min(IDLE, total() // (8 * size))
        self._idle = 0
        self._free: defaultdict[int, list[Piece]] = defaultdict(list)  # by length
        self._lives: dict[int, _Life] = {}
        self._lock = threading.RLock()  # a collection of garbage may give a piece back anywhere

    def take(self, nbytes: int) -> Piece:
        """A piece of at least so many bytes, with anything in it."""
        length = max(LEAST, 1 << (nbytes - 1).bit_length())
        with self._lock:
            if self._free[length]:
                self._idle -= length
                return self._free[length].pop()
        memory = _fresh(length)
        return Piece(memory, torch.frombuffer(memory, dtype=torch.uint8))

    def give(self, piece: Piece) -> None:
        """Take one back, which nobody uses any more."""
        length = len(piece.memory)
        with self._lock:
            if self._idle + length <= self._most:
                self._idle += length
                self._free[length].append(piece)

    def give_after(self, owner: np.ndarray, piece: Piece) -> None:
        """Take one back once the array is gone over whose memory all others lie."""
        life = _Life(owner, self._died)
        life.piece = piece
        self._lives[id(life)] = life

    def _died(self, life: _Life) -> None:
        if self._lives.pop(id(life), None):
            self.give(life.piece)


class _Life(weakref.ref):
    """Tells when an array has died, and whose memory it had."""

    __slots__ = ("piece",)
    piece: Piece


def _fresh(nbytes: int) -> mmap.mmap:
    if hasattr(mmap, "MAP_PRIVATE"):
        return mmap.mmap(-1, nbytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    return mmap.mmap(-1, nbytes)
