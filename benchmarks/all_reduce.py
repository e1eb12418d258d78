"""All-reduce among the processes of one host, beside gloo and MPI.

A sum of float32 vectors among 2, 4 and 8 ranks, one process and one thread each. Ours is
`comm.all_reduce(x)` as a program calls it, in a whole run on `Processes`, its trace on: x stays as
it is, and each rank gets the sum in a new array, whose memory is used again once it is dropped.
gloo (torch.distributed) puts the sum into the tensor itself; mpi4py into an array that is there
already (`Allreduce(x, y)`). MPI runs as it comes, and again with mpi_yield_when_idle where ranks
outnumber cores, elsewhere with its component for shared memory before the others
(coll_sm_priority); the faster of the two counts at each point.

The seconds of a collective are those of the slowest rank; ratios are the peer's over ours:
`gloo_min` the least of all points, `gloo_mean` their geometric mean, `mpi_min_2` the least at 2
ranks, `mpi_min_4_8` at 4 and 8, and `gloo_4KB_2` that of 4 KB among 2. `mpi_plain_min_2` is
`mpi_min_2` with MPI as it comes.

    python -m benchmarks.all_reduce          all sizes
    python -m benchmarks.all_reduce 1048576  these sizes only, in bytes
"""

from __future__ import annotations

import contextlib
import math
import os
import statistics
import sys
from collections.abc import Callable, Mapping

import numpy as np

from benchmarks.common import alternate, duration, medians, report
from benchmarks.message_peers import BURSTS, Peer, gloo, mpi, slowest
from ddml_kit.cluster import Comm, Processes

KB, MB = 1 << 10, 1 << 20
SIZES = [4 * KB, 32 * KB, 256 * KB, MB, 4 * MB, 16 * MB, 64 * MB]
RANKS = [2, 4, 8]
ROUNDS = 5  # times that each contender has its turn
YIELDING = ["--mca", "mpi_yield_when_idle", "1"]
SHARED_MEMORY = ["--mca", "coll_sm_priority", "100"]
AIMS = {"gloo_min": 3, "gloo_mean": 10, "mpi_min_2": 0.75, "mpi_min_4_8": 1}

Times = Mapping[tuple[int, int], Mapping[str, float]]  # (ranks, bytes) -> contender -> seconds


def main() -> None:
    """Print the table and the line of JSON."""
    sizes = [int(argument) for argument in sys.argv[1:]] or SIZES
    missing: set[str] = set()
    times: dict[tuple[int, int], dict[str, float]] = {}
    for n in RANKS:
        with contextlib.ExitStack() as stack:
            peers = started(stack, n, missing)
            for size in sizes:
                times[n, size] = measure(n, size, peers)
    names = [name for name in ("ours", "gloo", "mpi") if name not in missing]
    rows = [
        [n, name_of(size)]
        + [duration(taken[name]) for name in names]
        + [f"{taken[name] / taken['ours']:.2f}" for name in names[1:]]
        for (n, size), taken in times.items()
    ]
    report(
        "all_reduce",
        ratios(times),
        head=["ranks", "", *names, *(f"{name} / ours" for name in names[1:])],
        rows=rows,
        packages=("numpy", "torch", "mpi4py", "openmpi"),
        notes=[
            *(f"{name} is missing: not installed, so there is no ratio" for name in missing),
            f"medians of {ROUNDS} turns, in each the median of {BURSTS} bursts, slowest rank",
            f"aims: {', '.join(f'{name} >= {aim}' for name, aim in AIMS.items())}",
        ],
    )


def started(stack: contextlib.ExitStack, n: int, missing: set[str]) -> dict[str, Peer]:
    """The crews of n ranks, by name; those that are not there go into `missing`."""
    tuned = YIELDING if n > (os.cpu_count() or 1) else SHARED_MEMORY
    crews: dict[str, Peer | None] = {
        "gloo": gloo(stack, n),
        "mpi": mpi(stack, n),
        "mpi_tuned": mpi(stack, n, tuned),
    }
    missing.update(name for name in ("gloo", "mpi") if crews[name] is None)
    peers = {name: crew for name, crew in crews.items() if crew is not None}
    for peer in peers.values():
        peer("all_reduce", 4 * KB)  # until it is up, so that it doesn't start in another's turn
    return peers


def measure(n: int, size: int, peers: Mapping[str, Peer]) -> dict[str, float]:
    """Seconds of one all-reduce of `size` bytes among n ranks, by contender.

    mpi is the faster of two, mpi_plain the one without settings.
    """
    contenders: dict[str, Callable[[], float]] = {"ours": lambda: ours(n, size)}
    for name, peer in peers.items():
        contenders[name] = lambda peer=peer: peer("all_reduce", size)  # type: ignore[misc]
    taken = medians(alternate(contenders, ROUNDS))
    if "mpi" in taken:
        taken["mpi_plain"] = taken["mpi"]
        taken["mpi"] = min(taken["mpi"], taken.pop("mpi_tuned", math.inf))
    return taken


def ratios(times: Times) -> dict[str, float]:
    """How many times as fast as each peer: the aims, and each point."""
    points = {
        (peer, n, size): taken[peer] / taken["ours"]
        for (n, size), taken in times.items()
        for peer in taken
        if peer != "ours"
    }

    def of(peer: str, *ranks: int) -> list[float]:
        return [ratio for (p, n, _), ratio in points.items() if p == peer and n in ranks]

    named = {
        "gloo_min": of("gloo", *RANKS),
        "mpi_min_2": of("mpi", 2),
        "mpi_min_4_8": of("mpi", 4, 8),
        "mpi_plain_min_2": of("mpi_plain", 2),
    }
    found = {name: min(some) for name, some in named.items() if some}
    if named["gloo_min"]:
        found["gloo_mean"] = statistics.geometric_mean(named["gloo_min"])
    return found | {
        f"{peer}_{name_of(size)}_{n}": ratio
        for (peer, n, size), ratio in points.items()
        if peer != "mpi_plain"
    }


def name_of(size: int) -> str:
    """4KB, 16MB."""
    return f"{size // KB}KB" if size < MB else f"{size // MB}MB"


def ours(n: int, size: int) -> float:
    """Seconds of one all-reduce on processes."""
    return Processes(n).run(all_reduce, size).results[0]


def all_reduce(comm: Comm, size: int) -> float:
    x = np.ones(size // 4, np.float32)
    return slowest(lambda: comm.all_reduce(x), lambda seconds: comm.all_reduce(seconds, "max"))


if __name__ == "__main__":
    main()
