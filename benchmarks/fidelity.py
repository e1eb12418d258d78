"""How far simulated times can be trusted: predicted, and measured between two hosts.

Two hosts (hosts.py) are joined by a cable of 100 Mbit/s, and torchrun starts 1 to 4 ranks on each.
Ping-pongs within a host and between them, and rounds in which all ranks talk at once, say what
messages cost. A `Simulated` cluster with that network, of two racks, predicts how long each
all-reduce and a step of a parameter server will last, and torchrun's ranks measure it: the same
programs on both sides, vectors of float32, one thread a rank.

    python -m benchmarks.fidelity                 4 KB to 4 MB
    python -m benchmarks.fidelity 65536 1048576   these sizes only, in bytes

A time is from a barrier to the end of the slowest rank, the median of repeats, in which sizes and
programs take turns. An error is predicted / measured - 1. `median_error_10pc` is 10 % over the
median of errors, `nine_in_ten_25pc` 25 % over their ninth decile, both from 64 KB up;
`same_winner` is the share of pairs of programs, of one size and number of ranks and more than 20 %
apart, of which the faster one was predicted to be the faster one.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from itertools import permutations
from typing import Any, NamedTuple

import numpy as np

from benchmarks.common import duration, report
from benchmarks.hosts import ADDRESSES, NoHosts, torchrun, two_hosts
from ddml_kit.cluster import Comm, Network, Run, Simulated, Torchrun
from ddml_kit.cluster.run import human_bytes
from ddml_kit.collectives import halving_doubling, hierarchical, master_worker, ring, tree
from ddml_kit.training.calibration import crowded, network, ping_pong_between
from ddml_kit.training.optimisers import sgd, undamped
from ddml_kit.training.parameter_server import Server, mean
from ddml_kit.training.parameters import Store
from ddml_kit.training.waiting import BSP

KB, MB = 1 << 10, 1 << 20
SIZES = [4 * KB, 16 * KB, 64 * KB, 256 * KB, MB, 4 * MB]
CLAIMED = 64 * KB  # from here up
RATE = 12.5e6  # bytes a second
RANKS = [1, 2, 3, 4]  # on each host
REPEATS = 7
CLOCKS = 2  # of the parameter server
ROUNDS = 100  # of `crowded`, each time
APART = 1.2  # times as long, at least, as the faster of two whose order counts
PATIENCE = 540.0  # seconds until a launch counts as stuck


def summed(algorithm: Callable[[Comm, np.ndarray], np.ndarray], comm: Comm, x: np.ndarray) -> float:
    """Seconds until this rank has the sum."""
    start = comm.now()
    algorithm(comm, x)
    return comm.now() - start


def pushed_and_pulled(comm: Comm, x: np.ndarray) -> float:
    """Seconds of a worker's clock, 0 on the server: push a gradient, pull what all have made."""
    workers = comm.size - 1
    if comm.rank == workers:
        Server(comm, x.copy(), sgd(1.0), BSP(), undamped, workers, set(), mean).serve(None)
        return 0.0
    store = Store(comm, [workers], len(x), x.dtype)
    start = comm.now()
    for clock in range(CLOCKS):
        store.push(clock, x)
        store.request(clock + 1)
        store.pull()
    seconds = comm.now() - start
    store.leave()
    return seconds / CLOCKS


PROGRAMS: dict[str, Callable[[Comm, np.ndarray], float]] = {
    "ring": partial(summed, ring),
    "tree": partial(summed, tree),
    "halving-doubling": partial(summed, halving_doubling),
    "hierarchical": partial(summed, partial(hierarchical, racks=2)),
    "master and workers": partial(summed, master_worker),
    "parameter server": pushed_and_pulled,
}


def steps(comm: Comm, sizes: Sequence[int]) -> np.ndarray:
    """Seconds of each program on this rank, for vectors of so many bytes, (sizes, programs)."""
    seconds = np.zeros((len(sizes), len(PROGRAMS)))
    for i, size in enumerate(sizes):
        x = np.ones(size // 4, np.float32)
        for k, program in enumerate(PROGRAMS.values()):
            comm.barrier()
            seconds[i, k] = program(comm, x)
    return seconds


def measure(comm: Comm, sizes: Sequence[int], repeats: int) -> dict[str, np.ndarray]:
    """Seconds: `within` a host and `between` hosts, of a message of each size, (sizes,); of a
    round when all are `crowded`, (repeats,); and of the `steps`, (repeats, sizes, programs)."""
    steps(comm, sizes[:1])  # so that all connections are warm
    pairs = {"within": (0, 1), "between": (0, comm.size // 2)}
    taken: dict[str, list[Any]] = {name: [] for name in (*pairs, "crowded", "steps")}
    for _ in range(repeats):
        for name, ends in pairs.items():
            taken[name].append(ping_pong_between(comm, ends, sizes, 3))
            comm.barrier()
        taken["crowded"].append(crowded(comm, ROUNDS))
        taken["steps"].append(steps(comm, sizes))
    return {name: np.array(values) for name, values in taken.items()}


class Point(NamedTuple):
    """A program on so many ranks, with vectors of so many bytes: seconds it took, and should."""

    ranks: int
    program: str
    size: int
    measured: float
    predicted: float

    @property
    def error(self) -> float:
        """How much longer it should have taken, as a share of what it took."""
        return self.predicted / self.measured - 1


def calibrated(run: Run, sizes: Sequence[int]) -> Network:
    """The two hosts as this run found them, as a network."""
    first = run.results[0]
    least = np.median(np.max([found["crowded"] for found in run.results], axis=0))
    near, far = (np.median(first[name], axis=0) for name in ("within", "between"))
    return network(sizes, near, far, racks=2, fair=True, least=float(least))


def points(run: Run, hosts: Network, sizes: Sequence[int]) -> list[Point]:
    """Each program and size of a run, beside what `Simulated` says of them."""
    measured = np.median(np.max([found["steps"] for found in run.results], axis=0), axis=0)
    predicted = np.max(Simulated(run.size, network=hosts).run(steps, sizes).results, axis=0)
    return [
        Point(run.size, name, size, measured[i, k], predicted[i, k])
        for k, name in enumerate(PROGRAMS)
        for i, size in enumerate(sizes)
    ]


def errors(points: Sequence[Point]) -> tuple[float, float]:
    """The median and the ninth decile of the errors from CLAIMED bytes up, as shares."""
    sizes = [abs(point.error) for point in points if point.size >= CLAIMED]
    median, ninth = np.quantile(sizes, [0.5, 0.9])
    return float(median), float(ninth)


def winners(points: Sequence[Point]) -> tuple[int, int]:
    """Of how many pairs of programs the faster one was predicted, and how many pairs there are.

    Pairs of one number of ranks and one size, from CLAIMED bytes up, of which the slower one takes
    more than APART times as long.
    """
    pairs = [
        (a, b)
        for a, b in permutations(points, 2)
        if (a.ranks, a.size) == (b.ranks, b.size)
        and a.size >= CLAIMED
        and b.measured > APART * a.measured
    ]
    return sum(b.predicted > a.predicted for a, b in pairs), len(pairs)


def measured(sizes: Sequence[int]) -> list[Run]:
    """A run of `measure` with each number of ranks a host. Raises NoHosts."""
    runs = []
    with two_hosts(RATE) as hosts, tempfile.TemporaryDirectory() as folder:
        for ranks in RANKS:
            path = f"{folder}/{ranks}.npz"
            arguments = ["-m", "benchmarks.fidelity", "--to", path, *map(str, sizes)]
            torchrun(hosts, ranks, arguments, timeout=PATIENCE)
            runs.append(Run.load(path))
    return runs


def main(sizes: Sequence[int]) -> None:
    """Print the table and the line of JSON."""
    try:
        runs = measured(sizes)
    except NoHosts as why:
        report("fidelity", {}, notes=[f"not measured: {why}"])
        return
    networks = [calibrated(run, sizes) for run in runs]
    both = list(zip(runs, networks, strict=True))
    found = [point for run, hosts in both for point in points(run, hosts, sizes)]
    in_order = [
        point for run, hosts in both for point in points(run, replace(hosts, fair=False), sizes)
    ]
    median, ninth = errors(found)
    right, pairs = winners(found)
    ratios = {"median_error_10pc": 0.10 / median, "nine_in_ten_25pc": 0.25 / ninth}
    report(
        "fidelity",
        ratios | ({"same_winner": right / pairs} if pairs else {}),
        head=["program", "ranks", *map(in_words, sizes)],
        rows=[
            [name, run.size, *(cell(p) for p in found if (p.ranks, p.program) == (run.size, name))]
            for name in PROGRAMS
            for run in runs
        ],
        notes=[
            "measured, and by how much the prediction is longer or shorter",
            *(in_figures(run.size, hosts) for run, hosts in both),
            f"from {in_words(CLAIMED)} up, the median of the errors is {median:.1%}, their ninth "
            f"decile {ninth:.1%}",
            "if links served messages in order: {:.1%}, {:.1%}".format(*errors(in_order)),
            f"of {pairs} pairs of programs that differ by more than {APART - 1:.0%}, the faster "
            f"one was predicted in {right}",
        ],
    )


def in_figures(ranks: int, hosts: Network) -> str:
    """What the ping-pongs and the crowd of a run say of the hosts."""
    far = hosts.latency + hosts.uplink_latency
    text = (
        f"{ranks} ranks: {duration(far)} and {human_bytes(hosts.uplink_bandwidth)}/s between hosts"
    )
    if ranks == len(ADDRESSES):
        return text
    return f"{text}, {duration(hosts.latency)} and {human_bytes(hosts.bandwidth)}/s within one"


def cell(point: Point) -> str:
    """21.8 ms +3%."""
    return f"{duration(point.measured)} {point.error:+.0%}"


def in_words(size: int) -> str:
    """64 KB, 4 MB."""
    return f"{size // KB} KB" if size < MB else f"{size // MB} MB"


def be_a_rank(path: str, sizes: Sequence[int]) -> None:
    """What a process that torchrun has started does; the first one writes the run down."""
    run = Torchrun().run(measure, sizes, REPEATS)
    if os.environ["RANK"] == "0":
        run.save(path)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--to"]:
        be_a_rank(sys.argv[2], [int(size) for size in sys.argv[3:]])
    else:
        sizes = [int(size) for size in sys.argv[1:]] or SIZES
        if len(sizes) < 2 or max(sizes) < CLAIMED:
            sys.exit(f"fidelity needs two sizes or more, one of them from {CLAIMED} bytes up")
        main(sizes)
