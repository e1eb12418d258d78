"""All-reduce inside the network: the switch adds what passes through it.

A. Sapio et al., "Scaling Distributed Machine Learning with In-Network Aggregation", NSDI 2021,
arXiv 1903.06701 (SwitchML), algorithms 1 and 2 (their numbers from memory). The switch has a pool
of slots, each with room for k whole numbers of 32 bits. A worker cuts its vector into blocks of k
and sends the first one for each slot. When a block of every worker has come into a slot, the switch
sends the sum to all of them and empties the slot; a worker that gets it sends the next block for
that slot. So the slots are reused again and again, and what a switch has to remember is small,
whatever the vector. Each worker sends its vector once and receives the sum once, where round a ring
it is twice.

The switch is the last rank of the communicator, and runs `switch`; the others call `through_switch`
as often as they like, and `leave_switch` at the end. `in_network` is all that for one vector.
Network(switch=True) has simulated links to match.

Scales (fixed_point.py): f is given, or chosen for each block, from the largest exponent that any
worker has in it. As in the authors' code (p4lang/p4app-switchML), a packet carries the exponent of
the block that comes next for its slot, the switch returns the largest, and the first packets carry
nothing else.

Departures. Nothing is lost on the way, so there are neither retransmissions nor a second pool that
remembers results. A slot keeps packets until the last has come and then adds them, which for whole
numbers is the same as adding as they come; it shows which worker made the sum overflow, and means
that saturation does not depend on the order of arrival. An exponent has 16 bits, not 8, so that it
can be that of a float64. What the header of a packet says costs no bytes, as with a tag.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from ddml_kit.cluster.checks import whole
from ddml_kit.cluster.comm import Comm
from ddml_kit.cluster.errors import RankFailed, reason
from ddml_kit.collectives.fixed_point import Overflow, block_scale, exponent, quantised, refuse
from ddml_kit.collectives.vectors import summable

ELEMENTS = 256  # in a packet, the larger of the two sizes that the authors' switch takes
SLOTS = 128
NOTHING = np.empty(0, np.int32)


class Header(NamedTuple):
    """What must be the same on all workers: of the vector, and of a packet.

    length: of the vector. block: which it is, below 0 for a packet with an exponent only.
    scale: of its numbers.
    """

    length: int
    elements: int
    slots: int
    block: int
    scale: float


class Packet(NamedTuple):
    """values: int32, up to `elements`. exponents: int16, one where scales are chosen, else none."""

    values: np.ndarray
    exponents: np.ndarray
    header: Header

    @property
    def nbytes(self) -> int:
        return self.values.nbytes + self.exponents.nbytes


def in_network(comm: Comm, x: Any, **settings: Any) -> np.ndarray | None:
    """The sum of x over the workers, on each of them; None on the last rank, which is the switch.

    settings: of `through_switch`; overflow counts for the switch as well.
    """
    own = comm.group(range(comm.size))  # so that the next vector's packets can't come too early
    if own.rank == own.size - 1:
        switch(own, overflow=settings.get("overflow", refuse))
        return None
    result = through_switch(own, x, **settings)
    leave_switch(own)
    return result


def through_switch(
    comm: Comm,
    x: Any,
    *,
    f: float | None = None,
    elements: int = ELEMENTS,
    slots: int = SLOTS,
    overflow: Overflow = refuse,
) -> np.ndarray:
    """The sum of x over all workers, on each of them, as float64, in the shape of x.

    Off by less than n / f in each element. f: the scale; None chooses one for each block. elements:
    in a packet. slots: that the vector may use. overflow: what to do with a number beyond 32 bits.
    4 bytes an element to the switch and 4 from it; where scales are chosen, 2 more a packet each
    way, and one more trip of `slots` packets that hold nothing else.
    Raises ValueError for values that are not finite or settings out of bounds, OverflowError from
    `refuse`, and RankFailed where another worker or the switch has raised: for instance because
    the workers' vectors or settings differ.
    """
    at_switch = comm.size - 1
    if comm.rank == at_switch:
        raise ValueError(f"the last rank, {at_switch}, is the switch; only others send through it")
    try:
        elements = whole("elements of a packet must be a whole number", elements)
        slots = whole("slots must be a whole number", slots)
        flat = _checked(x, f, elements, slots, comm.members[comm.rank])
        total = _stream(comm, flat, f, elements, slots, overflow)
    except (ArithmeticError, TypeError, ValueError) as error:
        comm.send(reason(error), at_switch)  # which would wait for this worker
        raise
    return total.reshape(np.shape(x))


def leave_switch(comm: Comm) -> None:
    """Tell the switch that this worker needs it no more."""
    comm.send(None, comm.size - 1)


def _stream(
    comm: Comm, flat: np.ndarray, f: float | None, elements: int, slots: int, overflow: Overflow
) -> np.ndarray:
    """The sum over all workers, (k,): a worker's part, algorithm 2."""
    at_switch = comm.size - 1
    # one block at least, so that even vectors of nothing meet
    blocks = [flat[i : i + elements] for i in range(0, len(flat) or 1, elements)]
    result = np.empty(len(flat))

    def packet(block: int, scale: float) -> Packet:
        values = NOTHING
        if block >= 0:
            values = quantised(blocks[block], scale, comm.members[comm.rank], overflow)
        coming = [exponent(x) for x in blocks[block + slots :][:1]] if f is None else []
        header = Header(len(flat), elements, slots, block, scale)
        return Packet(values, np.array(coming, np.int16), header)

    used = range(min(slots, len(blocks)))
    for slot in used:
        first = packet(slot - slots, 0.0) if f is None else packet(slot, f)
        comm.send(first, at_switch, slot)
    under_way = len(used)
    while under_way:
        message = comm.recv(at_switch)
        values, exponents, header = message.value
        if header.block >= 0:
            start = header.block * elements
            result[start : start + len(values)] = values / header.scale
        block = header.block + slots
        if block < len(blocks):
            scale = block_scale(at_switch, int(exponents[0])) if f is None else f
            comm.send(packet(block, scale), at_switch, message.tag)
        else:
            under_way -= 1
    return result


def switch(comm: Comm, *, overflow: Overflow = refuse) -> None:
    """Add what the workers, all other ranks, send, until all have left: algorithm 1.

    Raises ValueError where the workers' packets don't belong together, what `overflow` raises, and
    RankFailed if a worker says that it has raised an error.
    """
    workers = range(comm.size - 1)
    pool: dict[int, dict[int, Packet]] = {}  # slot -> worker -> what has come
    left: list[int] = []
    while len(left) < len(workers):
        packet, worker, slot = comm.recv()
        if isinstance(packet, str):
            raise RankFailed(comm.members[worker], packet)
        if packet is None:
            left.append(worker)
        else:
            pool.setdefault(slot, {})[worker] = packet
        if left and pool:
            gone = comm.members[left[0]]
            there = comm.members[next(iter(next(iter(pool.values()))))]
            raise ValueError(
                "all workers must send the same vectors through the switch: "
                f"rank {gone} has left, but rank {there} sends more"
            )
        if packet is not None and len(pool[slot]) == len(workers):
            combined = together(pool.pop(slot), comm.members, overflow)
            for worker in workers:
                comm.send(combined, worker, slot)


def together(packets: Mapping[int, Packet], ranks: Sequence[int], overflow: Overflow) -> Packet:
    """The sum of the workers' packets, and the largest of their exponents.

    ranks: what to call the workers.
    """
    (first, one), *others = packets.items()
    for worker, other in others:
        if other.header != one.header:
            raise ValueError(
                "workers must send the same vector's packets through the switch: rank "
                f"{ranks[worker]} sent {_in_words(other.header)}, rank {ranks[first]} "
                f"{_in_words(one.header)}"
            )
    values = np.stack([packet.values for packet in packets.values()])
    total = values.sum(axis=0, dtype=np.int64)

    def wrong(i: int) -> str:
        most = list(packets)[int(np.abs(values[:, i].astype(np.int64)).argmax())]
        scale, number = one.header.scale, int(packets[most].values[i])
        return (
            f"the sum of {len(packets)} workers' values, {total[i] / scale:g} at scale {scale:g}, "
            f"is {total[i]} (the largest is rank {ranks[most]}'s, {number / scale:g})"
        )

    exponents = np.max([packet.exponents for packet in packets.values()], axis=0)
    return Packet(overflow(total, wrong), exponents, one.header)


def _in_words(header: Header) -> str:
    return (
        f"block {header.block} of {header.length} values, by {header.elements} in "
        f"{header.slots} slots, at scale {header.scale:g}"
    )


def _checked(x: Any, f: float | None, elements: int, slots: int, rank: int) -> np.ndarray:
    """x as a vector of float64, (k,). Raises ValueError or TypeError for what can't be sent."""
    if elements < 1 or slots < 1:
        raise ValueError(f"packets need elements and slots, got {elements} and {slots}")
    if f is not None and not 0 < f < np.inf:
        raise ValueError(f"f must be a finite scale above 0, got {f}")
    x = summable(x)
    if x.dtype.kind == "c":
        raise TypeError(f"a switch adds real numbers, got {x.dtype}")
    flat = x.reshape(-1).astype(np.float64)
    finite = np.isfinite(flat)
    if not finite.all():
        i = int(finite.argmin())
        raise ValueError(f"a switch adds finite numbers, got {flat[i]}, element {i} of rank {rank}")
    return flat
