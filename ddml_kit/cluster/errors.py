"""What can go wrong in a run, each with a sentence that names rank, rule and value."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ddml_kit.cluster.run import Run


# What a rank calls: ("barrier",), ("broadcast", root), ("all_reduce", op, dtype, shape).
Call = tuple[Any, ...]


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

    def again(self) -> RankFailed:
        """The same, to be raised in another rank: an exception collects the frames it passes."""
        failure = RankFailed(self.rank, self.reason, self.seconds, self.worker_traceback)
        failure.__cause__ = self.__cause__
        return failure


class Timeout(ClusterError):
    """A receive waited longer than it was told to."""


class Stopped(BaseException):
    """Raised inside a rank whose run is being stopped; no Exception, so programs don't catch it."""


def reason(error: BaseException) -> str:
    """Why a rank failed: "ValueError: text", or the type alone where there is no text."""
    text = str(error)
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def awaited_message(source: int, tag: int) -> str:
    """What `recv` waits for, in words: "a message from rank 1, tag 3"; ANY is negative."""
    whom = "any rank" if source < 0 else f"rank {source}"
    return f"a message from {whom}" + (f", tag {tag}" if tag >= 0 else "")


def collective(call: Call) -> str:
    """A collective in words: "all_reduce(add) of float64 (3,)", "broadcast from rank 2"."""
    name, *details = call
    if len(details) == 3:
        op, dtype, shape = details
        return f"{name}({op}) of {dtype} {shape}"
    return f"{name} from rank {details[0]}" if details else name


def mismatch(rank: int, called: str, other: int, other_called: str) -> ValueError:
    """That two ranks make different calls, each `collective` in words; to be raised in `rank`."""
    return ValueError(
        "a collective needs the same call on every rank: "
        f"rank {rank} called {called}, rank {other} {other_called}"
    )


def awaited_call(absent: Sequence[int], name: str) -> str:
    """What a collective waits for, in words: "ranks 1, 3 to call barrier"."""
    others = f" and {len(absent) - 3} more" if len(absent) > 3 else ""
    ranks = "rank" if len(absent) == 1 else "ranks"
    return f"{ranks} {', '.join(map(str, absent[:3]))}{others} to call {name}"


def deadlock_sentence(ranks: Mapping[int, str], most: int = 8) -> str:
    """Who waits for whom: "rank 0 waits for a message from rank 1, tag 3; rank 1 has finished".

    ranks: a verb and its object for each rank, "waits for ..." or "has ...". Above `most` ranks
    those that wait come first, and the rest are counted.
    """
    if len(ranks) <= most:
        return "; ".join(f"rank {rank} {does}" for rank, does in ranks.items())
    waiting = {rank: does for rank, does in ranks.items() if does.startswith("waits")}
    named = [f"rank {rank} {does}" for rank, does in list(waiting.items())[:most]]
    if len(waiting) > most:
        named.append(f"{len(waiting) - most} more wait")
    if len(waiting) < len(ranks):
        named.append(f"{len(ranks) - len(waiting)} have ended")
    return "; ".join(named)
