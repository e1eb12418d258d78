"""Workers with torch up, run and gone: forked from a warm server, beside torch's own spawn.

    python -m benchmarks.launch

Both sides run the same trivial program, which imports torch, on 4 and on 8 workers, and have torch
loaded in the parent: `Processes(n).run(program)` beside `torch.multiprocessing.spawn(program,
nprocs=n)`, from the call to its return, when all workers are gone. Each spawned worker imports
torch anew. What the server costs when it is started for the first run is told beside.

Memory is PSS a worker (a page that k processes have counts 1/k), which each worker reads while all
of them are there, after a few gradients.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
import torch.multiprocessing

from benchmarks.common import alternate, duration, medians, report
from ddml_kit.cluster import Comm, Processes

SIZES = (4, 8)
ROUNDS = 3
TURNS = 5  # of ours for one of theirs, which takes so much longer; their median counts


def ours(comm: Comm) -> int:
    """10, by torch."""
    import torch

    return int(torch.ones(10).sum())


def theirs(rank: int) -> int:
    """10, by torch."""
    import torch

    return int(torch.ones(10).sum())


def weigh(comm: Comm) -> float:
    """The PSS of this worker, in MB."""
    layers = torch.nn.Sequential(
        torch.nn.Linear(64, 128), torch.nn.ReLU(), torch.nn.Linear(128, 10)
    )
    for _ in range(10):
        layers(torch.randn(32, 64)).square().sum().backward()
    comm.barrier()
    with open("/proc/self/smaps_rollup", encoding="utf8") as file:
        [pss] = [int(line.split()[1]) for line in file if line.startswith("Pss:")]
    comm.barrier()
    return pss * 1024 / 1e6


def seconds(f: Callable[..., Any], *args: Any, **kwargs: Any) -> float:
    """How long f(*args, **kwargs) takes."""
    start = time.perf_counter()
    f(*args, **kwargs)
    return time.perf_counter() - start


def compare(size: int) -> dict[str, float]:
    """The median of both sides in seconds."""
    cluster = Processes(size)
    cluster.run(ours)
    return medians(
        alternate(
            {
                "ours": lambda: statistics.median(seconds(cluster.run, ours) for _ in range(TURNS)),
                "theirs": lambda: seconds(torch.multiprocessing.spawn, theirs, nprocs=size),
            },
            ROUNDS,
        )
    )


def main() -> None:
    """Print the table and the line of JSON."""
    first = seconds(lambda: Processes(4).run(ours))
    rows, ratios, heaviest = [], {}, 0.0
    for size in SIZES:
        taken = compare(size)
        ratio = ratios[f"spawn_{size}"] = taken["theirs"] / taken["ours"]
        weight = max(Processes(size).run(weigh).results)
        heaviest = max(heaviest, weight)
        rows.append(
            (
                size,
                duration(taken["ours"]),
                duration(taken["theirs"]),
                f"{ratio:.0f}",
                f"{weight:.0f}",
            )
        )
    report(
        "launch",
        {"spawn": min(ratios.values()), **ratios},
        head=("workers", "ours", "torch spawn", "ratio", "MB PSS a worker, ours"),
        rows=rows,
        notes=(
            f"At most {heaviest:.0f} MB PSS a worker. The first run of a process, which waits for "
            f"the server to load torch: {duration(first)}.",
            "Both sides: the same program, torch loaded in the parent, until all workers are gone.",
        ),
    )


if __name__ == "__main__":
    main()
