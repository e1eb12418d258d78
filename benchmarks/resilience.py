"""What resilience costs: a step of training with each rule, beside the same step with the mean.

The question of G. Damaskinos, E. M. El Mhamdi, R. Guerraoui, A. Guirguis, S. Rouault, "AggregaThor:
Byzantine Machine Learning via Robust Gradient Aggregation", MLSys 2019: nobody lies, and each rule
assumes as many liars as it can with so many workers. Perceptrons 784-h-h-10 with ReLU, cross
entropy, float32, batches of 64 a worker of the same 4,096 random images, sgd, one thread a process.

- simulated_8: `robust_server` with 8 workers on one core: 8 gradients and one rule a step. Virtual
  time takes rules for free, so these are real seconds.
- processes_2, processes_4: `server_less` on so many real processes: all send to all, and each
  applies the rule. all_reduce is `data_parallel`, in which the cluster adds up on the way: what it
  costs to see every gradient before anything is made of it.

Seconds of a step are those of the slowest rank after a few that don't count; all take turns. Each
ratio is the mean's seconds over the rule's, so below 1 where the rule is slower.

    python -m benchmarks.resilience            all
    python -m benchmarks.resilience 64 1       the model with 64 hidden units only, one turn
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from benchmarks.common import alternate, duration, medians, report
from benchmarks.data_parallel import Clock, perceptron
from ddml_kit import aggregation
from ddml_kit.aggregation import BOUNDS, Rule
from ddml_kit.cluster import Cluster, Comm, Processes, Simulated
from ddml_kit.problems import TorchModule
from ddml_kit.training.byzantine import robust_server, server_less
from ddml_kit.training.data_parallel import data_parallel
from ddml_kit.training.optimisers import sgd

HIDDEN = [64, 512]
BATCH, LR, STEPS, ROUNDS = 64, 0.05, 120, 5
SETTINGS = {"norm_clipping": {"radius": 10.0}, "centred_clipping": {"radius": 10.0, "steps": 3}}
PLACES: dict[str, tuple[Cluster, Callable[..., Any], int]] = {
    "simulated_8": (Simulated(9), robust_server, 8),
    "processes_2": (Processes(2), server_less, 2),
    "processes_4": (Processes(4), server_less, 4),
}

Times = Mapping[tuple[str, int], Mapping[str, float]]  # (place, hidden) -> rule -> seconds a step


def main() -> None:
    """Print the table and the line of JSON."""
    hidden = [int(sys.argv[1])] if len(sys.argv) > 1 else HIDDEN
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else ROUNDS
    times = {(place, h): measure(place, h, rounds) for h in hidden for place in PLACES}
    rows = [
        [
            place,
            f"784-{h}-{h}-10",
            name,
            most(name, PLACES[place][2]),
            duration(seconds),
            f"{seconds / taken['mean']:.2f}",
        ]
        for (place, h), taken in times.items()
        for name, seconds in taken.items()
    ]
    report(
        "resilience",
        ratios(times),
        head=["where", "model", "rule", "f", "a step", "times as long as with the mean"],
        rows=rows,
        notes=[f"medians of {rounds} turns, {STEPS} steps each, slowest rank"],
    )


def measure(place: str, hidden: int, rounds: int) -> dict[str, float]:
    """Seconds of a step with each rule that so few workers can do, by name."""
    cluster, program, workers = PLACES[place]
    problem = perceptron(hidden)
    contenders: dict[str, Callable[[], float]] = {}
    for name in BOUNDS:
        f = most(name, workers)
        if f is not None:
            rule: Rule = partial(getattr(aggregation, name), **SETTINGS.get(name, {}))
            training = partial(program, rule=rule, f=f)
            contenders[name] = partial(seconds_a_step, cluster, training, problem)
    if program is server_less:
        contenders["all_reduce"] = partial(seconds_a_step, cluster, data_parallel, problem)
    return medians(alternate(contenders, rounds))


def most(rule: str, n: int) -> int | None:
    """How many liars the rule can assume among n; None where it can't be used at all."""
    if rule not in BOUNDS:
        return 0
    allowed = [f for f in range(n) if BOUNDS[rule].least(f) <= n]
    return 0 if rule == "mean" else max(allowed, default=None)


def seconds_a_step(cluster: Cluster, program: Callable[..., Any], problem: TorchModule) -> float:
    """Of the slowest rank that takes steps."""
    seconds = cluster.run(clocked, program, problem).results
    return max(taken for taken in seconds if taken is not None)


def clocked(comm: Comm, program: Callable[..., Any], problem: TorchModule) -> float | None:
    """Seconds of a step on this rank; None where it takes none."""
    clock, ticks = Clock(STEPS), 0

    def schedule(k: int) -> float:
        nonlocal ticks
        clock.tick()
        ticks += 1
        return 1.0

    program(comm, problem, sgd(LR), steps=STEPS, batch_size=BATCH, schedule=schedule)
    return clock.seconds() if ticks else None


def ratios(times: Times) -> dict[str, float]:
    """The mean's seconds over each rule's, by rule, place and model."""
    return {
        f"{rule}_{place}_{hidden}": taken["mean"] / seconds
        for (place, hidden), taken in times.items()
        for rule, seconds in taken.items()
        if rule != "mean"
    }


if __name__ == "__main__":
    main()
