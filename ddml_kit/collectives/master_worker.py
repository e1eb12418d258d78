"""All-reduce through one rank: the workers send to a master, who adds up and sends back.

The plain way, as in M. Zinkevich, M. Weimer, A. Smola, L. Li, "Parallelized Stochastic Gradient
Descent", NIPS 2010, where a master averages. Two steps, but the master's link carries every vector,
one after the other: n - 1 in, n - 1 out.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ddml_kit.cluster.comm import Comm
from ddml_kit.collectives.vectors import received, summable


def master_worker(comm: Comm, x: Any) -> np.ndarray:
    """The sum of x over all ranks, on every rank; a new array like x.

    Rank 0 is the master and adds in the order of ranks, so the bits are those of `Comm.all_reduce`.
    2 steps; 2 (n - 1) S bytes. Raises what `ring` raises.
    """
    x = summable(x)
    flat = x.reshape(-1)
    if comm.rank > 0:
        comm.send(flat, 0)
        return received(comm, 0, flat).reshape(x.shape)
    total = flat.copy()
    for worker in range(1, comm.size):
        total += received(comm, worker, flat)
    for worker in range(1, comm.size):
        comm.send(total, worker)
    return total.reshape(x.shape)
