"""How many coordinates of a vector an update writes, be it by the same value.

The update is watched as its fellow workers would feel it. Another worker writes the coordinates
that the gradient hasn't: a fresh value before each of the update's bytecodes. If the update stores
there, in whichever spelling, then either what it had read some bytecodes earlier, which is the
other worker's last value no more, or what came of arithmetic within one bytecode. To tell the
latter the values are signalling NaNs, of which arithmetic makes quiet ones (IEEE 754-2008, 6.2),
while a copy keeps every bit.
"""

from __future__ import annotations

import contextlib
import io
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

import numpy as np

from ddml_kit.problems.sparse import Sparse

SIGNALLING = 0x7FF0_0000_0000_0000  # with a number from 1 in its low bits, a signalling NaN


def coordinates_written(
    update: Callable[[np.ndarray, Sparse, float], Any],
    w: np.ndarray,
    gradient: Sparse,
    lr: float,
) -> int:
    """The coordinates of w, (dim,), 64-bit floats, that the gradient has, and those written beside.

    Runs update(w, gradient, lr), which has run before with ordinary values: what it prints or
    raises this time is not shown.
    """
    worker = OtherWorker(w, np.setdiff1d(np.arange(len(w)), gradient.indices))
    support = len(gradient.indices)
    before = sys.gettrace()
    with (
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.suppress(Exception),
        np.errstate(invalid="ignore"),  # arithmetic with a signalling NaN
    ):
        sys._getframe().f_trace_opcodes = True  # Python 3.12 wants it on before settrace
        sys.settrace(worker.trace)
        try:
            update(w, gradient, lr)
        finally:
            sys.settrace(before)
    worker.write()
    return support + int(worker.overwritten.sum())


class OtherWorker:
    """Writes the coordinates `own` of w, and notices when they are `overwritten`, (len(own),)."""

    def __init__(self, w: np.ndarray, own: np.ndarray) -> None:
        self._bits, self._own = w.view(np.int64), own
        self._count = 1
        self._bits[own] = SIGNALLING + self._count
        self.overwritten = np.zeros(len(own), bool)

    def write(self) -> None:
        """Look whether the last value is still there, and write the next."""
        self.overwritten |= self._bits[self._own] != SIGNALLING + self._count
        self._count += 1
        self._bits[self._own] = SIGNALLING + self._count

    def trace(self, frame: FrameType, event: str, argument: Any) -> Any:
        """For sys.settrace: writes before each bytecode."""
        frame.f_trace_opcodes = True
        if event == "opcode":
            self.write()
        return self.trace
