"""Lab 02: many writers, with a lock, in turn, or as they like."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ddml_kit.cluster import Exponential, Network, Processes, Run, Running, Simulated
from ddml_kit.cluster.run import Curve
from ddml_kit.notebook.dashboard import dashboard
from ddml_kit.notebook.knobs import Choice, Slider
from ddml_kit.notebook.panel import Panel
from ddml_kit.problems import Problem

SAMPLES = 8_000  # of a run, over all workers


def ways_to_write(
    ways: Mapping[str, Callable[..., Any]],
    data: Mapping[str, tuple[Problem, Problem]],
    *,
    memory: Network,
    **options: Any,
) -> Panel:
    """Training with one model in shared memory; the knobs choose where, how many, and how.

    ways: the programs, by name. data: by name, the problem to learn and the one to test on.
    memory: what simulated workers have in common. options: as of `dashboard`.
    """

    def launch(cluster: str, workers: int, data: str, writing: str, lr: float) -> Running:
        where = {
            "simulated": Simulated(workers, network=memory, slowdowns=[Exponential()]),
            "processes": Processes(workers),
        }[cluster]
        return where.start(ways[writing], sets[data][0], steps=steps(workers), lr=lr)

    def steps(workers: int) -> int:
        return SAMPLES // workers

    def loss(w: np.ndarray, data: str) -> float:
        return sets[data][1].loss(w)

    def answers(run: Run, curve: Curve, data: str) -> dict[str, str]:
        w = run.results[0].w
        written = sum(result.written for result in run.results)
        stale = np.concatenate([result.staleness for result in run.results])
        lost = "writes lost" if run.badge == "simulated" else "writes lost (proxy)"
        return {
            "test loss": f"{sets[data][1].loss(w):.3f}",
            "accuracy": f"{sets[data][1].accuracy(w):.1%}",
            "mean staleness": f"{stale.mean():.1f}",
            lost: f"{run.results[0].lost_proxy / written:.1%}",
        }

    sets = dict(data)
    return dashboard(
        launch,
        [
            Choice("cluster", ["simulated", "processes"], "simulated", group="Cluster"),
            Slider("workers", 1, 32, 4, log=True, group="Cluster"),
            Choice("data", list(data), next(iter(data)), group="Training"),
            Choice("writing", list(ways), list(ways)[-1], group="Training"),
            Slider("lr", 0.5, 16.0, 2.0, log=True, step=2, label="step size", group="Training"),
        ],
        curve=loss,
        value="test loss",
        steps=steps,
        answers=answers,
        **options,
    )
