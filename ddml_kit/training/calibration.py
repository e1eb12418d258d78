"""What a message costs on a cluster: measured by a ping-pong, fitted, and simulated.

The model is R. W. Hockney's, "The communication challenge for MPP: Intel Paragon and Meiko CS-2",
Parallel Computing 20(3), 1994: a message of m bytes takes alpha + m / beta seconds, with latency
alpha and bandwidth beta, which are measured by sending a message back and forth.

What the model leaves out: that a processor is busy while it sends (the overhead of D. Culler et
al., "LogP: Towards a Realistic Model of Parallel Computation", PPoPP 1993), that messages which fit
in a cache move faster, and that workers share cores and memory when there are many of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from scipy.optimize import nnls

from ddml_kit.cluster.comm import Comm
from ddml_kit.cluster.network import Network
from ddml_kit.cluster.run import Cluster

SIZES = (8, 100, 1_000, 10_000, 100_000, 1_000_000, 4_000_000)  # bytes


def ping_pong(comm: Comm, sizes: Sequence[int], repeats: int) -> np.ndarray:
    """Seconds that a message of each size, in bytes, takes one way: medians, (len(sizes),).

    Ranks 0 and 1 throw it back and forth; the time of a round trip is halved, so that one clock
    is enough. The others look on. All sizes take turns, so that what disturbs hits all alike.
    """
    balls = [np.zeros(size, np.uint8) for size in sizes]
    trips = np.zeros((repeats, len(sizes)))
    for repeat in range(repeats):
        for k, ball in enumerate(balls):
            start = comm.now()
            if comm.rank == 0:
                comm.send(ball, 1)
                comm.recv(1)
            elif comm.rank == 1:
                comm.send(comm.recv(0).value, 0)
            trips[repeat, k] = comm.now() - start
    return np.median(trips, axis=0) / 2


def fit(sizes: Sequence[int], seconds: Sequence[float] | np.ndarray) -> tuple[float, float]:
    """Latency alpha (s) and bandwidth beta (bytes/s) that fit the times of messages best.

    Least squares of the relative errors (alpha + m / beta) / t - 1, or the longest message would
    decide alone. Neither is negative, however noisy the times; beta is infinite where longer
    messages take no longer.
    """
    m, t = np.asarray(sizes, float), np.asarray(seconds, float)
    if m.shape != t.shape or len(np.unique(m)) < 2:
        raise ValueError(
            f"fit needs a time for each of two or more sizes, got {len(t)} times for {list(sizes)}"
        )
    if not (t > 0).all():
        raise ValueError(f"fit needs times above 0 seconds, got {t.tolist()}")
    largest = m.max()  # of the same magnitude as 1, so that the columns are
    alpha, slope = nnls(np.stack([1 / t, m / largest / t], axis=1), np.ones(len(t)))[0]
    return float(alpha), float(largest / slope) if slope > 0 else math.inf


def timed(comm: Comm, program: Callable[..., Any], repeats: int, *args: Any) -> np.ndarray:
    """Seconds from a barrier to the end of program(comm, *args) on this rank, (repeats,).

    A repeat lasts as long as its slowest rank: np.max(run.results, axis=0).
    """
    seconds = []
    for _ in range(repeats):
        comm.barrier()
        start = comm.now()
        program(comm, *args)
        seconds.append(comm.now() - start)
    return np.array(seconds)


def calibrate(cluster: Cluster, *, sizes: Sequence[int] = SIZES, repeats: int = 20) -> Network:
    """A network on which simulated messages take as long as those between ranks 0 and 1 here."""
    if cluster.size < 2:
        raise ValueError(f"a ping-pong needs 2 ranks, got a cluster of {cluster.size}")
    alpha, beta = fit(sizes, cluster.run(ping_pong, sizes, repeats).results[0])
    return Network(latency=alpha, bandwidth=beta)
