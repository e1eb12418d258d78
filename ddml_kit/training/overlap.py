"""Data-parallel training in which gradients travel while others are being computed.

The buckets of S. Li et al., "PyTorch Distributed: Experiences on Accelerating Data Parallel
Training", VLDB 2020, arXiv 2006.15704, section 3.2.3. The backward pass finds the gradients of the
last layer first. As soon as a bucket is full of them it is averaged over the ranks, while the
backward pass goes on; so communication hides behind computing, but for the last bucket's. A bucket
that holds everything would begin too late, one for every layer would pay many latencies.

Each bucket is averaged in a strand of its own, on a communicator of its own. The model changes when
all are back, so the result is that of data_parallel: with the reducer `mean` to the bit.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from ddml_kit.cluster.comm import Comm
from ddml_kit.problems.problem import BatchSize, Piece, Problem
from ddml_kit.training.optimisers import Optimiser
from ddml_kit.training.reducers import Reduce, Reducer, mean
from ddml_kit.training.schedules import Schedule, constant

Bucket = tuple[slice, np.ndarray]  # where it lies in the vector, and its part of the gradient


def overlapped(
    comm: Comm,
    problem: Problem,
    optimiser: Optimiser,
    *,
    steps: int,
    batch_size: BatchSize,
    bucket_bytes: float,
    overlap: bool = True,
    reducer: Reducer = mean,
    schedule: Schedule = constant,
) -> np.ndarray:
    """The model after so many steps, (dim,), the same on every rank.

    bucket_bytes: a bucket is full when it has so many or more. overlap: False to wait with all
    buckets until the last gradient is there. reducer: one is made for each bucket. The others: as
    in `data_parallel`. Raises ValueError unless bucket_bytes > 0.
    """
    if not bucket_bytes > 0:
        raise ValueError(f"bucket_bytes must be more than 0, got {bucket_bytes}")
    w = problem.initial(seed=0)
    step, mean_gradient = optimiser(w), np.empty_like(w)
    reduces: list[Reduce] = []
    shard = problem.shard(comm.rank, comm.size)
    comm.snapshot(w)
    for k, batch in enumerate(shard.batches(comm.stream("batches"), batch_size, steps)):
        filled: Iterable[Bucket] = buckets(comm, problem.pieces(w, batch), bucket_bytes)
        travelling = []
        for i, (where, gradient) in enumerate(filled if overlap else list(filled)):
            if i == len(reduces):
                reduces.append(reducer(comm.group(range(comm.size))))
            travelling.append((where, comm.start(reduces[i], gradient)))
        for where, reduced in travelling:
            mean_gradient[where] = reduced.wait()
        step(mean_gradient, schedule(k))
        comm.snapshot(w)
    return w


def buckets(comm: Comm, pieces: Iterable[Piece], nbytes: float) -> Iterator[Bucket]:
    """The pieces of a gradient, several together, as soon as they are so many bytes or the last.

    The rank works for each piece.
    """
    gathered: list[Piece] = []
    for piece in pieces:
        comm.work(piece.seconds)
        gathered.insert(0, piece)
        if piece.where.start == 0 or sum(p.gradient.nbytes for p in gathered) >= nbytes:
            where = slice(piece.where.start, gathered[-1].where.stop)
            yield where, np.concatenate([p.gradient for p in gathered])
            gathered.clear()
