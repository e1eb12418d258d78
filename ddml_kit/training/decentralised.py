"""Decentralised SGD: each rank descends on its own shard, and talks to its neighbours only.

D-SGD as in A. Koloskova, S. U. Stich, M. Jaggi, "Decentralized Stochastic Optimization and Gossip
Algorithms with Compressed Communication", ICML 2019, arXiv 1902.00340 (a step, then a mean with the
neighbours; X. Lian et al., NIPS 2017, arXiv 1705.09056, take the gradient before that mean), and
CHOCO-SGD, its algorithm 2, in the form that keeps three vectors whatever the number of neighbours.
Both take any optimiser, whose memory stays on its rank, as in the same authors' "Decentralized Deep
Learning with Arbitrary Communication Compression", ICLR 2020, arXiv 1907.09356.

W is a mixing matrix of topologies.mixing. There is no rank that has the mean of all models: each
has its own, and they differ by what the network has not yet carried. With n ranks, T steps, delta
the spectral gap of W and omega what the codec keeps, CHOCO-SGD's error on strongly convex problems
is O(1 / (n T)) as for SGD with a centre, plus O(1 / (delta^2 omega T)^2) for what W and the codec
cost, which passes.
"""

from __future__ import annotations

import numpy as np

from ddml_kit.cluster.comm import Comm
from ddml_kit.compression import Codec, Sign
from ddml_kit.problems.problem import BatchSize, Problem
from ddml_kit.problems.sharding import Split, contiguous
from ddml_kit.problems.sparse import dense
from ddml_kit.topologies.mixing import check_mixing
from ddml_kit.training.gossip import check_gamma, exchange, spread, weights
from ddml_kit.training.optimisers import Optimiser
from ddml_kit.training.schedules import Schedule, constant


def d_sgd(
    comm: Comm,
    problem: Problem,
    optimiser: Optimiser,
    *,
    W: np.ndarray,
    steps: int,
    batch_size: BatchSize,
    split: Split = contiguous,
    schedule: Schedule = constant,
) -> np.ndarray:
    """A rank's own model, (dim,): SGD on its shard, a mean with its neighbours after each step.

    W: what weight a rank gives to which, (n, n); doubly stochastic, not always symmetric.
    batch_size: of each rank; a number, or a function of the step. split: who holds which samples.
    schedule: what multiplies the optimiser's rate at each step. Snapshots are the rank's own model.
    Raises ValueError for a W that won't do.
    """
    check_mixing(W, size=comm.size, symmetric=False)
    x, w = problem.initial(seed=0), weights(W, comm.rank)
    step = optimiser(x)
    shard = problem.shard(comm.rank, comm.size, split)
    comm.snapshot(x)
    for k, batch in enumerate(shard.batches(comm.stream("batches"), batch_size, steps)):
        gradient = dense(problem.gradient(x, batch), problem.dim)
        comm.work(problem.seconds(batch))
        step(gradient, schedule(k))
        theirs = exchange(comm, x, W)
        x += sum(w[j] * (theirs[j] - x) for j in theirs)
        comm.snapshot(x)
    return x


def choco_sgd(
    comm: Comm,
    problem: Problem,
    optimiser: Optimiser,
    *,
    W: np.ndarray,
    steps: int,
    batch_size: BatchSize,
    codec: Codec = Sign(),  # noqa: B008 - it is frozen
    gamma: float = 0.3,
    split: Split = contiguous,
    schedule: Schedule = constant,
) -> np.ndarray:
    """A rank's own model, (dim,): D-SGD in which only what is new travels, compressed.

    W: what weight a rank gives to which, (n, n); doubly stochastic and symmetric. codec: what makes
    few bytes of a vector. gamma: how far a rank goes towards what it knows of its neighbours, more
    than 0 and at most 1; the less the codec keeps, the smaller. batch_size: of each rank; a number,
    or a function of the step. split: who holds which samples. schedule: what multiplies the
    optimiser's rate at each step. Snapshots are the rank's own model.
    Raises ValueError for a W or gamma that won't do.
    """
    check_mixing(W, size=comm.size)
    check_gamma(gamma)
    x = problem.initial(seed=0)
    x_hat, s = np.zeros_like(x), np.zeros_like(x)  # what all know of x; the weighted sum of theirs
    step = optimiser(x)
    shard = problem.shard(comm.rank, comm.size, split)
    comm.snapshot(x)
    for k, batch in enumerate(shard.batches(comm.stream("batches"), batch_size, steps)):
        gradient = dense(problem.gradient(x, batch), problem.dim)
        comm.work(problem.seconds(batch))
        step(gradient, schedule(k))
        q, weighted = spread(comm, x - x_hat, W, codec)
        x_hat += q
        s += weighted
        x += gamma * (s - x_hat)
        comm.snapshot(x)
    return x
