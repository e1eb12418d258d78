"""Lab 03: wait for all, for none, or for how many?"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from ddml_kit.cluster import (
    Constant,
    Exponential,
    Network,
    Pareto,
    Processes,
    Run,
    Running,
    Simulated,
    Transient,
)
from ddml_kit.cluster.faults import Slowdown
from ddml_kit.cluster.run import Curve, human_bytes
from ddml_kit.notebook.dashboard import dashboard
from ddml_kit.notebook.knobs import Choice, Slider
from ddml_kit.notebook.panel import Panel
from ddml_kit.notebook.units import seconds_text, seconds_to
from ddml_kit.problems import Problem
from ddml_kit.training.optimisers import Optimiser, from_torch, sgd, shampoo
from ddml_kit.training.parameter_server import parameter_server
from ddml_kit.training.waiting import ASP, BSP, SSP, AdaptiveSSP, BackupWorkers, Waiting

STRAGGLERS: dict[str, Callable[[int], list[Slowdown]]] = {
    "none": lambda workers: [],
    "exponential": lambda workers: [Exponential(range(workers))],
    "one 3× slower": lambda workers: [Exponential(range(workers)), Constant({workers - 1: 3.0})],
    "heavy tail": lambda workers: [Pareto(1.5, range(workers))],
    "one for a while": lambda workers: [Transient(workers - 1, 0.1, 0.3, 10.0)],
}
WAITING: dict[str, Callable[[int, int], Waiting]] = {
    "BSP": lambda staleness, backup: BSP(),
    "SSP": lambda staleness, backup: SSP(staleness),
    "adaptive SSP": lambda staleness, backup: AdaptiveSSP(most=max(1, staleness)),
    "ASP": lambda staleness, backup: ASP(),
    "backup, cancelled": lambda staleness, backup: BackupWorkers(backup),
    "backup, run on": lambda staleness, backup: BackupWorkers(backup, cancel=False),
}
OPTIMISERS: dict[str, Callable[[float, Problem], Optimiser]] = {  # with the step size of SGD
    "SGD": lambda lr, problem: sgd(lr),
    "momentum": lambda lr, problem: from_torch(torch.optim.SGD, lr=lr / 8, momentum=0.9),
    "Nesterov": lambda lr, problem: from_torch(
        torch.optim.SGD, lr=lr / 8, momentum=0.9, nesterov=True
    ),
    "AdaGrad": lambda lr, problem: from_torch(torch.optim.Adagrad, lr=lr / 8),
    "RMSprop": lambda lr, problem: from_torch(torch.optim.RMSprop, lr=lr / 80),
    "Adam": lambda lr, problem: from_torch(torch.optim.Adam, lr=lr / 25),
    "Shampoo": lambda lr, problem: shampoo(lr / 1.5, shapes=problem.shapes),
}


def how_long_to_wait(
    problem: Problem,
    held_out: Problem,
    *,
    network: Network,
    target: float,
    clocks: int = 60,
    **options: Any,
) -> Panel:
    """Training on a parameter server; the knobs choose who waits for whom, and who is slow.

    network: of the simulated cluster. target: of the loss on `held_out`. clocks: of each worker.
    options: as of `dashboard`.
    """

    def launch(
        cluster: str,
        workers: int,
        servers: int,
        stragglers: str,
        waiting: str,
        staleness: int,
        backup: int,
        batch_size: int,
        fetch: int,
        optimiser: str,
        lr: float,
    ) -> Running:
        size, slowdowns = workers + servers, STRAGGLERS[stragglers](workers)
        where: Simulated | Processes
        if cluster == "simulated":
            where = Simulated(size, network=network, slowdowns=slowdowns)
        else:
            where = Processes(size, paced=True, slowdowns=slowdowns)
        return where.start(
            parameter_server,
            problem,
            OPTIMISERS[optimiser](lr, problem),
            waiting=WAITING[waiting](staleness, backup),
            servers=servers,
            clocks=clocks,
            batch_size=batch_size,
            fetch=fetch,
        )

    def answers(run: Run, curve: Curve, workers: int) -> dict[str, str]:
        stale = np.concatenate([served.staleness for served in run.results[workers:]])
        took = np.median([worked.seconds for worked in run.results[:workers]])
        return {
            f"time to {target:g}": seconds_to(curve, target),
            "a clock takes": seconds_text(took / clocks),
            "mean staleness": f"{stale.mean():.1f}",
            "sent": human_bytes(run.bytes),
        }

    return dashboard(
        launch,
        [
            Choice("cluster", ["simulated", "processes"], "simulated", group="Cluster"),
            Slider("workers", 1, 32, 8, log=True, group="Cluster"),
            Slider("servers", 1, 4, 1, log=True, group="Cluster"),
            Choice("stragglers", list(STRAGGLERS), "one 3× slower", group="Cluster"),
            Choice("waiting", list(WAITING), "BSP", group="Waiting"),
            Slider("staleness", 0, 16, 4, label="staleness ≤", group="Waiting"),
            Slider("backup", 0, 8, 1, label="backup", group="Waiting"),
            Slider("batch_size", 4, 64, 16, log=True, label="batch size", group="Training"),
            Slider("fetch", 1, 8, 1, log=True, label="fetch every", group="Training"),
            Choice("optimiser", list(OPTIMISERS), "SGD", group="Training"),
            Slider("lr", 0.5, 16.0, 6.0, label="step size", step=0.5, group="Training"),
        ],
        curve=held_out.loss,
        value="test loss",
        target=target,
        answers=answers,
        steps=lambda: clocks + 1,
        **options,
    )
