"""What a message costs on a cluster: measured by a ping-pong, fitted, and simulated.

The model is R. W. Hockney's, "The communication challenge for MPP: Intel Paragon and Meiko CS-2",
Parallel Computing 20(3), 1994: a message of m bytes takes alpha + m / beta seconds, with latency
alpha and bandwidth beta, which are measured by sending a message back and forth.

What the model leaves out: that a processor is busy while it sends (the overhead of D. Culler et
al., "LogP: Towards a Realistic Model of Parallel Computation", PPoPP 1993), that messages which fit
in a cache move faster, and that workers share cores and memory when there are many of them. What
that makes of the latency when all of them talk, `crowded` measures.
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


def ping_pong_between(
    comm: Comm, ends: tuple[int, int], sizes: Sequence[int], repeats: int
) -> np.ndarray:
    """What `ping_pong` returns, between two ranks that need not be 0 and 1; zeros on the others."""
    if comm.rank not in ends:
        return np.zeros(len(sizes))
    return ping_pong(comm.group(ends), sizes, repeats)


def crowded(comm: Comm, rounds: int) -> float:
    """Seconds of a round in which every rank sends 8 bytes to its right and gets 8 from its left.

    The mean of so many rounds. Where ranks have a core each it is about the latency of a ping-pong.
    Where n of them share c cores, and one message keeps a core busy for o, it is no less than
    n o / c, since all the cores are wanted at once.
    """
    ball, right, left = np.zeros(8, np.uint8), (comm.rank + 1) % comm.size, comm.rank - 1
    comm.barrier()
    start = comm.now()
    for _ in range(rounds):
        comm.send(ball, right)
        comm.recv(left % comm.size)
    return (comm.now() - start) / rounds


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


def calibrate(
    cluster: Cluster,
    *,
    sizes: Sequence[int] = SIZES,
    repeats: int = 20,
    racks: int = 1,
    fair: bool = False,
) -> Network:
    """A network on which simulated messages take as long as those between two ranks here.

    Ranks 0 and 1 play; with `racks`, hosts of as many ranks each, say, so do then rank 0 and the
    first of the second rack. fair: as in `Network`; messages there go over TCP, say.
    Raises ValueError where no rack would have 2 ranks.
    """
    if cluster.size < 2:
        raise ValueError(f"a ping-pong needs 2 ranks, got a cluster of {cluster.size}")
    if not 1 <= racks < cluster.size:
        raise ValueError(
            f"a ping-pong within a rack needs 2 ranks in one, so {cluster.size} ranks have from 1 "
            f"to {cluster.size - 1} racks, got {racks}"
        )
    near = cluster.run(ping_pong, sizes, repeats).results[0]
    if racks == 1:
        return network(sizes, near, fair=fair)
    across = (0, -(-cluster.size // racks))
    far = cluster.run(ping_pong_between, across, sizes, repeats).results[0]
    return network(sizes, near, far, racks=racks, fair=fair)


def network(
    sizes: Sequence[int],
    near: Sequence[float] | np.ndarray,
    far: Sequence[float] | np.ndarray | None = None,
    *,
    racks: int = 1,
    fair: bool = False,
    least: float = 0.0,
) -> Network:
    """The network whose messages take so long: those within a rack `near`, the others `far`.

    sizes: in bytes; near, far: seconds, as `fit` takes them. least: seconds below which no latency
    is, as found by `crowded`. The latency of `far` is no shorter than that of `near`.
    Raises ValueError where there are racks and no times between them, or the other way round.
    """
    if (far is None) == (racks > 1):
        times = "none" if far is None else "them"
        raise ValueError(
            "more racks than 1 and only they have times between racks, far, "
            f"got {times} for racks = {racks}"
        )
    alpha, beta = fit(sizes, near)
    latency = max(alpha, least)
    if far is None:
        return Network(latency=latency, bandwidth=beta, fair=fair)
    far_alpha, far_beta = fit(sizes, far)
    return Network(
        latency=latency,
        bandwidth=beta,
        racks=racks,
        uplink_latency=max(far_alpha - latency, 0.0),
        uplink_bandwidth=far_beta,
        fair=fair,
    )
