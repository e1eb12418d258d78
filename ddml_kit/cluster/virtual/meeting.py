"""A collective on the simulated cluster: all arrive, and leave together."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ddml_kit.cluster.errors import Call, RankFailed, awaited_call, collective, mismatch
from ddml_kit.cluster.virtual.loop import Event, Loop, Strand

# The values of all members in their order -> seconds that it takes, and what all are handed.
Finish = Callable[[list[Any]], tuple[float, Any]]


class Meeting:
    """One collective of one communicator. call: what all members have to make."""

    def __init__(self, loop: Loop, members: Sequence[int], call: Call) -> None:
        self._loop = loop
        self._members = members
        self._call = call
        self._values: dict[int, Any] = {}  # by world rank
        self._strands: list[Strand] = []
        self._odd: tuple[int, Call] | None = None  # a rank that called something else

    @property
    def missing(self) -> int:
        """How many members are still to come."""
        return len(self._members) - len(self._values)

    def join(self, rank: int, call: Call, value: Any, finish: Finish) -> Any:
        """What `finish` has for all, once the members are there and the time has passed.

        Raises on all members ValueError if one called something else, and what `finish` raises.
        """
        if call != self._call:
            self._odd = rank, call
            first = next(iter(self._values))
            self._fail(lambda waiting: self._mismatch(waiting, self._call, rank, call))
            self._values[rank] = None
            raise self._mismatch(rank, call, first, self._call)
        self._values[rank] = value
        if self._odd is not None:
            raise self._mismatch(rank, call, *self._odd)
        strand = self._loop.current
        if len(self._values) == len(self._members):
            try:
                seconds, outcome = finish([self._values[member] for member in self._members])
            except Exception as error:
                raised = error
                self._fail(lambda _: copy.copy(raised))
                raise
            self._loop.arrive_at(self._loop.now + seconds, (self._part, outcome))
        self._strands.append(strand)
        strand.queue = self._strands
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
        self._fail(lambda _: failure.again())

    def _fail(self, error: Callable[[int], Exception]) -> None:
        """Those who wait raise error(rank), each its own: an exception collects frames."""
        for strand in list(self._strands):
            assert strand.endpoint is not None
            self._loop.wake(strand, error(strand.endpoint.rank))

    @staticmethod
    def _mismatch(rank: int, call: Call, other: int, other_call: Call) -> ValueError:
        return mismatch(rank, collective(call), other, collective(other_call))

    def _part(self, event: Event) -> None:
        _, outcome = event
        for strand in self._strands:
            strand.queue = None
            strand.value = outcome
        self._loop.wake_all(self._strands)

    def _who_is_missing(self) -> str:
        absent = [member for member in self._members if member not in self._values]
        return awaited_call(absent, self._call[0])
