"""Lab 05: when does a larger batch stop helping?"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from ddml_kit.cluster import Network, Processes, Run, Running, Simulated
from ddml_kit.cluster.run import Curve
from ddml_kit.notebook.dashboard import dashboard
from ddml_kit.notebook.knobs import Choice, Slider, Toggle
from ddml_kit.notebook.panel import Panel
from ddml_kit.notebook.units import count_text, first_below, number_text, seconds_text, seconds_to
from ddml_kit.problems import Problem
from ddml_kit.problems.problem import BatchSize
from ddml_kit.training.data_parallel import data_parallel
from ddml_kit.training.momentum import momentum
from ddml_kit.training.schedules import (
    Schedule,
    constant,
    cosine,
    growing,
    linear_scaling,
    step_decay,
    steps_in,
    together,
    warm_up,
)

BASE = 16  # samples of the batch for which the knob says the rate
PASSES = 20  # over the data, in a run
MOST = 800  # steps of a run: one worker with small batches makes fewer passes
CHANGES, FACTOR = (5, 10), 4  # passes after which rates decay or batches grow, and by how much

PLAIN = "plain cluster"
NETWORKS: Mapping[str, Network] = {
    "for nothing": Network(latency=0.0, bandwidth=1e15),
    PLAIN: Network(),
    "20 Mbit/s, 1 ms": Network(latency=1e-3, bandwidth=2.5e6),
}
GROWING = "batch grows"
DECAYS: Mapping[str, Callable[[Callable[[int], int], int], Schedule]] = {
    "constant": lambda after, steps: constant,
    "step decay": lambda after, steps: step_decay([after(p) for p in CHANGES], 1 / FACTOR),
    "cosine": lambda after, steps: cosine(steps),
    GROWING: lambda after, steps: constant,
}


class Plan(NamedTuple):
    """What a rank goes through: its share of the samples, its first batch, which is no larger than
    that, its batches, and how many of them.
    """

    share: int
    first: int
    size: BatchSize
    steps: int


def how_large_a_batch(
    problem: Problem, held_out: Problem, *, target: float, **options: Any
) -> Panel:
    """Data-parallel training with momentum; the knobs choose batch, rate and how they change.

    target: of the loss on `held_out`. options: as of `dashboard`.
    """

    def plan(workers: int, batch_size: int, schedule: str) -> Plan:
        share = len(problem) // workers
        first = min(batch_size, share)
        size: BatchSize = first
        if schedule == GROWING:
            size = growing(first, FACTOR, after=CHANGES, samples=share)
        return Plan(share, first, size, min(MOST, steps_in(PASSES, share, size)))

    def launch(
        cluster: str,
        workers: int,
        network: str,
        batch_size: int,
        rate: float,
        scaled: bool,
        warm: int,
        schedule: str,
    ) -> Running:
        share, first, size, steps = plan(workers, batch_size, schedule)

        def after(passes: int) -> int:
            return steps_in(passes, share, first)

        in_the_end = linear_scaling(rate, first * workers, BASE) if scaled else rate
        where: Simulated | Processes = Processes(workers, paced=True)
        if cluster == "simulated":
            where = Simulated(workers, network=NETWORKS[network])
        return where.start(
            data_parallel,
            problem,
            momentum(in_the_end),
            steps=steps,
            batch_size=size,
            schedule=together(
                warm_up(after(warm), min(1.0, rate / in_the_end)), DECAYS[schedule](after, steps)
            ),
        )

    def answers(
        run: Run, curve: Curve, workers: int, batch_size: int, schedule: str
    ) -> dict[str, str]:
        at = first_below(curve, target)
        share, _, size, steps = plan(workers, batch_size, schedule)
        seen = 0  # samples that a rank has had
        for step in range(steps):
            seen += min(size(step) if callable(size) else size, share - seen % share)
        return {
            f"time to {target:g}": seconds_to(curve, target),
            "steps to it": "–" if at is None else count_text(curve.step[at]),
            "a step takes": seconds_text(run.seconds / steps),
            "samples a second": count_text(float(f"{workers * seen / run.seconds:.3g}")),
            "in the end": number_text(float(f"{curve.value[-1]:.2g}")),
        }

    return dashboard(
        launch,
        [
            Choice("cluster", ["simulated", "processes"], "simulated", group="Cluster"),
            Slider("workers", 1, 64, 1, log=True, group="Cluster"),
            Choice("network", list(NETWORKS), PLAIN, group="Cluster"),
            Slider("batch_size", 4, 64, 16, log=True, label="batch of each", group="Training"),
            Slider("rate", 0.01, 2.56, 0.08, log=True, step=2, label="step size", group="Training"),
            Toggle("scaled", False, label="scaled with the batch", group="Training"),
            Slider("warm", 0, 10, 0, label="warm-up if scaled", unit="passes", group="Training"),
            Choice("schedule", list(DECAYS), "constant", group="Training"),
        ],
        curve=held_out.loss,
        value="test loss",
        target=target,
        answers=answers,
        label=_label,
        steps=lambda workers, batch_size, schedule: plan(workers, batch_size, schedule).steps + 1,
        **options,
    )


def _label(
    cluster: str,
    workers: int,
    network: str,
    batch_size: int,
    rate: float,
    scaled: bool,
    warm: int,
    schedule: str,
) -> str:
    """32 × 16, 0.08 scaled, warm-up 10: workers, batch, step size; the rest where it is chosen.

    A warm-up leads up to a rate that scaling has made larger; without one there is none.
    """
    warmed = scaled and warm > 0 and workers * batch_size > BASE
    parts = [
        f"{workers} × {batch_size}, {rate:g}",
        " scaled" * scaled,
        f", warm-up {warm}" * warmed,
        f", {schedule}" * (schedule != "constant"),
        f", {network}" * (network != PLAIN and cluster == "simulated"),
    ]
    return "".join(parts)
