"""That all members of a communicator make the same call: what they say of it, and who differs.

A communicator's collectives are numbered, and each frame of one carries its number (in the tag) and
its call in words. So whoever waits, or comes later, sees a call that is not its own. One who has
nothing to send but waits for long says what it calls, and asks those that it waits for. The root of
a broadcast waits for nobody: if two are root of one each, both are through before they hear of each
other, and are told at their next collective there, or at the end of the program.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from functools import lru_cache

from ddml_kit.cluster.distributed.links import TEXT
from ddml_kit.cluster.errors import Call, collective, mismatch

PHASES = 4  # of a collective, each with a tag of its own
FIRST = -2  # the kit's own tags go down from here
KEPT = 1024  # calls of a communicator that are remembered


def tag_of(number: int, phase: int) -> int:
    """The tag of the frames of this phase of a communicator's collective of that number."""
    return FIRST - PHASES * number - phase


def number_of(tag: int) -> int:
    """The number of the collective whose frames have this tag."""
    return (FIRST - tag) // PHASES


@lru_cache(1024)
def words(call: Call) -> bytes:
    """A call as it travels."""
    return collective(call).encode()[:TEXT]


class Meeting:
    """One communicator's collectives, as one rank sees them. Its caller holds the lock."""

    def __init__(self) -> None:
        self.members: Sequence[int] = ()
        self.number = -1  # of the call that the rank makes, or made last
        self.over = True  # it is through with it
        self.odd: tuple[int, bytes] | None = None  # who makes another call now, and which
        self.late: ValueError | None = None  # of two roots that heard of each other afterwards
        self._two_roots = False
        self._calls: deque[bytes] = deque(maxlen=KEPT)  # the last is number's
        self._early: dict[int, dict[int, bytes]] = {}  # by number and rank: calls yet to come

    @property
    def call(self) -> bytes:
        """What the rank calls now."""
        return self._calls[-1]

    def begin(self, call: bytes, members: Sequence[int]) -> int:
        """The number of the rank's next call. Raises ValueError for two roots of the last one."""
        late, self.late = self.late, None
        if late is not None:
            raise late
        self.members = members
        self.number += 1
        self.over = False
        self._calls.append(call)
        early = self._early.pop(self.number, {})
        self.odd = next(((rank, text) for rank, text in early.items() if text != call), None)
        return self.number

    def hear(self, rank: int, number: int, call: bytes, gave: bool, me: int) -> None:
        """That `rank` makes or made this call under that number.

        gave: it has sent what others need, and may be through. me: this rank.
        """
        if number > self.number:
            self._early.setdefault(number, {})[rank] = call
        elif number == self.number and call != self.call and self.odd is None:
            self.odd = rank, call
            self._two_roots = gave and self.call == _root(me) and call == _root(rank)
            self._look_back(me)

    def end(self, me: int) -> None:
        """The rank is through with its call."""
        self.over = True
        self._look_back(me)

    def _look_back(self, me: int) -> None:
        if self.over and self._two_roots:
            self._two_roots = False
            self.late = self.mismatch(me)

    def said(self, number: int) -> bytes | None:
        """What the rank called under that number; None if it has not yet, or long ago."""
        back = self.number - number
        return self._calls[-1 - back] if 0 <= back < len(self._calls) else None

    def mismatch(self, rank: int) -> ValueError:
        """What `rank` raises because of the odd one."""
        assert self.odd is not None
        other, called = self.odd
        theirs = called.decode(errors="replace")
        return mismatch(rank, self.call.decode(errors="replace"), other, theirs)


def _root(rank: int) -> bytes:
    """What `rank` calls as the root of a broadcast."""
    return words(("broadcast", rank))
