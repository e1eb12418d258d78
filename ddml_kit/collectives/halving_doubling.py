"""All-reduce by recursive halving and doubling.

R. Rabenseifner, "Optimization of Collective Reduction Operations", ICCS 2004: vector halving with
distance doubling, then vector doubling with distance halving. In the first phase two ranks exchange
halves of what they have and add: each keeps half, with neighbours at distance 1 first, then 2, 4,
..., so that the long messages stay near. The second phase is the first one backwards, and copies.
As few steps as a tree, as few bytes as a ring.

Where n is no power of two, p, the largest one below, do this; each of the others gives its vector
to the rank p before it first, and gets the sum afterwards. (Rabenseifner pairs neighbours for
that.) The total of bytes stays 2 (n - 1) S, but those ranks send and receive S whole, so the time
for a long vector grows from 2 S / bandwidth to 4 S / bandwidth.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ddml_kit.cluster.comm import Comm
from ddml_kit.collectives.vectors import cut, received, summable

GivenAway = tuple[int, bool, np.ndarray]  # to whom, whether it was the first half, the half


def halving_doubling(comm: Comm, x: Any) -> np.ndarray:
    """The sum of x over all ranks, on every rank; a new array like x.

    2 ceil(log2 n) steps; 2 (n - 1) S bytes over all ranks. Raises what `ring` raises.
    """
    x = summable(x)
    p = largest_power(comm.size)
    if comm.rank >= p:
        comm.send(x.reshape(-1), comm.rank - p)
        return received(comm, comm.rank - p, x.reshape(-1)).reshape(x.shape)
    total = x.reshape(-1)
    beyond = comm.rank + p
    if beyond < comm.size:
        total = received(comm, beyond, total)
        total += x.reshape(-1)
    total = halve_and_double(comm, total, p)
    if beyond < comm.size:
        comm.send(total, beyond)
    return total.reshape(x.shape)


def halve_and_double(comm: Comm, x: np.ndarray, p: int) -> np.ndarray:
    """The sum of x, (k,), over the first p ranks, a power of two, on each of them; a new array."""
    if p == 1:
        return x.copy()
    part, given_away = halve(comm, x, p)
    for other, upper, theirs in reversed(given_away):
        comm.send(part, other)
        half = received(comm, other, theirs)
        part = np.concatenate([half, part] if upper else [part, half])
    return part


def halve(comm: Comm, x: np.ndarray, p: int) -> tuple[np.ndarray, list[GivenAway]]:
    """This rank's p-th of the sum of x, (k,), over the first p ranks, and what it gave away.

    At distance 1, 2, 4, ...: the rank with that bit in its number keeps the second half of what it
    has, its partner, the rank without it, the first.
    """
    part, given_away = x, []
    for distance in powers(p):
        other, upper = comm.rank ^ distance, bool(comm.rank & distance)
        halves = cut(part, 2)
        mine, theirs = halves[upper], halves[not upper]
        comm.send(theirs, other)
        part = received(comm, other, mine)
        part += mine
        given_away.append((other, upper, theirs))
    return part, given_away


def largest_power(n: int) -> int:
    """The largest power of two up to n."""
    return 1 << (n.bit_length() - 1)


def powers(p: int) -> list[int]:
    """1, 2, 4, ..., p / 2."""
    return [1 << k for k in range(p.bit_length() - 1)]
