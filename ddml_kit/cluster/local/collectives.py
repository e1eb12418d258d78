"""All-reduce in shared memory, with the bits of a fold in rank order.

A vector up to 32 KB: each rank writes it to a slot of its own, waits until all have arrived, and
folds all slots. A longer one goes block by block, so that what one rank writes the others find in
the cache: only x and the result come from main memory. Two ranks do with each block as with a short
vector. More of them do a reduce-scatter and an all-gather (R. Thakur, R. Rabenseifner, W. Gropp,
"Optimization of Collective Communication Operations in MPICH", IJHPCA 19(1), 2005): each lays its
block down, folds one chunk of all blocks, and then copies all chunks. Here a rank reads from the
others' memory, so nothing is sent.

A rank has two slots and two blocks, used in turn, so it overwrites nothing that another may still
read: it could only do so in the turn after the next, when all have left this one.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ddml_kit.cluster.local.meeting import FREE, Meeting, Named
from ddml_kit.cluster.local.queues import Mail
from ddml_kit.cluster.local.results import Results
from ddml_kit.cluster.payload import all_reduce_bytes, chunk_bounds

SLOT = 1 << 15  # bytes of the longest vector that every rank folds whole
PAIR = 1 << 19  # bytes of a block where there are two ranks:
BLOCK = 1 << 20  # and where there are more; smaller meet too often, larger leave the cache
PLANS = 256  # kinds of vectors that are remembered
BLOCKS, BROKEN = FREE, FREE + 1  # words of a member: where its blocks are, the call that it broke


class Plan(Named):
    """What can be prepared for the all-reduce of such vectors.

    booked: payload bytes that this rank sends. places: of its slots in the memory of the meeting,
    by turn, and slots: everybody's, by turn; both empty for a long vector.
    """

    def __init__(self, op: np.ufunc, x: np.ndarray, meeting: Meeting) -> None:
        super().__init__(("all_reduce", op.__name__, x.dtype, x.shape))
        n, me, view = len(meeting.members), meeting.position, meeting.view
        self.op, self.dtype, self.shape = op, x.dtype, x.shape
        self.booked = all_reduce_bytes(x.size, x.itemsize, n, me)
        self.places: list[slice] = []
        self.slots: list[list[np.ndarray]] = []
        for turn in range(2 if x.nbytes <= SLOT else 0):
            starts = [meeting.room + (turn * n + i) * SLOT for i in range(n)]
            self.places.append(slice(starts[me], starts[me] + x.nbytes))
            self.slots.append([np.ndarray(x.shape, x.dtype, view, start) for start in starts])


class AllReduce:
    """The all-reduces of one communicator, of two members or more.

    In the room of its meeting are the slots; the blocks are in the heaps of their ranks.
    """

    def __init__(self, meeting: Meeting, mail: Mail, results: Results) -> None:
        self._meeting, self._mail, self._results = meeting, mail, results
        self._n, self._me = len(meeting.members), meeting.position
        self._view: Any = meeting.view  # which takes the bytes of an array, whatever its type
        self._plans: dict[tuple, Plan] = {}
        self._plan = self._planned(np.add, np.empty(0))  # of the last call
        self._turn = self._last = 0  # of the last slot, of the last block
        self._length = PAIR if self._n == 2 else BLOCK  # of a block, in bytes
        self._blocks: dict[tuple[int, np.dtype], list[np.ndarray]] = {}
        self._address = -1  # of mine

    def reduce(self, x: np.ndarray, op: np.ufunc, out: np.ndarray | None) -> tuple[np.ndarray, int]:
        """The fold of all members' x in their order, and the payload bytes that this rank sends.

        In `out` or a new array; x: C-contiguous.
        Raises ValueError on every rank if they differ in shape, dtype or op, RankFailed if one is
        dead and has not come.
        """
        plan = self._plan
        if plan.op is not op or plan.dtype is not x.dtype or plan.shape != x.shape:
            plan = self._plan = self._planned(op, x)
        if not plan.places:
            return self._reduce_long(x, plan, out), plan.booked
        turn = self._turn ^ 1
        self._view[plan.places[turn]] = x
        self._meeting.meet(plan)
        self._turn = turn  # only now: if ranks call different things, no turn has been
        slots = plan.slots[turn]
        result = op(slots[0], slots[1]) if out is None else op(slots[0], slots[1], out)
        if self._n > 2:
            for slot in slots[2:]:
                op(result, slot, result)
        return result, plan.booked

    def _planned(self, op: np.ufunc, x: np.ndarray) -> Plan:
        key = op, x.dtype, x.shape
        plan = self._plans.get(key)
        if plan is None:
            if len(self._plans) >= PLANS:
                self._plans.clear()
            plan = self._plans[key] = Plan(op, x, self._meeting)
        return plan

    def _reduce_long(self, x: np.ndarray, plan: Plan, out: np.ndarray | None) -> np.ndarray:
        # a block of the result is written before the rest of x is read
        if out is None or not (out is x or _is_free(out, x)):
            result = self._results.empty(x.size, x.dtype)
        else:
            result = out.reshape(-1)
        self._meeting.say(plan)
        fold = self._fold_pair if self._n == 2 else self._fold_chunks
        fold(x.reshape(-1), plan.op, result)
        whole = result.reshape(x.shape)
        if out is None:
            return whole
        if not np.may_share_memory(out, whole):
            np.copyto(out, whole)
        return out

    def _fold_pair(self, x: np.ndarray, op: np.ufunc, result: np.ndarray) -> None:
        """Fold x, (size,), of both, block by block, into `result`."""
        arrive, me, length = self._meeting.arrive, self._me, self._length // x.itemsize
        turn, broken = self._last, None
        mine, theirs = self._blocks_of(me, x.dtype), list[np.ndarray]()
        for step, start in enumerate(range(0, x.size, length)):
            turn ^= 1
            block = x[start : start + length]
            mine[turn][: block.size] = block
            arrive(step)
            theirs = theirs or self._blocks_of(1 - me, x.dtype)
            pair = block, theirs[turn][: block.size]
            try:
                op(pair[me], pair[1 - me], result[start : start + length])
            except FloatingPointError as error:  # as numpy.errstate asked for; the other goes on
                broken = error
        self._last = turn
        if broken is not None:
            raise broken

    def _fold_chunks(self, x: np.ndarray, op: np.ufunc, result: np.ndarray) -> None:
        """Fold x, (size,), of all, block by block, my chunk of each, into `result`."""
        meeting, n, me, length = self._meeting, self._n, self._me, self._length // x.itemsize
        turn, broken = self._last, None
        mine, all_blocks = self._blocks_of(me, x.dtype), list[list[np.ndarray]]()
        for k, start in enumerate(range(0, x.size, length)):
            turn ^= 1
            block, target = x[start : start + length], result[start : start + length]
            bounds = chunk_bounds(block.size, n)
            first, last = bounds[me], bounds[me + 1]
            mine[turn][:first], mine[turn][last : block.size] = block[:first], block[last:]
            meeting.arrive(2 * k)
            all_blocks = all_blocks or [self._blocks_of(i, x.dtype) for i in range(n)]
            blocks = [of_one[turn] for of_one in all_blocks]
            chunks = [(block if i == me else blocks[i])[first:last] for i in range(n)]
            try:
                total = mine[turn][first:last]
                op(chunks[0], chunks[1], total)
                for chunk in chunks[2:]:
                    op(total, chunk, total)
            except FloatingPointError as error:  # as numpy.errstate asked for; the others go on
                broken, meeting.words[meeting.lines[me] + BROKEN] = error, meeting.number
            meeting.arrive(2 * k + 1)
            for i in range(n):
                target[bounds[i] : bounds[i + 1]] = blocks[i][bounds[i] : bounds[i + 1]]
        self._last = turn
        for member, line in zip(meeting.members, meeting.lines, strict=True):
            if meeting.words[line + BROKEN] == meeting.number and broken is None:
                where = f"in the part of rank {member}"
                broken = FloatingPointError(f"{op.__name__} went wrong {where}")
        if broken is not None:
            raise broken

    def _blocks_of(self, i: int, dtype: np.dtype) -> list[np.ndarray]:
        """The i-th member's blocks, by turn; those of others are known when they have arrived."""
        blocks = self._blocks.get((i, dtype))
        if blocks is None:
            meeting, length = self._meeting, self._length
            word = meeting.lines[i] + BLOCKS
            if i == self._me and self._address < 0:
                self._address = meeting.words[word] = self._mail.room(2 * length)
            view, offset = self._mail.place(meeting.members[i], meeting.words[word])
            blocks = self._blocks[i, dtype] = [
                np.ndarray(length // dtype.itemsize, dtype, view, offset + turn * length)
                for turn in range(2)
            ]
        return blocks


def room(n: int) -> int:
    """Bytes of the slots of n ranks."""
    return 2 * n * SLOT


def _is_free(out: np.ndarray, x: np.ndarray) -> bool:
    """Whether `out` can be written in one piece while x is still read."""
    return out.flags.c_contiguous and not np.may_share_memory(out, x)
