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

import struct
from collections.abc import Callable, Sequence
from functools import lru_cache

import numpy as np

from ddml_kit.cluster.local.queues import Mail
from ddml_kit.cluster.local.results import Results
from ddml_kit.cluster.local.system import WEAK, fence
from ddml_kit.cluster.local.waiting import Waiter
from ddml_kit.cluster.local.wiring import LINE, Wiring
from ddml_kit.cluster.payload import chunk_bounds

SLOT = 1 << 15  # bytes of the longest vector that every rank folds whole
NOTE = 248  # bytes in which a rank says what it takes part in; then the address of its vector
BLOCK = 1 << 17  # bytes that are folded at a time, so that the sum stays in the cache
_address = struct.Struct("q")


class Meeting:
    """Where the ranks of one communicator meet: a piece of the first member's heap.

    It holds a word a member for each of two counts, who has arrived and who has left, and twice a
    note and a slot a member.
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
        line = -(-n // LINE) * LINE * 8
        notes = 2 * n * (NOTE + 8)
        address = 0
        if self._position == 0:
            address = mail.room(2 * line + notes + 2 * n * SLOT)
            view, offset = mail.place(rank, address)
            view[offset : offset + 2 * line + notes] = bytes(2 * line + notes)
        address = agree(address)
        self._view, offset = mail.place(members[0], address)
        self._words = memoryview(self._view).cast("q")
        self._arrived, self._left = offset // 8, (offset + line) // 8
        self._notes = offset + 2 * line
        self._slots = self._notes + notes
        self._in_slots: dict[tuple, list[np.ndarray]] = {}
        self._note = b""
        self._calls = self._steps = 0
        self._last_long = 0  # the call after which my piece may be read until all have left
        self._piece, self._room = -1, 0

    def barrier(self) -> None:
        """Wait until every member has come here."""
        self._calls += 1
        self._write_note(_note("barrier"))
        self._meet()
        self._compare_notes()

    def all_reduce(self, x: np.ndarray, op: np.ufunc, out: np.ndarray | None) -> np.ndarray:
        """The fold of all members' x in their order, in `out` or a new array; at least 2 members.

        x: C-contiguous. Raises ValueError on every rank if they differ in shape, dtype or op.
        """
        self._calls += 1
        flat = x.reshape(-1)
        if out is not None and out.flags.c_contiguous:
            result = out.reshape(-1)
        else:
            result = self._results.empty(x.size, x.dtype)
        note = _note(f"all_reduce({op.__name__}) of {x.dtype} {x.shape}")
        fold = self._fold_slots if x.nbytes <= SLOT else self._fold_chunks
        fold(flat, op, note, result)
        if out is None:
            return result.reshape(x.shape)
        if not out.flags.c_contiguous:
            np.copyto(out, result.reshape(x.shape))
        return out

    def _fold_slots(self, flat: np.ndarray, op: np.ufunc, note: bytes, result: np.ndarray) -> None:
        turn = self._calls & 1
        key = (flat.dtype, flat.size, turn)
        slots = self._in_slots.get(key)
        if slots is None:
            if len(self._in_slots) >= 64:
                self._in_slots.clear()
            start, n = self._slots + turn * len(self._members) * SLOT, len(self._members)
            slots = self._in_slots[key] = [
                np.ndarray(flat.shape, flat.dtype, self._view, start + i * SLOT) for i in range(n)
            ]
        slots[self._position][...] = flat
        self._write_note(note)
        self._meet()
        self._compare_notes()
        op(slots[0], slots[1], out=result)
        for slot in slots[2:]:
            op(result, slot, out=result)

    def _fold_chunks(self, flat: np.ndarray, op: np.ufunc, note: bytes, result: np.ndarray) -> None:
        n, me = len(self._members), self._position
        self._await(self._left, self._last_long)
        if self._room < flat.nbytes:
            if self._piece >= 0:
                self._mail.drop(self._piece)
            self._piece, self._room = self._mail.room(flat.nbytes), flat.nbytes
        mine = np.ndarray(flat.shape, flat.dtype, *self._mail.place(self._rank, self._piece))
        bounds = chunk_bounds(flat.size, n)
        first, last = bounds[me], bounds[me + 1]
        mine[:first], mine[last:] = flat[:first], flat[last:]
        self._write_note(note, self._piece)
        self._meet()
        self._compare_notes()

        vectors = [mine if i == me else self._vector(i, flat.shape, flat.dtype) for i in range(n)]
        sources = [flat if i == me else vectors[i] for i in range(n)]
        step = max(1, BLOCK // flat.itemsize)
        for start in range(first, last, step):
            block = slice(start, min(last, start + step))
            total = mine[block]
            op(sources[0][block], sources[1][block], out=total)
            for source in sources[2:]:
                op(total, source[block], out=total)
        self._meet()
        for i, vector in enumerate(vectors):
            chunk = slice(bounds[i], bounds[i + 1])
            result[chunk] = vector[chunk]
        self._last_long = self._calls
        self._announce(self._left, self._calls)

    # --------------------------------------------------------------------------- notes

    def _write_note(self, note: bytes, piece: int = 0) -> None:
        self._note = note
        at = self._note_at(self._position)
        self._view[at : at + NOTE] = note
        _address.pack_into(self._view, at + NOTE, piece)

    def _compare_notes(self) -> None:
        mine = self._note
        for i, member in enumerate(self._members):
            at = self._note_at(i)
            theirs = self._view[at : at + NOTE]
            if theirs != mine:
                raise ValueError(
                    "a collective needs the same call on every rank: "
                    f"rank {self._rank} called {_text(mine)}, rank {member} {_text(theirs)}"
                )

    def _vector(self, i: int, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
        """The vector that the i-th member has laid into its heap."""
        (address,) = _address.unpack_from(self._view, self._note_at(i) + NOTE)
        return np.ndarray(shape, dtype, *self._mail.place(self._members[i], address))

    def _note_at(self, i: int) -> int:
        return self._notes + ((self._calls & 1) * len(self._members) + i) * (NOTE + 8)

    # -------------------------------------------------------------------------- meeting

    def _meet(self) -> None:
        """Say that I have arrived, and wait until all have."""
        self._steps += 1
        self._announce(self._arrived, self._steps)
        self._await(self._arrived, self._steps)

    def _announce(self, base: int, count: int) -> None:
        """Publish my count; whoever is the last wakes all."""
        words = self._words
        if WEAK:
            fence()
        words[base + self._position] = count
        fence()
        for i in range(len(self._members)):
            if words[base + i] < count:
                return
        for member in self._members:
            self._wiring.wake(member)

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

        if not (complete() or self._waiter.look(complete)):
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
        what = _text(self._note).split("(")[0]
        return f"{ranks} {', '.join(absent[:3])}{others} to call {what}"

    def _lost(self, base: int, count: int) -> int:
        """A member that has died before it came, or -1."""
        for i, member in enumerate(self._members):
            if self._wiring.is_dead(member) and self._words[base + i] < count:
                return member
        return -1


@lru_cache(256)
def _note(call: str) -> bytes:
    return call.encode()[:NOTE].ljust(NOTE, b"\0")


def _text(note: bytes) -> str:
    return note.rstrip(b"\0").decode(errors="replace")
