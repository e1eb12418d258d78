"""Gossip: every rank talks to its neighbours only, and in the end all have the mean.

Exact gossip is from L. Xiao, S. Boyd, "Fast linear iterations for distributed averaging", Systems &
Control Letters 53(1), 2004. The others send fewer bytes: A. Koloskova, S. U. Stich, M. Jaggi,
"Decentralized Stochastic Optimization and Gossip Algorithms with Compressed Communication", ICML
2019, arXiv 1902.00340, section 3: the schemes (E-G), (Q1-G), (Q2-G), and algorithm 1, CHOCO-Gossip.

W is a mixing matrix of topologies.mixing, (n, n): W[i, j] is the weight that rank i gives to rank
j, 0 where there is no link. Here, as in that paper, delta is the spectral gap of W, and omega what
a codec keeps. A step of exact gossip leaves at most (1 - delta)^2 of the squared distance from the
mean where W is symmetric, and in the long run where it isn't. One of CHOCO-Gossip leaves at most
1 - delta^2 omega / 82 of that distance and of what the neighbours don't yet know, both together,
with the gamma of theorem 2 (topologies.choco_gamma). The naive schemes stall where the codec's
noise is as large as the error. topologies.consensus has all of them as matrices.

x is a rank's own vector, (d,), or (n, d), of which it takes its row and looks at no other. Every
message goes from a rank to a neighbour; messages have tag 0. Snapshots are the vectors of each
step, beginning with x.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ddml_kit.cluster.checks import whole
from ddml_kit.cluster.comm import Comm
from ddml_kit.compression import Codec, Payload
from ddml_kit.topologies.mixing import check_mixing

Difference = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]


def gossip(
    comm: Comm, x: np.ndarray, W: np.ndarray, *, steps: int, gamma: float = 1.0
) -> np.ndarray:
    """The rank's vector after so many steps of exact gossip, (d,): the mean, nearly.

    gamma: how far it goes towards its neighbours, more than 0 and at most 1. W need not be
    symmetric. Raises ValueError for an x, W or gamma that won't do, FloatingPointError for an x
    that is not finite, which would spread to all.
    """
    x = own(comm, x, W, steps, gamma, symmetric=False)
    w = weights(W, comm.rank)
    comm.snapshot(x)
    for _ in range(steps):
        theirs = exchange(comm, x, W)
        x = x + gamma * sum(w[j] * (theirs[j] - x) for j in theirs)
        comm.snapshot(x)
    return x


def q1(x: np.ndarray, sent: np.ndarray, received: np.ndarray) -> np.ndarray:
    """(Q1-G): Q(x_j) - x_i. What it adds at i it does not take away at j, so the mean drifts."""
    return received - x


def q2(x: np.ndarray, sent: np.ndarray, received: np.ndarray) -> np.ndarray:
    """(Q2-G): Q(x_j) - Q(x_i). The mean stays; the codec's noise, which is as large as x, too."""
    return received - sent


def naive_gossip(
    comm: Comm,
    x: np.ndarray,
    W: np.ndarray,
    *,
    steps: int,
    codec: Codec,
    difference: Difference = q2,
    gamma: float = 1.0,
) -> np.ndarray:
    """The rank's vector after so many steps of gossip with compressed vectors, (d,).

    difference: q1 or q2, which says how far j is from i. Raises what `gossip` raises.
    """
    x = own(comm, x, W, steps, gamma)
    i, w = comm.rank, weights(W, comm.rank)
    comm.snapshot(x)
    for _ in range(steps):
        payload = codec.encode(x, comm.stream("codec"))
        q = {i: payload, **exchange(comm, payload, W)}
        Q = {j: codec.decode(q[j]).astype(x.dtype) for j in q}
        x = x + gamma * sum(w[j] * difference(x, Q[i], Q[j]) for j in Q)
        comm.snapshot(x)
    return x


def choco_gossip(
    comm: Comm, x: np.ndarray, W: np.ndarray, *, steps: int, gamma: float, codec: Codec
) -> np.ndarray:
    """The rank's vector after so many steps of algorithm 1, (d,).

    x_hat[j] is what j and all its neighbours know of x_j. What is compressed is the difference to
    it, which shrinks, and the codec's noise with it. gamma: more than 0 and at most 1;
    topologies.choco_gamma is safe, a larger one may be better. Raises what `gossip` raises.
    """
    x = own(comm, x, W, steps, gamma)
    x_hat = {j: np.zeros_like(x) for j in weights(W, comm.rank)}
    comm.snapshot(x)
    for _ in range(steps):
        x = choco_step(comm, x, x_hat, W, gamma, codec)
        comm.snapshot(x)
    return x


def choco_step(
    comm: Comm,
    x: np.ndarray,
    x_hat: dict[int, np.ndarray],
    W: np.ndarray,
    gamma: float,
    codec: Codec,
) -> np.ndarray:
    """The rank's vector after a step, a new array, (d,).

    x_hat: what is known of its own vector and of its neighbours', by rank; it is brought up to
    date.
    """
    i, w = comm.rank, weights(W, comm.rank)
    payload = codec.encode(x - x_hat[i], comm.stream("codec"))
    q = {i: payload, **exchange(comm, payload, W)}
    for j in q:
        x_hat[j] += codec.decode(q[j])
    return x + gamma * sum(w[j] * (x_hat[j] - x_hat[i]) for j in q)


def choco_gossip_lean(
    comm: Comm, x: np.ndarray, W: np.ndarray, *, steps: int, gamma: float, codec: Codec
) -> np.ndarray:
    """The same with three vectors on a rank, however many neighbours it has, (d,).

    The paper's memory-efficient form: s is the weighted sum of all x_hat, and nothing else is asked
    of them. Raises what `gossip` raises.
    """
    x = own(comm, x, W, steps, gamma)
    x_hat, s = np.zeros_like(x), np.zeros_like(x)
    comm.snapshot(x)
    for _ in range(steps):
        q, weighted = spread(comm, x - x_hat, W, codec)
        x_hat += q
        s += weighted
        x = x + gamma * (s - x_hat)
        comm.snapshot(x)
    return x


def spread(comm: Comm, x: np.ndarray, W: np.ndarray, codec: Codec) -> tuple[np.ndarray, np.ndarray]:
    """Q(x), and the weighted sum of the Q(x) of this rank and its neighbours, both (d,)."""
    i, w = comm.rank, weights(W, comm.rank)
    payload = codec.encode(x, comm.stream("codec"))
    q = {i: payload, **exchange(comm, payload, W)}
    Q = {j: codec.decode(q[j]).astype(x.dtype) for j in q}
    return Q[i], np.add.reduce([w[j] * Q[j] for j in q])


def exchange(comm: Comm, value: Any, W: np.ndarray) -> dict[int, Any]:
    """The neighbours' values, by rank, rising; each neighbour gets this rank's.

    Raises ValueError if a neighbour's vector, or its payload's, is not as long as this rank's.
    """
    i = comm.rank
    for j in np.flatnonzero(W[:, i]).tolist():
        if j != i:
            comm.send(value, j)
    theirs = {j: comm.recv(j).value for j in np.flatnonzero(W[i]).tolist() if j != i}
    for j in theirs:
        if length(theirs[j]) != length(value):
            raise ValueError(
                f"gossip needs vectors of one length, got {length(value)} values of rank {i} and "
                f"{length(theirs[j])} of rank {j}"
            )
    return theirs


def length(value: np.ndarray | Payload) -> int:
    """Of a vector, or of the one that a payload stands for."""
    return value.length if isinstance(value, Payload) else len(value)


def weights(W: np.ndarray, i: int) -> dict[int, float]:
    """What rank i gives to itself and to each neighbour, by rank; no others are in it.

    W: (n, n). The weights are W[i, j], 0 for itself if it gives itself nothing.
    """
    return {j: float(W[i, j]) for j in range(len(W)) if W[i, j] or j == i}


def own(
    comm: Comm, x: Any, W: np.ndarray, steps: int, gamma: float, symmetric: bool = True
) -> np.ndarray:
    """This rank's vector, a new array, (d,). Raises ValueError for what gossip can't do."""
    check_mixing(W, size=comm.size, symmetric=symmetric)
    check_gamma(gamma)
    x = np.asarray(x)
    if x.dtype not in (np.float32, np.float64):
        raise TypeError(f"gossip needs vectors of float32 or float64, got {x.dtype}")
    if x.ndim not in (1, 2) or (x.ndim == 2 and len(x) != comm.size):
        raise ValueError(
            f"gossip needs x (d,), or a row for each of {comm.size} ranks, (n, d), got {x.shape}"
        )
    check_steps(steps)
    x = (x if x.ndim == 1 else x[comm.rank]).copy()
    finite = np.isfinite(x)
    if not finite.all():
        raise FloatingPointError(
            f"gossip needs finite vectors, got {finite.size - np.count_nonzero(finite)} of "
            f"{finite.size} values of rank {comm.rank} that are NaN or infinite"
        )
    return x


def check_steps(steps: int) -> None:
    """Raises ValueError for a negative number, TypeError for what is no whole one."""
    if whole("steps must be a whole number", steps) < 0:
        raise ValueError(f"steps must be 0 or more, got {steps}")


def check_gamma(gamma: float) -> None:
    """Raises ValueError unless 0 < gamma <= 1."""
    if not 0 < gamma <= 1:
        raise ValueError(f"gamma must be more than 0 and at most 1, got {gamma}")
