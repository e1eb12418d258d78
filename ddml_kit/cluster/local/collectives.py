"""All-reduce and barrier in shared memory, with the bits of a fold in rank order.

A vector up to 32 KB: each rank writes it to a slot of its own, waits until all have arrived, and
folds all slots. A longer one: a reduce-scatter and an all-gather (R. Thakur, R. Rabenseifner,
W. Gropp, "Optimization of Collective Communication Operations in MPICH", IJHPCA 19(1), 2005).
Each rank lays its vector into its heap and folds one chunk of all vectors; then each reads all
chunks. Here a rank reads from the others' memory, so nothing is sent.

Slots are used in turn, so no rank overwrites what another may still read: it could only do so in
the collective after the next, when all have left this one. A long vector's piece has no double;
before its rank writes there again, all must have left.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

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


@dataclass(frozen=True)
class Plan:
    """What can be prepared for a call: its name, and for a short vector everybody's slots."""

    text: bytes
    sign: int  # of the text, by which calls are compared
    booked: int  # payload bytes that this rank sends
    slots: list[list[np.ndarray]]  # for each turn


class Meeting:
    """Where the ranks of one communicator meet: a piece of the first member's heap.

    It holds some rows of a word a member: who has arrived, who has left, and for each turn the
    signs of their calls and the addresses of their long vectors; then for each turn the texts of
    their calls, and the slots.
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
        rows, texts = 6 * row * 8, 2 * n * TEXT  # bytes
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
        self._signs = first + 2 * row, first + 3 * row
        self._pieces = first + 4 * row, first + 5 * row
        self._texts = [offset + rows + turn * n * TEXT for turn in range(2)]
        self._slots = [offset + rows + texts + turn * n * SLOT for turn in range(2)]
        self._plans: dict[tuple, Plan] = {}
        self._written = [b"", b""]  # my text, by turn
        self._calls = self._steps = 0
        self._turn, self._plan = 0, self._planned("barrier")
        self._last_long = 0  # the call after which my piece may be read until all have left
        self._piece, self._room = -1, 0

    def barrier(self) -> None:
        """Wait until every member has come here."""
        self._begin(self._plans.get(()) or self._planned("barrier"))
        self._meet()

    def all_reduce(
        self, x: np.ndarray, op: np.ufunc, out: np.ndarray | None
    ) -> tuple[np.ndarray, int]:
        """The fold of all members' x in their order, and the payload bytes that this rank sends.

        In `out` or a new array; at least 2 members; x: C-contiguous.
        Raises ValueError on every rank if they differ in shape, dtype or op.
        """
        plan = self._plans.get((op, x.dtype, x.shape)) or self._planned(
            f"all_reduce({op.__name__}) of {x.dtype} {x.shape}", op, x
        )
        self._begin(plan)
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
        for start in range(first, last, step):
            block = slice(start, min(last, start + step))
            total = mine[block]
            op(sources[0][block], sources[1][block], total)
            for source in sources[2:]:
                op(total, source[block], total)
        self._meet()
        for i, vector in enumerate(vectors):
            chunk = slice(bounds[i], bounds[i + 1])
            result[chunk] = vector[chunk]
        self._last_long = self._calls
        self._announce(self._left, self._calls)

    def _vector(self, i: int, address: int, like: np.ndarray) -> np.ndarray:
        """The vector that the i-th member has laid into its heap."""
        return np.ndarray(like.shape, like.dtype, *self._mail.place(self._members[i], address))

    # ---------------------------------------------------------------- what is called

    def _planned(self, call: str, op: np.ufunc | None = None, x: np.ndarray | None = None) -> Plan:
        if len(self._plans) >= PLANS:
            self._plans.clear()
        text = call.encode()[:TEXT].ljust(TEXT, b"\0")
        sign = int.from_bytes(hashlib.blake2b(call.encode(), digest_size=7).digest())
        key: tuple = ()
        booked, slots = 0, list[list[np.ndarray]]()
        if x is not None:
            n = len(self._members)
            key = (op, x.dtype, x.shape)
            booked = all_reduce_bytes(x.size, x.itemsize, n, self._position)
            if x.nbytes <= SLOT:
                slots = [
                    [np.ndarray(x.size, x.dtype, self._view, at + i * SLOT) for i in range(n)]
                    for at in self._slots
                ]
        plan = self._plans[key] = Plan(text, sign, booked, slots)
        return plan

    def _begin(self, plan: Plan) -> None:
        """Say what I call."""
        self._calls += 1
        self._plan, turn = plan, self._calls & 1
        self._turn = turn
        if self._written[turn] is not plan.text:
            self._written[turn] = plan.text
            at = self._texts[turn] + self._position * TEXT
            self._view[at : at + TEXT] = plan.text
            self._words[self._signs[turn] + self._position] = plan.sign

    def _compare(self) -> None:
        """Raises ValueError if another member has called something else."""
        words, signs, sign = self._words, self._signs[self._turn], self._plan.sign
        for i in range(len(self._members)):
            if words[signs + i] != sign:
                at = self._texts[self._turn] + i * TEXT
                theirs = self._view[at : at + TEXT]
                raise ValueError(
                    "a collective needs the same call on every rank: rank "
                    f"{self._rank} called {_text(self._plan.text)}, "
                    f"rank {self._members[i]} {_text(theirs)}"
                )

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
            return complete() or (self._wiring.some_dead() and self._lost(base, count) >= 0)

        def what() -> str:
            return self._who_is_missing(base, count)

        if not self._waiter.look(complete):
            self._waiter.sleep(ready, what)
            if not complete():
                raise self._wiring.failure(self._lost(base, count))
        if WEAK:
            fence()

    def _who_is_missing(self, base: int, count: int) -> str:
        words = self._words
        absent = [str(m) for i, m in enumerate(self._members) if words[base + i] < count]
        others = f" and {len(absent) - 3} more" if len(absent) > 3 else ""
        ranks = "rank" if len(absent) == 1 else "ranks"
        what = _text(self._plan.text).split("(")[0]
        return f"{ranks} {', '.join(absent[:3])}{others} to call {what}"

    def _lost(self, base: int, count: int) -> int:
        """A member that has died before it came, or -1."""
        for i, member in enumerate(self._members):
            if self._wiring.is_dead(member) and self._words[base + i] < count:
                return member
        return -1


def _text(note: bytes) -> str:
    return note.rstrip(b"\0").decode(errors="replace")
