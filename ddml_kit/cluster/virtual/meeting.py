"""A collective on the simulated cluster: all arrive, and leave together."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ddml_kit.cluster.errors import RankFailed
from ddml_kit.cluster.virtual.loop import Event, Loop, Strand

# The values of all members in their order -> seconds that it takes, and what all are handed.
Finish = Callable[[list[Any]], tuple[float, Any]]


class Meeting:
    """One collective of one communicator. what: the call, which all members have to make."""

    def __init__(self, loop: Loop, members: Sequence[int], what: tuple[Any, ...]) -> None:
        self._loop = loop
        self._members = members
        self._what = what
        self._values: dict[int, Any] = {}  # by world rank
        self._strands: list[Strand] = []

    @property
    def missing(self) -> int:
        """How many members are still to come."""
        return len(self._members) - len(self._values)

    def join(self, rank: int, what: tuple[Any, ...], value: Any, finish: Finish) -> Any:
        """What `finish` has for all, once the members are there and the time has passed.

        Raises ValueError if another member called something else.
        """
        if what != self._what:
            first = next(iter(self._values))
            raise ValueError(
                "a collective needs the same call on every rank: "
                f"rank {rank} called {_text(what)}, rank {first} {_text(self._what)}"
            )
        strand = self._loop.current
        self._values[rank] = value
        self._strands.append(strand)
        strand.queue = self._strands
        if len(self._values) == len(self._members):
            seconds, outcome = finish([self._values[member] for member in self._members])
            self._loop.arrive_at(self._loop.now + seconds, (self._part, outcome))
        strand.blocked = self._who_is_missing
        try:
            return self._loop.block(strand)
        finally:
            strand.blocked = None

    def lost(self, failures: Mapping[int, RankFailed]) -> RankFailed | None:
        """The failure of a member that died before it came, if there is one."""
        for rank, failure in failures.items():
            if rank in self._members and rank not in self._values:
                return failure
        return None

    def abandon(self, failure: RankFailed) -> None:
        """Those who have come raise `failure`."""
        for strand in list(self._strands):
            self._loop.wake(strand, failure.again())

    def _part(self, event: Event) -> None:
        _, outcome = event
        for strand in self._strands:
            strand.queue = None
            strand.value = outcome
        self._loop.wake_all(self._strands)

    def _who_is_missing(self) -> str:
        absent = [str(member) for member in self._members if member not in self._values]
        others = f" and {len(absent) - 3} more" if len(absent) > 3 else ""
        ranks = "rank" if len(absent) == 1 else "ranks"
        return f"{ranks} {', '.join(absent[:3])}{others} to call {self._what[0]}"


def _text(what: tuple[Any, ...]) -> str:
    return " ".join(map(str, what))
