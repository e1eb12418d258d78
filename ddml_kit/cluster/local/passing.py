"""What the ends of real processes have in common: time that passes, strands, trace, points."""

from __future__ import annotations

import math
import threading
from abc import abstractmethod
from collections.abc import Callable, Sequence
from itertools import count
from time import monotonic
from typing import Any

import numpy as np

from ddml_kit.cluster.endpoint import Endpoint, Pending, generator
from ddml_kit.cluster.faults import Slowdown, slowdown_factor
from ddml_kit.cluster.local.strands import Started, Waits
from ddml_kit.cluster.local.waiting import Strand
from ddml_kit.cluster.run import Metric, Snapshot
from ddml_kit.cluster.thinning import Thinning
from ddml_kit.cluster.trace import COMPUTE, Recorder

SNAPSHOT_EVERY = 0.02  # seconds between two snapshots of a rank, at least,
SNAPSHOT_SHARE = 0.02  # and of its time that they take, at most,
FIRST_SNAPSHOTS = 8  # after so many


class RealEndpoint(Endpoint):
    """One a process. `recorder` collects the rank's trace.

    started: time.monotonic() at the start of the run. emit: gets metrics and snapshots, at once,
    in the thread that made them.
    """

    _waiter: Waits

    def __init__(
        self,
        rank: int,
        size: int,
        *,
        seed: int,
        slowdowns: Sequence[Slowdown],
        paced: bool,
        started: float,
        emit: Callable[[Any], None],
    ) -> None:
        self.rank, self.size, self.seed = rank, size, seed
        self.recorder = Recorder()
        self._started, self._emit = started, emit
        self._slowdowns, self._paced = tuple(slowdowns), paced
        self._slowness = generator(seed, rank, "slowdown")
        self._strand = Strand()
        self._strand.mark = started
        self._begun: list[Started] = []
        self._beginning = threading.Lock()
        self._thinning = Thinning(size)
        self._last_snapshot, self._snapshot_takes = -math.inf, math.inf  # when; seconds, the least

    @abstractmethod
    def _comes(self, tag: int, context: int) -> Callable[[], bool]:
        """Tells whether a message with this tag is here."""

    def start(self, f: Callable[..., Any], *args: Any) -> Pending:
        self._waiter.check()
        with self._beginning:
            # One that has been waited for is forgotten: it would keep what it returned.
            self._begun = [strand for strand in self._begun if not strand.seen]
            taken = {strand.number for strand in self._begun}
            number = next(number for number in count(1) if number not in taken)
            strand = Started(number, self._strand, self._waiter, f, *args)
            self._begun.append(strand)
        return strand

    def unseen_error(self) -> BaseException | None:
        """What a strand has raised for which nobody has waited."""
        errors = (strand.unseen_error() for strand in self._begun)
        return next((error for error in errors if error is not None), None)

    def work(self, seconds: float, until: int | None, context: int) -> bool:
        self._waiter.check()
        start = self._strand.mark
        factor = slowdown_factor(self._slowdowns, self.rank, start - self._started, self._slowness)
        now = monotonic()
        end = start + seconds * factor if self._paced else now + seconds * (factor - 1.0)
        interrupted = False
        if until is not None or end > now:
            comes = _never if until is None else self._comes(until, context)
            interrupted = self._waiter.sleep(comes, lambda: "the end of its work", end)
        self._log(COMPUTE, start)
        return not interrupted

    def now(self) -> float:
        self._waiter.check()
        return monotonic() - self._started

    def record(self, metrics: dict[str, float]) -> None:
        self._waiter.check()
        self._emit(Metric(self.rank, self.now(), metrics))

    def snapshot(self, w: np.ndarray) -> None:
        self._waiter.check()
        step = self._thinning.keep(w.nbytes)
        if step is None:
            return
        now = self.now()
        pause = max(SNAPSHOT_EVERY, self._snapshot_takes / SNAPSHOT_SHARE)
        if step >= FIRST_SNAPSHOTS and now - self._last_snapshot < pause:
            self._thinning.stride *= 2  # those that are kept stay evenly spaced
            if step % self._thinning.stride:
                return
        self._last_snapshot = now
        self._emit(Snapshot(self.rank, now, step, np.array(w)))
        self._snapshot_takes = min(self._snapshot_takes, self.now() - now)

    def _log(self, kind: int, start: float, peer: int = -1, tag: int = -1, nbytes: int = 0) -> None:
        """One event, which ends now, and with it a call on comm of this strand."""
        strand, began = self._strand, self._started
        strand.mark = stop = monotonic()
        self.recorder.add(
            kind, self.rank, start - began, stop - began, peer, tag, nbytes, strand.number
        )


def _never() -> bool:
    return False
