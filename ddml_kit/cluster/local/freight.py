"""The call that a run makes, in one memory that all workers map: nothing is copied per worker."""

from __future__ import annotations

import mmap
import os
from collections.abc import Sequence
from multiprocessing import reduction
from typing import Any

from ddml_kit.cluster.local.outbox import write_memory
from ddml_kit.cluster.local.system import ALIGN, MEMFD
from ddml_kit.cluster.shipping import Parcel


class Freight:
    """A parcel on its way to the workers of this machine.

    Picklable while a process is being started. On systems without memfd each worker gets a copy.
    """

    def __init__(self, parcel: Parcel) -> None:
        parts = [memoryview(parcel.pickled), *(view.cast("B") for view in parcel.buffers)]
        self._sizes = [part.nbytes for part in parts]
        self._descriptor: int | None = None
        self._parts: Sequence[bytes] = ()
        if MEMFD:
            self._descriptor = write_memory(parts, ALIGN)
        else:
            self._parts = [bytes(part) for part in parts]

    def unpack(self) -> Parcel:
        """The parcel, its buffers read-only views of the shared memory. Called in the worker."""
        if self._descriptor is None:
            first, *others = self._parts
            return Parcel(first, [memoryview(part) for part in others])
        memory = memoryview(mmap.mmap(self._descriptor, 0, prot=mmap.PROT_READ))
        views, offset = [], 0
        for size in self._sizes:
            offset += -offset % ALIGN
            views.append(memory[offset : offset + size])
            offset += size
        return Parcel(bytes(views[0]), views[1:])

    def close(self) -> None:
        """Let go of it in this process; workers keep what they mapped."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def __getstate__(self) -> dict[str, Any]:
        shared = None if self._descriptor is None else reduction.DupFd(self._descriptor)
        return {"sizes": self._sizes, "shared": shared, "parts": self._parts}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._sizes, self._parts = state["sizes"], state["parts"]
        self._descriptor = None if state["shared"] is None else state["shared"].detach()
