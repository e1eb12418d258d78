"""All-reduce and barrier in shared memory, with the bits of a fold in rank order.

A vector up to 32 KB: each rank writes it to a slot of its own, waits until all have arrived, and
folds all slots. A longer one: a reduce-scatter and an all-gather (R. Thakur, R. Rabenseifner,
W. Gropp, "Optimization of Collective Communication Operations in MPICH", IJHPCA 19(1), 2005).
Each rank lays its vector into its heap and folds one chunk of all vectors; then each reads all
chunks. Here a rank reads from the others' memory, so nothing is sent.

Slots are used in turn, so no rank overwrites what another may still read: it could only do so in
the collective after the next, when all have left this one. A long vector's piece has no double;
before its rank writes there again, all must have left.

Gathers and broadcasts travel as messages (see endpoint.py), and a rank may be through with one
before others begin it. That all make the same calls is seen here for them, too: each rank puts down
a word for its call, with the call's number and sign, and then looks at those of the others, so of
two that differ the later one sees it and wakes those who wait.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from ddml_kit.cluster.errors import Call, awaited_call, collective, mismatch
from ddml_kit.cluster.local.queues import Mail
from ddml_kit.cluster.local.results import Results
from ddml_kit.cluster.local.system import WEAK, fence
from ddml_kit.cluster.local.waiting import Waiter
from ddml_kit.cluster.local.wiring import LINE, Wiring
from ddml_kit.cluster.payload import all_reduce_bytes, chunk_bounds

SLOT = 1 << 15  # bytes of the longest vector that every rank folds whole
TEXT = 256  # bytes in which a rank says what it calls
BLOCK = 1 << 17  # bytes that are folded at a time, so that the sum stays in the cache
PLANS = 256  # calls that are remembered
NUMBER = (1 << 32) - 1  # a word is a sign, and the number of the call in these bits
BARRIER: Call = ("barrier",)


@dataclass(frozen=True)
class Plan:
    """What can be prepared for a call: its name, and for a short vector everybody's slots."""

    name: str
    text: bytes
    sign: int  # of the text, by which calls are compared; above the bits of NUMBER
    booked: int  # payload bytes that this rank sends
    slots: list[list[np.ndarray]]  # for each turn


class Meeting:
    """Where the ranks of one communicator meet: a piece of the first member's heap.

    It holds some rows of a word a member: who has arrived, who has left, for odd and even calls
    what they call, for odd and even all-reduces and barriers the addresses of their long vectors,
    and in which of these one could not fold its part; then for odd and even calls the texts of
    what they call, and the slots.
    """

    def __init__(
        self,
        members: Sequence[int],
        rank: int,
        wiring: Wiring,
        waiter: Waiter,
        mail: Mail,
        results: Results,
        agree: Callable[[int], int],
    ) -> None:
        """agree: tells all members what the first says; called once, by all."""
        self._members, self._rank, self._position = members, rank, members.index(rank)
        self._wiring, self._waiter, self._mail, self._results = wiring, waiter, mail, results
        n = len(members)
        row = -(-n // LINE) * LINE  # words
        rows, texts = 7 * row * 8, 2 * n * TEXT  # bytes
        address = 0
        if self._position == 0:
            address = mail.room(rows + texts + 2 * n * SLOT)
            view, offset = mail.place(rank, address)
            view[offset : offset + rows + texts] = bytes(rows + texts)
        address = agree(address)
        self._view, offset = mail.place(members[0], address)
        self._words = memoryview(self._view).cast("q")
        first = offset // 8
        self._arrived, self._left = first, first + row
        self._said = first + 2 * row, first + 3 * row
        self._pieces = first + 4 * row, first + 5 * row
        self._broken = first + 6 * row
        self._texts = [offset + rows + turn * n * TEXT for turn in range(2)]
        self._slots = [offset + rows + texts + turn * n * SLOT for turn in range(2)]
        self._plans: dict[tuple, Plan] = {}
        self._written = [b"", b""]  # my text, of odd and even calls
        self.number = 0  # of my call
        self._word = 0  # that says which
        self._calls = self._steps = 0  # all-reduces and barriers; the meetings of these
        self._turn, self._plan = 0, self._planned(BARRIER, BARRIER)
        self._last_long = 0  # the call after which my piece may be read until all have left
        self._piece, self._room = -1, 0

    def barrier(self, call: Call = BARRIER) -> None:
        """Wait until every member has come here. call: under which name."""
        self._begin(self._plans.get(call) or self._planned(call, call))
        self._calls += 1
        self._turn = self._calls & 1
        self._meet()

    def begin(self, call: Call) -> None:
        """Say that I call this, whose values travel as messages; `number` tells it from others.

        Raises ValueError if another member is known to call something else.
        """
        self._begin(self._plans.get(call) or self._planned(call, call))
        fence()
        self.check(())

    def check(self, awaited: Sequence[int]) -> None:
        """Raises ValueError if a member calls something else; those who wait raise it, too.

        awaited: world ranks who have not come to this call: none of them may be beyond it.
        """
        odd = self.odd(awaited)
        if odd >= 0:
            raise self._mismatch(odd)

    def odd(self, awaited: Sequence[int]) -> int:
        """The first such member, by position; -1 if there is none."""
        words, number, mine = self._words, self.number, self._word
        this = self._said[number & 1]
        for i in range(len(self._members)):
            word = words[this + i]
            if word != mine and word & NUMBER == number:
                return i
        for member in awaited:
            if self._is_beyond(i := self._members.index(member)):
                return i
        return -1

    def all_reduce(
        self, x: np.ndarray, op: np.ufunc, out: np.ndarray | None
    ) -> tuple[np.ndarray, int]:
        """The fold of all members' x in their order, and the payload bytes that this rank sends.

        In `out` or a new array; at least 2 members; x: C-contiguous.
        Raises ValueError on every rank if they differ in shape, dtype or op.
        """
        plan = self._plans.get((op, x.dtype, x.shape)) or self._planned(
            (op, x.dtype, x.shape), ("all_reduce", op.__name__, x.dtype, x.shape), x
        )
        self._begin(plan)
        self._calls += 1
        self._turn = self._calls & 1
        flat = x if x.ndim == 1 else x.reshape(-1)
        if out is not None and out.flags.c_contiguous:
            result = out.reshape(-1)
        else:
            result = self._results.empty(x.size, x.dtype)
        if plan.slots:
            self._fold_slots(flat, op, result)
        else:
            self._fold_chunks(flat, op, result)
        if out is None:
            return result if x.ndim == 1 else result.reshape(x.shape), plan.booked
        if not out.flags.c_contiguous:
            np.copyto(out, result.reshape(x.shape))
        return out, plan.booked

    def _fold_slots(self, flat: np.ndarray, op: np.ufunc, result: np.ndarray) -> None:
        slots = self._plan.slots[self._turn]
        slots[self._position][...] = flat
        self._meet()
        op(slots[0], slots[1], result)
        for slot in slots[2:]:
            op(result, slot, result)

    def _fold_chunks(self, flat: np.ndarray, op: np.ufunc, result: np.ndarray) -> None:
        n, me, words = len(self._members), self._position, self._words
        self._await(self._left, self._last_long)
        if self._room < flat.nbytes:
            if self._piece >= 0:
                self._mail.drop(self._piece)
            self._piece, self._room = self._mail.room(flat.nbytes), flat.nbytes
        pieces = self._pieces[self._turn]
        words[pieces + me] = self._piece
        mine = self._vector(me, self._piece, flat)
        bounds = chunk_bounds(flat.size, n)
        first, last = bounds[me], bounds[me + 1]
        mine[:first], mine[last:] = flat[:first], flat[last:]
        self._meet()
        vectors = [mine if i == me else self._vector(i, words[pieces + i], flat) for i in range(n)]
        sources = [flat if i == me else vectors[i] for i in range(n)]
        step = max(1, BLOCK // flat.itemsize)
        broken: FloatingPointError | None = None
        try:
            for start in range(first, last, step):
                block = slice(start, min(last, start + step))
                total = mine[block]
                op(sources[0][block], sources[1][block], total)
                for source in sources[2:]:
                    op(total, source[block], total)
        except FloatingPointError as error:  # as numpy.errstate asked for
            broken, words[self._broken + me] = error, self._calls
        self._meet()
        for i, vector in enumerate(vectors):
            if words[self._broken + i] == self._calls and broken is None:
                where = f"in the part of rank {self._members[i]}"
                broken = FloatingPointError(f"{op.__name__} went wrong {where}")
            chunk = slice(bounds[i], bounds[i + 1])
            result[chunk] = vector[chunk]
        self._last_long = self._calls
        self._announce(self._left, self._calls)
        if broken is not None:
            raise broken

    def _vector(self, i: int, address: int, like: np.ndarray) -> np.ndarray:
        """The vector that the i-th member has laid into its heap."""
        return np.ndarray(like.shape, like.dtype, *self._mail.place(self._members[i], address))

    # ---------------------------------------------------------------- what is called

    def _planned(self, key: tuple, call: Call, x: np.ndarray | None = None) -> Plan:
        if len(self._plans) >= PLANS:
            self._plans.clear()
        name = collective(call)
        text = name.encode()[:TEXT].ljust(TEXT, b"\0")
        sign = int.from_bytes(hashlib.blake2b(name.encode(), digest_size=4).digest()) >> 1 << 32
        booked, slots = 0, list[list[np.ndarray]]()
        if x is not None:
            n = len(self._members)
            booked = all_reduce_bytes(x.size, x.itemsize, n, self._position)
            if x.nbytes <= SLOT:
                slots = [
                    [np.ndarray(x.size, x.dtype, self._view, at + i * SLOT) for i in range(n)]
                    for at in self._slots
                ]
        plan = self._plans[key] = Plan(name, text, sign, booked, slots)
        return plan

    def _begin(self, plan: Plan) -> None:
        """Say what I call."""
        self.number = number = self.number + 1
        self._plan, which = plan, number & 1
        if self._written[which] is not plan.text:
            self._written[which] = plan.text
            at = self._texts[which] + self._position * TEXT
            self._view[at : at + TEXT] = plan.text
            if WEAK:
                fence()
        self._word = word = plan.sign | number
        self._words[self._said[which] + self._position] = word

    def _compare(self) -> None:
        """Raises ValueError if another member has called something else."""
        words, said, word = self._words, self._said[self.number & 1], self._word
        for i in range(len(self._members)):
            if words[said + i] != word and words[said + i] & NUMBER == self.number:
                raise self._mismatch(i)

    def _is_beyond(self, i: int) -> bool:
        """Whether the i-th member has begun a later call than I have."""
        words = self._words
        return any(words[said + i] & NUMBER > self.number for said in self._said)

    def _mismatch(self, i: int) -> ValueError:
        """That the i-th member calls something else; whoever waits looks for itself."""
        which = self.number & 1
        at = self._texts[which] + i * TEXT
        theirs = self._view[at : at + TEXT].rstrip(b"\0").decode(errors="replace")
        if self._words[self._said[which] + i] & NUMBER != self.number:
            theirs = "something else, and went on"
        fence()
        for member in self._members:
            self._wiring.wake(member)
        return mismatch(self._rank, self._plan.name, self._members[i], theirs)

    # -------------------------------------------------------------------------- meeting

    def _meet(self) -> None:
        """Say that I have arrived, wait until all have, and see that they call the same."""
        self._steps += 1
        if not self._announce(self._arrived, self._steps):
            self._await(self._arrived, self._steps)
        self._compare()

    def _announce(self, base: int, count: int) -> bool:
        """Publish my count. Whether all are there; if so, I am the last and wake who sleeps."""
        words, n = self._words, len(self._members)
        if WEAK:
            fence()
        words[base + self._position] = count
        fence()
        for i in range(n):
            if words[base + i] < count:
                return False
        for member in self._members:
            self._wiring.wake(member)
        return True

    def _await(self, base: int, count: int) -> None:
        """Wait until every member's count is at least this. Raises RankFailed."""
        words, n, missing = self._words, len(self._members), 0

        def complete() -> bool:
            nonlocal missing
            while missing < n and words[base + missing] >= count:
                missing += 1
            return missing == n

        def ready() -> bool:
            return (
                complete()
                or (self._wiring.some_dead() and self._lost(base, count) >= 0)
                or self._astray(base, count) >= 0
            )

        def what() -> str:
            absent = [m for i, m in enumerate(self._members) if words[base + i] < count]
            return awaited_call(absent, self._plan.name.split("(")[0])

        if not self._waiter.look(complete):
            while self._waiter.sleep(ready, what) and not complete():
                lost = self._lost(base, count)
                if lost >= 0:
                    raise self._wiring.failure(lost)
                odd = self._astray(base, count)
                if odd >= 0:  # else it has just gone on, and is beyond this call
                    raise self._mismatch(odd)
        if WEAK:
            fence()

    def _astray(self, base: int, count: int) -> int:
        """A member, by position, that calls something else, or is beyond this call; -1 if none."""
        beyond = [i for i in range(len(self._members)) if self._is_beyond(i)]
        if WEAK:
            fence()  # who is beyond, and was here, has said before that it was
        for i in beyond:
            if self._words[base + i] < count:
                return i
        return self.odd(())

    def _lost(self, base: int, count: int) -> int:
        """A member that has died before it came, or -1."""
        for i, member in enumerate(self._members):
            if self._wiring.is_dead(member) and self._words[base + i] < count:
                return member
        return -1
