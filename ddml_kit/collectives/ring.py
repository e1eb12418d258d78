"""All-reduce round a ring: reduce-scatter, then all-gather.

P. Patarasuk, X. Yuan, "Bandwidth optimal all-reduce algorithms for clusters of workstations",
JPDC 69(2), 2009, section 4. The vector is cut into n chunks. Each chunk goes round the ring once
and is added up at every rank, then round once more and is copied. In every step each rank sends
one chunk to its right and receives one from its left, so all links work all the time, and each rank
sends 2 (n - 1) / n of the vector, which is the least that it can be.

Chunks need not be equal: with S bytes in all, rank r sends 2 S - |c(r+1)| - |c(r+2)|. An empty
chunk is a message all the same. Chunk c is added up in the order c, c + 1, ..., around the ring,
the same for all who get it, which is not the order of `Comm.all_reduce`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ddml_kit.cluster.comm import Comm
from ddml_kit.collectives.vectors import cut, own_copy, received, unlike


def ring(comm: Comm, x: Any) -> np.ndarray:
    """The sum of x over all ranks, on every rank; a new array like x.

    2 (n - 1) steps; 2 (n - 1) S bytes over all ranks. Messages have tag 0.
    Raises ValueError, here or as RankFailed on the others, if length or dtype differ.
    """
    total = own_copy(x)
    chunks = cut(total.reshape(-1), comm.size)
    scatter_reduce(comm, chunks, comm.rank)
    left, right = neighbours(comm)
    for step in range(comm.size - 1):
        comm.send(chunks[(comm.rank + 1 - step) % comm.size], right)
        chunk = chunks[(comm.rank - step) % comm.size]
        chunk[:] = received(comm, left, chunk)
    return total


def reduce_scatter(comm: Comm, x: Any) -> np.ndarray:
    """Chunk r of the sum of x over all ranks, on rank r, (k,): n - 1 steps, (n - 1) S bytes.

    Raises what `ring` raises, but for a chunk that fits by chance where lengths differ.
    """
    chunks = cut(own_copy(x).reshape(-1), comm.size)
    scatter_reduce(comm, chunks, comm.rank - 1)
    return chunks[comm.rank].copy()


def all_gather(comm: Comm, chunk: Any) -> np.ndarray:
    """The vectors of all ranks one after the other, on every rank; they may differ in length.

    n - 1 steps; each rank sends all but its right-hand neighbour's: (n - 1) S bytes in all.
    Raises ValueError, here or as RankFailed on the others, if dtypes differ.
    """
    parts = [own_copy(chunk).reshape(-1)] * comm.size
    left, right = neighbours(comm)
    for step in range(comm.size - 1):
        comm.send(parts[(comm.rank - step) % comm.size], right)
        part = comm.recv(left).value
        if type(part) is not np.ndarray or part.dtype != parts[comm.rank].dtype:
            raise unlike(comm, left, part, parts[comm.rank])
        parts[(comm.rank - step - 1) % comm.size] = part
    return np.concatenate(parts)


def scatter_reduce(comm: Comm, chunks: list[np.ndarray], first: int) -> None:
    """Have every chunk go round and be added up, in place; this rank sends chunk `first` first.

    Afterwards chunk first + 1 is the sum.
    """
    left, right = neighbours(comm)
    for step in range(comm.size - 1):
        comm.send(chunks[(first - step) % comm.size], right)
        chunk = chunks[(first - step - 1) % comm.size]
        chunk += received(comm, left, chunk)


def neighbours(comm: Comm) -> tuple[int, int]:
    """The ranks to the left, from which a rank receives, and to the right, to which it sends."""
    return (comm.rank - 1) % comm.size, (comm.rank + 1) % comm.size
