"""Where the ranks of one communicator meet: who has come to which call, and what it calls.

Each rank puts down a word for its call, with the call's number and sign, and a number when it has
arrived there; the others look. A rank arrives once at a call that all wait for, and again after
each step of a long one. Gathers and broadcasts travel as messages (see endpoint.py), and a rank may
be through with one before others begin it. That all make the same calls is seen here for them, too:
of two that differ the later one sees it and wakes those who wait. Who has found that a call differs
notes its number, since it may be two calls on when a slow rank comes to that one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence

from ddml_kit.cluster.errors import Call, awaited_call, collective, mismatch
from ddml_kit.cluster.local.queues import Mail
from ddml_kit.cluster.local.system import WEAK, acquire, fence, release
from ddml_kit.cluster.local.waiting import Waiter
from ddml_kit.cluster.local.wiring import LINE, Wiring

TEXT = 256  # bytes in which a rank says what it calls
STEPS = 20  # bits of an arrival that count steps; those above are the call's number
NUMBER = (1 << 32) - 1  # a word is a sign, and the number of the call in these bits
BARRIER: Call = ("barrier",)
SAID, ARRIVED, DIFFERS, FREE = 0, 2, 3, 5  # words of a member, two of the first and the third


class Named:
    """A call, and what can be prepared for it: its name and its sign, by which it is compared."""

    def __init__(self, call: Call) -> None:
        self.name = collective(call)
        self.text = self.name.encode()[:TEXT].ljust(TEXT, b"\0")
        digest = hashlib.blake2b(self.name.encode(), digest_size=4).digest()
        self.sign = int.from_bytes(digest) >> 1 << 32  # above the bits of NUMBER


class Meeting:
    """A piece of the first member's heap that all members see.

    It holds a line of words a member (what it calls, for odd and even calls; how far it has come;
    some that others use), the texts of odd and even calls, and then room for others.
    """

    def __init__(
        self,
        members: Sequence[int],
        rank: int,
        wiring: Wiring,
        waiter: Waiter,
        mail: Mail,
        agree: Callable[[int], int],
        room: int = 0,
    ) -> None:
        """agree: tells all members what the first says; called once, by all. room: bytes."""
        self.members, self.position = members, members.index(rank)
        self._rank, self._wiring, self._waiter = rank, wiring, waiter
        n = len(members)
        own = n * (LINE * 8 + 2 * TEXT)  # bytes
        address = 0
        if self.position == 0:
            address = mail.room(own + room)
            view, offset = mail.place(rank, address)
            view[offset : offset + own] = bytes(own)
        address = agree(address)
        self.view, offset = mail.place(members[0], address)
        self.words = memoryview(self.view).cast("q")
        self.lines = range(offset // 8, offset // 8 + n * LINE, LINE)  # their first words
        self.room = offset + own  # where it begins
        mine = self.lines[self.position]
        others = [line for line in self.lines if line != mine]
        self._here = mine + ARRIVED
        self._mine = [mine + SAID + which for which in range(2)]
        self._theirs = [[line + SAID + which for line in others] for which in range(2)]
        self._theirs_here = [line + ARRIVED for line in others]
        self._asleep = [wiring.control.asleep + member for member in members if member != rank]
        self._sleeping = wiring.control.words
        self._texts = [offset + n * LINE * 8 + which * n * TEXT for which in range(2)]
        self._written = [b"", b""]  # my text, of odd and even calls
        self._named: dict[Call, Named] = {}
        self.number = 0  # of my call
        self._word, self._call = 0, self._name(BARRIER)  # that say which

    def barrier(self, call: Call = BARRIER) -> None:
        """Wait until every member has come here. call: under which name."""
        self.meet(self._named.get(call) or self._name(call))

    def begin(self, call: Call) -> None:
        """Say that I call this, whose values travel as messages; `number` tells it from others.

        Raises ValueError if another member is known to call something else.
        """
        self.say(self._named.get(call) or self._name(call))
        fence()
        self.check(())

    def say(self, call: Named) -> None:
        """Say what I call, before I arrive there."""
        self.number = number = self.number + 1
        which = number & 1
        if self._written[which] is not call.text:
            self._write(call.text)
        self._call = call
        self._word = word = call.sign | number
        if WEAK:
            fence()
        self.words[self._mine[which]] = word

    def meet(self, call: Named) -> None:
        """Say that I call this and am there, and wait until all members are.

        What one has written before, the others can read after. Raises ValueError if one calls
        something else, RankFailed if one is dead and has not come.
        """
        # as `say` and `arrive`, but without their calls, which would cost a short vector a tenth
        words = self.words
        self.number = number = self.number + 1
        which = number & 1
        if self._written[which] is not call.text:
            self._write(call.text)
        self._call = call
        self._word = word = call.sign | number
        if WEAK:
            fence()
        words[self._mine[which]] = word
        if WEAK:
            fence()
        words[self._here] = number << STEPS
        if WEAK:
            fence()
        else:
            acquire()
            release()
        for at in self._theirs[which]:
            if words[at] != word:
                self._wait(number << STEPS)
                return
        if WEAK:
            fence()
        for at in self._asleep:
            if self._sleeping[at]:
                self._wake_all()
                return

    def arrive(self, step: int) -> None:
        """Say that I have done this step of the call, 0 at first, and wait until all have.

        Raises what `meet` raises.
        """
        words, here = self.words, self.number << STEPS | step
        if WEAK:
            fence()
        words[self._here] = here
        fence()
        for at in self._theirs_here:
            if words[at] < here:
                self._wait(here)
                return
        self._wake()
        self._compare()

    def check(self, awaited: Sequence[int]) -> None:
        """Raises ValueError if a member calls something else; those who wait raise it, too.

        awaited: world ranks who have not come to this call: none of them may be beyond it.
        """
        odd = self.odd(awaited)
        if odd >= 0:
            raise self._mismatch(odd)

    def odd(self, awaited: Sequence[int]) -> int:
        """The first such member, by position; -1 if there is none."""
        words, number, mine = self.words, self.number, self._word
        this = SAID + (number & 1)
        for i, line in enumerate(self.lines):
            word = words[line + this]
            if word != mine and word & NUMBER == number:
                return i
        for member in awaited:
            if self._is_beyond(i := self.members.index(member)):
                return i
        return -1

    # ---------------------------------------------------------------- what is called

    def _name(self, call: Call) -> Named:
        named = self._named[call] = Named(call)
        return named

    def _write(self, text: bytes) -> None:
        """Put down my text of this call."""
        which = self.number & 1
        self._written[which] = text
        at = self._texts[which] + self.position * TEXT
        self.view[at : at + TEXT] = text

    def _compare(self) -> None:
        """Raises ValueError if another member has called something else."""
        words, which = self.words, self.number & 1
        for at in self._theirs[which]:
            if words[at] != self._word:  # or it has gone on, perhaps after it found a difference
                self.check(())
                for i, line in enumerate(self.lines):
                    if words[line + DIFFERS + which] == self.number:
                        raise self._mismatch(i)

    def _is_beyond(self, i: int) -> bool:
        """Whether the i-th member has begun a later call than I have."""
        said = self.lines[i] + SAID
        return any(self.words[said + which] & NUMBER > self.number for which in range(2))

    def _mismatch(self, i: int) -> ValueError:
        """That the i-th member calls something else; whoever waits looks for itself."""
        which = self.number & 1
        at = self._texts[which] + i * TEXT
        theirs = self.view[at : at + TEXT].rstrip(b"\0").decode(errors="replace")
        if self.words[self.lines[i] + SAID + which] & NUMBER != self.number:
            theirs = "something else, and went on"
        self.words[self.lines[self.position] + DIFFERS + which] = self.number
        fence()
        self._wake_all()
        return mismatch(self._rank, self._call.name, self.members[i], theirs)

    # -------------------------------------------------------------------------- waiting

    def _wake(self) -> None:
        """I am the last to come, and wake those who sleep. A fence must lie between the two."""
        if WEAK:
            fence()
        for at in self._asleep:
            if self._sleeping[at]:
                self._wake_all()
                break

    def _wake_all(self) -> None:
        for member in self.members:
            self._wiring.wake(member)

    def _wait(self, here: int) -> None:
        """Wait until every member has come as far. Raises ValueError or RankFailed."""
        if not self._waiter.look_at(self.words, self._theirs_here, here):
            self._sleep(here)
        if WEAK:
            fence()
        self._compare()

    def _sleep(self, here: int) -> None:
        """Wait asleep until every member has come as far. Raises ValueError or RankFailed."""
        words, lines = self.words, self.lines
        n, missing = len(lines), 0

        def complete() -> bool:
            nonlocal missing
            while missing < n and words[lines[missing] + ARRIVED] >= here:
                missing += 1
            return missing == n

        def ready() -> bool:
            return (
                complete()
                or (self._wiring.some_dead() and self._lost(here) >= 0)
                or self._astray(here) >= 0
            )

        def what() -> str:
            absent = [
                member
                for member, line in zip(self.members, lines, strict=True)
                if words[line + ARRIVED] < here
            ]
            return awaited_call(absent, self._call.name.split("(")[0])

        while self._waiter.sleep(ready, what) and not complete():
            lost = self._lost(here)
            if lost >= 0:
                raise self._wiring.failure(lost)
            odd = self._astray(here)
            if odd >= 0:  # else it has just gone on, and is beyond this call
                raise self._mismatch(odd)

    def _astray(self, here: int) -> int:
        """A member, by position, that calls something else, or is beyond this call; -1 if none."""
        beyond = [i for i in range(len(self.members)) if self._is_beyond(i)]
        if WEAK:
            fence()  # who is beyond, and was here, has said before that it was
        for i in beyond:
            if self.words[self.lines[i] + ARRIVED] < here:
                return i
        return self.odd(())

    def _lost(self, here: int) -> int:
        """A member that has died before it came, or -1."""
        for member, line in zip(self.members, self.lines, strict=True):
            if self._wiring.is_dead(member) and self.words[line + ARRIVED] < here:
                return member
        return -1
