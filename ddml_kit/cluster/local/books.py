"""What has become known of a run until now, and the `Run` that it makes in the end."""

from __future__ import annotations

import threading
from collections import deque
from typing import Any

import numpy as np

from ddml_kit.cluster.errors import RankFailed
from ddml_kit.cluster.local.outbox import End
from ddml_kit.cluster.run import Badge, Metric, Run, Snapshot
from ddml_kit.cluster.thinning import Album, thin
from ddml_kit.cluster.trace import EVENT, Trace


class Books:
    """Written by the watcher's thread; points are read by whoever iterates over the run."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._points: list[Metric] = []
        self._album = Album(size)
        self._fresh: deque[Metric | Snapshot] = deque()
        self._more = threading.Condition()
        self._closed = False
        self.values: dict[int, Any] = {}
        self.ends: dict[int, End] = {}
        self.failures: dict[int, RankFailed] = {}

    def add(self, point: Metric | Snapshot) -> None:
        with self._more:
            self._fresh.append(point)
            if isinstance(point, Metric):
                self._points.append(point)
            elif self._album.add(point):  # late readers miss what the run does not keep
                kept = set(map(id, self._album.snapshots))
                self._fresh = deque(
                    p for p in self._fresh if isinstance(p, Metric) or id(p) in kept
                )
            self._more.notify()

    def next(self, timeout: float) -> Metric | Snapshot | None:
        """The next point that nobody has taken yet; None after `timeout` seconds, or at the end."""
        with self._more:
            self._more.wait_for(lambda: self._fresh or self._closed, timeout)
            return self._fresh.popleft() if self._fresh else None

    @property
    def exhausted(self) -> bool:
        return self._closed and not self._fresh

    def close(self) -> None:
        """No more points will come."""
        with self._more:
            self._closed = True
            self._more.notify()

    def fail(self, failure: RankFailed, cause: BaseException | None) -> None:
        self.failures[failure.rank] = explained(failure, cause)

    def has_returned(self, rank: int) -> bool:
        """Whether its program came to its end, and the result to the parent."""
        return rank in self.ends and self.ends[rank].how == "returned"

    def run(self, *, badge: Badge, seed: int, stopped: bool) -> Run:
        """All of it, once every process has ended."""
        ends = [self.ends.get(rank) for rank in range(self._size)]
        times = [end.seconds for end in ends if end] + [
            failure.seconds or 0.0 for failure in self.failures.values()
        ]
        events = [end.events for end in ends if end]
        returned = [self.has_returned(rank) for rank in range(self._size)]
        return Run(
            badge=badge,
            size=self._size,
            seed=seed,
            seconds=max(times, default=0.0),
            results=[self.values[r] if returned[r] else None for r in range(self._size)],
            trace=Trace(np.concatenate([np.empty(0, np.uint8), *events]).view(EVENT)),
            points=self._points,
            snapshots=thin(self._album.snapshots),
            failures=dict(sorted(self.failures.items())),
            stopped=stopped and not all(returned),
        )


def explained(failure: RankFailed, cause: BaseException | None) -> RankFailed:
    """The same, with what is known of it besides."""
    failure.__cause__ = cause
    if failure.worker_traceback:
        failure.add_note(f"In the worker:\n{failure.worker_traceback}")
    return failure
