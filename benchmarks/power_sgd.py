"""Data-parallel training with PowerSGD by two processes, beside DDP's powerSGD_hook on gloo.

The networks, batches, optimiser and threads are those of benchmarks/data_parallel.py: 784-h-h-10,
batches of 64 on each of 2 ranks, torch.optim.SGD, float32, one thread a process. Both sides have
warm start and error feedback, leave biases as they are, and compress a matrix where that is fewer
values (min_compression_rate=1). The hook wants two whole sums before it begins
(start_powerSGD_iter=2); we begin at once. Which columns they start from differs, so the models do;
in the end both must have come as far, by the loss on all samples.

Ours is `data_parallel` with the reducer `power_sgd`: whole runs on `Processes(2)`, trace and
snapshots on. DDP has gradients in its buckets, a static graph, and one bucket, which takes it three
sums a step. With its default buckets it takes more, and does not get far: each bucket sums its
second matrix when its first is back, so that ranks call their sums in different orders, which gloo
can't tell apart ("Received data size doesn't match expected size", torch 2.13, or no end). Seconds
of a step are those of the slower rank after a few steps that don't count.

`power_sgd` is how many times as many steps a second we take as DDP, the least of the models and
ranks; `power_sgd_512_2` is that of 784-512-512-10 at rank 2, and so on.

    python -m benchmarks.power_sgd
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
import torch

from benchmarks.common import alternate, duration, medians, report
from benchmarks.data_parallel import BATCH, LR, RANKS, Clock, clocked, perceptron
from benchmarks.message_peers import gloo
from ddml_kit.cluster import Processes
from ddml_kit.cluster.endpoint import generator
from ddml_kit.training.data_parallel import data_parallel
from ddml_kit.training.low_rank import power_sgd

CASES = [(512, 1), (512, 2), (512, 4), (64, 2)]  # hidden units, rank
STEPS = {512: 200, 64: 800}  # of which the first 50 don't count
ROUNDS = 5  # times that each contender has its turn
AIM = 1.2
ALIKE = 0.1  # of what training gains, by which both losses may differ

Times = Mapping[tuple[int, int], Mapping[str, float]]  # (hidden, rank) -> contender -> seconds


def main() -> None:
    """Print the table and the line of JSON."""
    times: dict[tuple[int, int], dict[str, float]] = {}
    with contextlib.ExitStack() as stack:
        crew = gloo(stack, RANKS)
        assert crew is not None, "there is no torch"
        for hidden, rank in CASES:
            check_alike(hidden, rank, crew("power_sgd_loss", code(hidden, rank)))
            contenders: dict[str, Callable[[], float]] = {
                "ours": partial(ours, hidden, rank),
                "ddp": partial(crew, "power_sgd", code(hidden, rank)),
            }
            times[hidden, rank] = medians(alternate(contenders, ROUNDS))
    rows = [
        [
            f"784-{hidden}-{hidden}-10",
            rank,
            name,
            duration(seconds),
            "" if name == "ddp" else f"{taken['ddp'] / seconds:.2f}",
        ]
        for (hidden, rank), taken in times.items()
        for name, seconds in taken.items()
    ]
    report(
        "power_sgd",
        ratios(times),
        head=["model", "rank", "", "a step", "times as fast as ddp"],
        rows=rows,
        notes=[f"medians of {ROUNDS} turns, slower rank", f"aim: power_sgd >= {AIM}"],
    )


def ratios(times: Times) -> dict[str, float]:
    """How many times as fast as DDP we are: the least, and each case."""
    cases = {case: taken["ddp"] / taken["ours"] for case, taken in times.items()}
    named = {f"power_sgd_{hidden}_{rank}": ratio for (hidden, rank), ratio in cases.items()}
    return {"power_sgd": min(cases.values()), **named}


def check_alike(hidden: int, rank: int, theirs: float) -> None:
    """Raises AssertionError unless both models have come about as far."""
    problem = perceptron(hidden)
    begin, mine = problem.loss(problem.initial(seed=0)), problem.loss(trained(hidden, rank)[1])
    assert abs(mine - theirs) < ALIKE * (begin - theirs), (hidden, rank, begin, mine, theirs)


def code(hidden: int, rank: int) -> int:
    """Both in one number, as crews are asked with one."""
    return 100 * hidden + rank


# ------------------------------------------------------------------------------------ ours


def ours(hidden: int, rank: int) -> float:
    """Seconds of one step on processes."""
    return trained(hidden, rank)[0]


def trained(hidden: int, rank: int) -> Any:
    """Seconds of one step, and the model."""
    problem = perceptron(hidden)
    program = partial(data_parallel, reducer=power_sgd(problem.shapes, rank=rank))
    return Processes(RANKS).run(clocked, program, problem, STEPS[hidden]).results[0]


# ------------------------------------------------------------------------------------- ddp


def ddp(rank: int, asked: int) -> tuple[float, np.ndarray]:
    """Seconds of one step on this rank, a process of a gloo group, and the model, (dim,)."""
    from torch.distributed.algorithms.ddp_comm_hooks import powerSGD_hook as hooks

    hidden, low = divmod(asked, 100)
    clock = Clock(STEPS[hidden])
    problem = perceptron(hidden)
    module = torch.nn.parallel.DistributedDataParallel(
        problem.module(problem.initial(seed=0)),
        gradient_as_bucket_view=True,
        static_graph=True,
        bucket_cap_mb=100,
    )
    state = hooks.PowerSGDState(
        process_group=None,
        matrix_approximation_rank=low,
        start_powerSGD_iter=2,
        min_compression_rate=1,
        use_error_feedback=True,
        warm_start=True,
    )
    module.register_comm_hook(state, hooks.powerSGD_hook)
    optimiser = torch.optim.SGD(module.parameters(), lr=LR)
    shard = problem.shard(rank, RANKS)
    for batch in shard.batches(generator(0, rank, "batches"), BATCH, STEPS[hidden]):
        optimiser.zero_grad()
        outputs = module(torch.from_numpy(batch.x))
        torch.nn.functional.cross_entropy(outputs, torch.from_numpy(batch.y)).backward()
        clock.tick()
        optimiser.step()
    with torch.no_grad():
        w = np.concatenate([p.numpy().reshape(-1) for p in module.parameters()])
    return clock.seconds(), w


def ddp_loss(rank: int, asked: int) -> float:
    """The loss on all samples of the model that DDP trains."""
    return perceptron(asked // 100).loss(ddp(rank, asked)[1])


if __name__ == "__main__":
    main()
