"""Sums and broadcasts made of single messages: what a collective does, by hand.

Sources: the binomial tree and the ring of R. Thakur, R. Rabenseifner, W. Gropp, "Optimization of
Collective Communication Operations in MPICH", IJHPCA 19(1), 2005, section 4; the sum by parts is
that of P. Patarasuk, X. Yuan, "Bandwidth optimal all-reduce algorithms for clusters of
workstations", JPDC 69(2), 2009. With latency alpha and bandwidth beta, n ranks and m bytes:

    total      2 (n - 1) (alpha + m / beta)                  2 (n - 1) messages of m bytes
    tree_total 2 ceil(log2 n) (alpha + m / beta) at most     2 (n - 1) messages of m bytes
    broadcast  ceil(log2 n) (alpha + m / beta) at most       n - 1 messages of m bytes
    ring_sum   2 (n - 1) (alpha + m / (n beta))              2 n (n - 1) messages of m / n bytes

exactly so in virtual time, the trees where n is a power of two, the ring where n divides the
vector.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ddml_kit.cluster.comm import Comm


def total(comm: Comm, x: Any) -> Any:
    """The sum of x over all ranks, on every rank: along the line of ranks, and back.

    No sum of n ranks that all come to know takes fewer messages.
    """
    before, after = comm.rank - 1, comm.rank + 1
    if before >= 0:
        x = comm.recv(before).value + x
    if after < comm.size:
        comm.send(x, after)  # what has been added up so far
        x = comm.recv(after).value  # the total
    if before >= 0:
        comm.send(x, before)
    return x


def tree_total(comm: Comm, x: Any) -> Any:
    """The same sum up a binomial tree and down again: as many messages, but side by side."""
    reach = 1
    while comm.rank % (2 * reach) == 0 and comm.rank + reach < comm.size:
        x = x + comm.recv(comm.rank + reach).value
        reach *= 2
    if comm.rank > 0:
        comm.send(x, comm.rank - _lowest_bit(comm.rank))
    return broadcast(comm, x)


def broadcast(comm: Comm, value: Any) -> Any:
    """Rank 0's value, on every rank: down a binomial tree, the largest branches first.

    In each round every rank that has the value sends it to one that has not.
    """
    reach = 1 << (comm.size - 1).bit_length()
    if comm.rank > 0:
        reach = _lowest_bit(comm.rank)
        value = comm.recv(comm.rank - reach).value
    while reach > 1:
        reach //= 2
        if comm.rank + reach < comm.size:
            comm.send(value, comm.rank + reach)
    return value


def ring_sum(comm: Comm, x: np.ndarray) -> np.ndarray:
    """The sum of the vectors x, (d,), over all ranks, on every rank: by parts, round a ring.

    Each part goes round once and is added up, then round once more and is copied. Parts are added
    in different orders, so the bits are not those of `Comm.all_reduce`.
    """
    left, right = (comm.rank - 1) % comm.size, (comm.rank + 1) % comm.size
    result = np.array(x)
    parts = np.array_split(result, comm.size)  # views of it
    for step in range(comm.size - 1):
        comm.send(parts[(comm.rank - step) % comm.size], right)
        parts[(comm.rank - step - 1) % comm.size] += comm.recv(left).value
    for step in range(comm.size - 1):
        comm.send(parts[(comm.rank - step + 1) % comm.size], right)
        parts[(comm.rank - step) % comm.size][:] = comm.recv(left).value
    return result


def _lowest_bit(rank: int) -> int:
    """The lowest power of two in a rank above 0; its parent in the tree is that much below it."""
    return rank & -rank
