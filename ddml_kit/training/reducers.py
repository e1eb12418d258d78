"""How ranks make one gradient of theirs: a reducer.

A reducer is made once on each rank, so that what it remembers is the rank's own, and is then called
with each gradient: `reduce = reducer(comm)`, `reduce(gradient)`. Every rank gets the same vector.
Inside it has the shape of a communication hook of PyTorch's DistributedDataParallel
(torch.distributed.algorithms.ddp_comm_hooks).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ddml_kit.cluster.comm import Comm

Reduce = Callable[[np.ndarray], np.ndarray]
Reducer = Callable[[Comm], Reduce]


def mean(comm: Comm) -> Reduce:
    """The mean, folded in rank order by the cluster itself: the same bits on every cluster."""
    return lambda gradient: comm.all_reduce(gradient, "mean")


def by(all_reduce: Callable[[Comm, np.ndarray], np.ndarray]) -> Reducer:
    """The mean, by an algorithm of ddml_kit.collectives: by(ring), by(partial(f, racks=4)).

    Ranks add in the algorithm's order, so the bits are not those of `mean`, but the same on every
    rank and every cluster.
    """
    return lambda comm: lambda gradient: all_reduce(comm, gradient) / comm.size
