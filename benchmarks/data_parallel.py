"""Data-parallel training of a multilayer perceptron by two processes, beside PyTorch's DDP on gloo.

784-h-h-10 with ReLU, cross entropy, batches of 64 on each rank, torch.optim.SGD, float32, one
thread a process, 2 ranks. Both sides see the same batches in the same order, of 4,096 random
images, and begin with the same parameters; in the end they must have the same model. Ours are
`data_parallel`, which sends the whole gradient at once, and `overlapped`, which sends buckets of
1 MB while it computes; whole runs on `Processes(2)`, trace and snapshots on. DDP (S. Li et al.,
VLDB 2020) overlaps too; it has gradients in its buckets (gradient_as_bucket_view) and a static
graph, which is its fastest way here.

Seconds of a step are those of the slower rank after a few steps that don't count. `ddp` is how many
times as many samples a second `data_parallel` trains as DDP, the least of the models; `ddp_512` and
`ddp_64` are those of each model, `ddp_overlapped_512` of the other program.

    python -m benchmarks.data_parallel
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
import torch

from benchmarks.common import alternate, duration, medians, report
from benchmarks.message_peers import gloo
from ddml_kit.cluster import Comm, Processes
from ddml_kit.cluster.endpoint import generator
from ddml_kit.problems import Data, TorchModule
from ddml_kit.training.data_parallel import data_parallel
from ddml_kit.training.optimisers import from_torch
from ddml_kit.training.overlap import overlapped

HIDDEN = [512, 64]
SAMPLES, BATCH, RANKS = 4096, 64, 2
LR = 0.05
WARM, STEPS = 50, {512: 250, 64: 1000}  # steps that don't count, steps in all
ROUNDS = 5  # times that each contender has its turn
AIM = 1.2
PROGRAMS: dict[str, Callable[..., np.ndarray]] = {
    "ours": data_parallel,
    "ours, overlapped": partial(overlapped, bucket_bytes=1e6),
}

Times = Mapping[int, Mapping[str, float]]  # hidden units -> contender -> seconds a step


def main() -> None:
    """Print the table and the line of JSON."""
    times: dict[int, dict[str, float]] = {}
    with contextlib.ExitStack() as stack:
        crew = gloo(stack, RANKS)
        assert crew is not None, "there is no torch"
        for hidden in HIDDEN:
            wanted = fingerprint(trained(data_parallel, hidden, STEPS[hidden])[1])
            np.testing.assert_allclose(crew("ddp_fingerprint", hidden), wanted, rtol=1e-3)
            contenders: dict[str, Callable[[], float]] = {
                name: partial(ours, program, hidden) for name, program in PROGRAMS.items()
            }
            contenders["ddp"] = partial(crew, "ddp", hidden)
            times[hidden] = medians(alternate(contenders, ROUNDS))
    rows = [
        [
            f"784-{hidden}-{hidden}-10",
            name,
            duration(seconds),
            f"{RANKS * BATCH / seconds:,.0f}",
            "" if name == "ddp" else f"{taken['ddp'] / seconds:.2f}",
        ]
        for hidden, taken in times.items()
        for name, seconds in taken.items()
    ]
    report(
        "data_parallel",
        ratios(times),
        head=["model", "", "a step", "samples a second", "times as fast as ddp"],
        rows=rows,
        notes=[f"medians of {ROUNDS} turns, slower rank", f"aim: ddp >= {AIM}"],
    )


def ratios(times: Times) -> dict[str, float]:
    """How many times as fast as DDP: data_parallel at its least, and each program and model."""
    found = {"ddp": min(taken["ddp"] / taken["ours"] for taken in times.values())}
    for hidden, taken in times.items():
        found[f"ddp_{hidden}"] = taken["ddp"] / taken["ours"]
        found[f"ddp_overlapped_{hidden}"] = taken["ddp"] / taken["ours, overlapped"]
    return found


def perceptron(hidden: int) -> TorchModule:
    """The network, its loss, and images that are noise with a bright pixel in ten for the label."""
    rng = np.random.default_rng(0)
    x = rng.random((SAMPLES, 784), dtype=np.float32)
    y = rng.integers(10, size=SAMPLES)
    x[np.arange(784) % 10 == y[:, None]] += 0.3
    module = torch.nn.Sequential(
        torch.nn.Linear(784, hidden),
        torch.nn.ReLU(),
        torch.nn.Linear(hidden, hidden),
        torch.nn.ReLU(),
        torch.nn.Linear(hidden, 10),
    )
    return TorchModule(module, torch.nn.functional.cross_entropy, Data(x, y, "noise"))


# ------------------------------------------------------------------------------------ ours


def ours(program: Callable[..., np.ndarray], hidden: int) -> float:
    """Seconds of one step on processes."""
    return trained(program, hidden, STEPS[hidden])[0]


def trained(program: Callable[..., np.ndarray], hidden: int, steps: int) -> Any:
    """Seconds of one step, and the model."""
    return Processes(RANKS).run(clocked, program, perceptron(hidden), steps).results[0]


def clocked(
    comm: Comm, program: Callable[..., np.ndarray], problem: TorchModule, steps: int
) -> tuple[float, np.ndarray]:
    """Seconds of one step on the slower rank, and the model."""
    clock = Clock(steps)

    def schedule(k: int) -> float:
        clock.tick()
        return 1.0

    optimiser = from_torch(torch.optim.SGD, lr=LR)
    w = program(comm, problem, optimiser, steps=steps, batch_size=BATCH, schedule=schedule)
    return comm.all_reduce(clock.seconds(), "max"), w


class Clock:
    """Says how long a step lasts, without the first ones. `tick` belongs into every step."""

    def __init__(self, steps: int) -> None:
        self._ticks: list[float] = []
        self._warm = min(WARM, steps - 2)

    def tick(self) -> None:
        self._ticks.append(time.perf_counter())

    def seconds(self) -> float:
        counted = self._ticks[self._warm :]
        return (counted[-1] - counted[0]) / (len(counted) - 1)


# ------------------------------------------------------------------------------------- ddp


def ddp(rank: int, hidden: int) -> tuple[float, np.ndarray]:
    """Seconds of one step on this rank, a process of a gloo group, and the model, (dim,)."""
    steps = STEPS[hidden]
    clock = Clock(steps)
    problem = perceptron(hidden)
    module = torch.nn.parallel.DistributedDataParallel(
        problem.module(problem.initial(seed=0)), gradient_as_bucket_view=True, static_graph=True
    )
    optimiser = torch.optim.SGD(module.parameters(), lr=LR)
    shard = problem.shard(rank, RANKS)
    for batch in shard.batches(generator(0, rank, "batches"), BATCH, steps):
        optimiser.zero_grad()
        outputs = module(torch.from_numpy(batch.x))
        torch.nn.functional.cross_entropy(outputs, torch.from_numpy(batch.y)).backward()
        clock.tick()
        optimiser.step()
    with torch.no_grad():
        w = np.concatenate([p.numpy().reshape(-1) for p in module.parameters()])
    return clock.seconds(), w


def fingerprint(w: np.ndarray) -> float:
    """A number that hardly two models share."""
    return float(np.random.default_rng(1).standard_normal(len(w)) @ w)


if __name__ == "__main__":
    main()
