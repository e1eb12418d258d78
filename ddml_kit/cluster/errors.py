"""What can go wrong in a run, each with a sentence that names rank, rule and value."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ddml_kit.cluster.run import Run


class ClusterError(Exception):
    """What ends a run. `run` is what there was of it until then, if anything."""

    run: Run | None = None


class Deadlock(ClusterError):
    """No rank can go on; the message says who waits for whom."""


class RankFailed(ClusterError):
    """A rank raised an error, crashed, or was killed.

    rank: which. seconds: when, virtual or real. `__cause__` is the rank's own error where there is
    one, and `worker_traceback` its traceback as text.
    """

    def __init__(
        self, rank: int, reason: str, seconds: float | None = None, worker_traceback: str = ""
    ) -> None:
        when = "" if seconds is None else f" at {seconds:.6g} s"
        super().__init__(f"rank {rank} failed{when}: {reason}")
        self.rank, self.reason, self.seconds = rank, reason, seconds
        self.worker_traceback = worker_traceback

    def __reduce__(self) -> tuple:
        return RankFailed, (self.rank, self.reason, self.seconds, self.worker_traceback)


class Timeout(ClusterError):
    """A receive waited longer than it was told to."""


class Stopped(BaseException):
    """Raised inside a rank whose run is being stopped; no Exception, so programs don't catch it."""
