"""How far a run is: one line on a terminal that is written over, else a line now and then."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TextIO

import numpy as np

from ddml_kit.cluster.run import Metric, Snapshot

ON_TERMINAL, ELSEWHERE = 0.2, 5.0  # seconds between two looks
SHARE = 0.25  # of the time that evaluating may take from the workers


class Progress:
    """Looks at the snapshots of rank 0 and tells the step, the time and one figure of the model.

    figure: what it is called, and what computes it. total: steps, None if nobody knows.
    interval: seconds between two looks, as suits the stream if None. clock: in seconds.
    """

    def __init__(
        self,
        stream: TextIO,
        figure: tuple[str, Callable[[np.ndarray], float]],
        total: int | None,
        interval: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._stream, self._total = stream, total
        self._name, self._evaluate = figure
        self._terminal = stream.isatty()
        if interval is None:
            interval = ON_TERMINAL if self._terminal else ELSEWHERE
        self._interval, self._clock = interval, clock
        self._next = clock() + (0.0 if self._terminal else interval)

    def see(self, point: Metric | Snapshot) -> None:
        """A point of the run has come."""
        if not isinstance(point, Snapshot) or point.rank != 0:
            return
        began = self._clock()
        if began < self._next:
            return
        value = self._evaluate(point.w)
        of = f" of {self._total:,}" if self._total else ""
        line = f"step {point.step:,}{of}, {point.seconds:.4g} s, {self._name} {value:.4g}"
        self._stream.write(f"\r\x1b[K{line}" if self._terminal else f"{line}\n")
        self._stream.flush()
        now = self._clock()
        self._next = now + max(self._interval, (now - began) / SHARE)

    def close(self) -> None:
        """Take the line off the terminal."""
        if self._terminal:
            self._stream.write("\r\x1b[K")
            self._stream.flush()
