"""All-reduce round a ring: reduce-scatter, then all-gather.

P. Patarasuk, X. Yuan, "Bandwidth optimal all-reduce algorithms for clusters of workstations",
JPDC 69(2), 2009. The vector is cut into n chunks. Each chunk goes round the ring once and is added
up at every rank, then round once more and is copied. In every step each rank sends one chunk to its
right and receives one from its left, so all links work all the time, and each rank sends
2 (n - 1) / n of the vector, which is the least that it can be.

Chunks need not be equal: with S bytes in all, rank r sends 2 S - |c(r+1)| - |c(r+2)|. An empty
chunk is a message all the same. Chunk c is added up in the order c, c + 1, ..., around the ring,
the same for all who get it, which is not the order of `Comm.all_reduce`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ddml_kit.cluster.comm import Comm
from ddml_kit.collectives.vectors import cut, received, summable


def ring(comm: Comm, x: Any) -> np.ndarray:
    """The sum of x over all ranks, on every rank; a new array like x.

    2 (n - 1) steps; 2 (n - 1) S bytes over all ranks. Messages have tag 0.
    Raises ValueError where length or dtype differ, and RankFailed with its text on the others.
    """
    x = summable(x)
    chunks = cut(x.reshape(-1), comm.size)
    chunk = add_up(comm, chunks, comm.rank)
    return hand_round(comm, chunk, comm.rank + 1).reshape(x.shape)


def reduce_scatter(comm: Comm, x: Any) -> np.ndarray:
    """Chunk r of the sum of x over all ranks, on rank r, (k,): n - 1 steps, (n - 1) S bytes.

    Raises what `ring` raises, though not on a rank that had all it needs before.
    """
    return add_up(comm, cut(summable(x).reshape(-1), comm.size), comm.rank - 1)


def all_gather(comm: Comm, x: Any) -> np.ndarray:
    """The vectors of all ranks one after the other, (sum of k,), on every rank.

    They may differ in length. n - 1 steps; each rank sends all vectors but its right-hand
    neighbour's. Raises ValueError where dtypes differ, and RankFailed with its text on the others.
    """
    return hand_round(comm, summable(x).reshape(-1), comm.rank)


def add_up(comm: Comm, chunks: list[np.ndarray], first: int) -> np.ndarray:
    """The sum of chunk first + 1, a new array, (k,), once every chunk has gone round.

    first: the chunk that this rank sends first, which is one more than its left neighbour's.
    """
    left, right = neighbours(comm)
    chunk = chunks[first].copy()
    for step in range(comm.size - 1):
        comm.send(chunk, right)
        mine = chunks[(first - step - 1) % comm.size]
        chunk = received(comm, left, mine)
        chunk += mine
    return chunk


def hand_round(comm: Comm, part: np.ndarray, own: int) -> np.ndarray:
    """The n parts, one of each rank, one after the other; this rank's has the number `own`."""
    left, right = neighbours(comm)
    parts = [part] * comm.size
    for step in range(comm.size - 1):
        comm.send(part, right)
        part = received(comm, left, part, any_length=True)
        parts[(own - step - 1) % comm.size] = part
    return np.concatenate(parts)


def neighbours(comm: Comm) -> tuple[int, int]:
    """The ranks to the left, from which a rank receives, and to the right, to which it sends."""
    return (comm.rank - 1) % comm.size, (comm.rank + 1) % comm.size
