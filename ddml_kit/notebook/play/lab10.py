"""Lab 10: how little does it take to fool a network, and what does it cost to make that hard?"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch

from ddml_kit.adversarial import Norm, accuracy, cross_entropy, l1, l2, linf, margin, pgd, verdicts
from ddml_kit.cluster import Network, Processes, Run, Running, Simulated
from ddml_kit.cluster.run import Curve
from ddml_kit.cluster.trace import COMPUTE
from ddml_kit.notebook.dashboard import dashboard
from ddml_kit.notebook.figures.moved import moved
from ddml_kit.notebook.knobs import Choice, Knob, Slider, Toggle
from ddml_kit.notebook.live import Live, Shown
from ddml_kit.notebook.panel import Panel
from ddml_kit.notebook.units import count_text, seconds_text
from ddml_kit.problems import Problem, TorchModule
from ddml_kit.problems.data import Data
from ddml_kit.problems.torch_threads import one_thread
from ddml_kit.training.adversarial import Adversarial
from ddml_kit.training.data_parallel import data_parallel
from ddml_kit.training.momentum import momentum
from ddml_kit.training.schedules import cosine

SHOWN = 200  # images that are attacked beside the one that is looked at
FIRST = 3  # the image that is looked at first, a 2
BATCH, RATE = 64, 0.1  # images a step, of all workers together, and its size
RADIUS = 0.2  # within which the dashboard's models are judged
JUDGED, TRIED = 5, 100  # steps of the attack that judges them, and images that it tries

NORMS: Mapping[str, tuple[Norm, Callable[[int], float]]] = {
    "ℓ∞": (linf, lambda d: 1.0),
    "ℓ2": (l2, math.sqrt),
    "ℓ1": (l1, float),
}
NO_TARGET = "none"
LOSSES = {"cross-entropy": cross_entropy, "margin": margin}
NETWORKS = {
    "plain cluster": Network(),
    "1 Gbit/s, 0.2 ms": Network(latency=2e-4, bandwidth=125e6),
}

# --------------------------------------------------------------------------- one image, live


def a_small_push(model: torch.nn.Module, data: Data, **options: Any) -> Live:
    """An image on a slider and ε on another; PGD with 20 steps in ℓ∞ does the rest."""
    ready = _ready(data)
    fixed: dict[str, Any] = {"norm": "ℓ∞", "steps": 20, "step": 0.1, "random": False}
    fixed |= {"target": NO_TARGET, "climbs": "cross-entropy"}

    def draw(image: int, eps: float) -> Shown:
        return _pushed(model, ready, image, eps=eps, **fixed)

    knobs = [_image_knob(ready), Slider("eps", 0.0, 0.5, 0.0, step=0.01, label="ε")]
    return Live(draw, knobs, title="An image, moved by at most ε a pixel", **options)


def whom_does_it_fool(models: Mapping[str, torch.nn.Module], data: Data, **options: Any) -> Live:
    """All knobs of an attack, on models of one's choice."""
    ready = _ready(data)

    def draw(model: str, **settings: Any) -> Shown:
        return _pushed(models[model], ready, **settings)

    knobs: list[Knob] = [
        Choice("model", list(models), next(iter(models)), group="Model"),
        _image_knob(ready, group="Image"),
        Slider("eps", 0.0, 0.5, 0.2, step=0.01, label="ε", group="Attack"),
        Choice("norm", list(NORMS), "ℓ∞", group="Attack"),
        Slider("steps", 1, 50, 20, group="Attack"),
        Slider("step", 0.05, 2.0, 0.1, step=0.05, label="step size", unit="ε", group="Attack"),
        Toggle("random", False, label="random start", group="Attack"),
        Choice("target", [NO_TARGET, *map(str, range(10))], NO_TARGET, group="Attack"),
        Choice("climbs", list(LOSSES), "cross-entropy", label="climbs the", group="Attack"),
    ]
    return Live(draw, knobs, title="The image before and after the attack", **options)


def _ready(data: Data, most: int = SHOWN) -> Data:
    return data.take(np.arange(min(most, len(data))))


def _image_knob(data: Data, group: str = "") -> Slider:
    return Slider("image", 0, len(data) - 1, min(FIRST, len(data) - 1), group=group)


def _pushed(
    model: torch.nn.Module,
    data: Data,
    image: int,
    *,
    eps: float,
    norm: str,
    steps: int,
    step: float,
    random: bool,
    target: str,
    climbs: str,
) -> Shown:
    """An attack on all images, one of which is shown. ε is that of a pixel: see `radius`."""
    labels, targeted = data.y, target != NO_TARGET
    wanted = np.full_like(labels, int(target)) if targeted else labels
    ball, _ = NORMS[norm]
    reach = radius(norm, eps, math.prod(data.x.shape[1:]))
    with one_thread():
        found = pgd(
            model,
            data.x,
            wanted,
            eps=reach,
            step=step * reach if reach else None,
            steps=steps,
            norm=ball,
            targeted=targeted,
            start=np.random.default_rng(0) if random else None,
            loss=LOSSES[climbs],
        )
    pair = np.stack([data.x[image], found[image]])
    with torch.no_grad():
        chances = torch.softmax(model(torch.from_numpy(pair)).double(), dim=1).numpy()
    read, now = chances.argmax(axis=1)
    told = {"it reads": f"{read} → {now}", "and is sure": f"{chances[1, now]:.0%}"}
    if targeted:
        others = labels != wanted
        hit = np.mean(verdicts(model, found[others]) == wanted[others]) if others.any() else 0.0
        told[f"of {others.sum()} others, read as {target}"] = f"{hit:.0%}"
    else:
        told[f"of {len(data)} images, read right"] = f"{accuracy(model, found, labels):.0%}"
    told["gradients an image"] = count_text(steps)
    names = [str(digit) for digit in range(10)]
    figure = moved(pair[0], pair[1], list(chances), names=names, label=int(labels[image]))
    return Shown(told, figure)


def radius(norm: str, eps: float, pixels: int) -> float:
    """The radius of the ball that allows ε a pixel: in ℓ∞ at most, in ℓ2 as the root of the mean
    square, in ℓ1 on average. Each ball contains the one before.
    """
    return eps * NORMS[norm][1](pixels)


# ----------------------------------------------------------------------- what robustness costs


def what_robustness_costs(
    problem: TorchModule, held_out: Data, *, steps: int = 150, **options: Any
) -> Panel:
    """Adversarial training on a cluster; the knobs choose the attack and who shares the work.

    A step is made of BATCH images, which the workers share. options: as of `dashboard`.
    """
    judged = _ready(held_out, TRIED)

    def trained(eps: float, attack: int, norm: str) -> Problem:
        if not attack:
            return problem
        reach = radius(norm, eps, math.prod(judged.x.shape[1:]))
        return Adversarial(problem, eps=reach, steps=attack, norm=NORMS[norm][0])

    def launch(
        cluster: str, workers: int, network: str, eps: float, attack: int, norm: str
    ) -> Running:
        where: Simulated | Processes = Processes(workers, paced=True)
        if cluster == "simulated":
            where = Simulated(workers, network=NETWORKS[network])
        return where.start(
            data_parallel,
            trained(eps, attack, norm),
            momentum(RATE),
            steps=steps,
            batch_size=BATCH // workers,
            schedule=cosine(steps),
        )

    def robust(w: np.ndarray) -> float:
        model = problem.module(w).eval()
        with one_thread():
            found = pgd(model, judged.x, judged.y, eps=RADIUS, steps=JUDGED, stop_early=True)
            return 100 * accuracy(model, found, judged.y)

    def answers(run: Run, curve: Curve, attack: int) -> dict[str, str]:
        model = problem.module(run.results[0]).eval()
        computed = run.trace.of(COMPUTE, rank=0)
        busy = float((computed["stop"] - computed["start"]).sum()) / run.seconds
        return {
            "time": seconds_text(run.seconds),
            f"read right within {RADIUS:g}": f"{curve.value[-1]:.0f}%",
            "clean": f"{100 * accuracy(model, held_out.x, held_out.y):.0f}%",
            "gradients a step": count_text(attack + 1),
            "computing": f"{busy:.0%}",
        }

    return dashboard(
        launch,
        [
            Choice("cluster", ["simulated", "processes"], "simulated", group="Cluster"),
            Slider("workers", 1, 16, 4, log=True, group="Cluster"),
            Choice("network", list(NETWORKS), "plain cluster", group="Cluster"),
            Slider("attack", 0, 10, 5, label="attack", unit="steps", group="Training"),
            Slider("eps", 0.02, 0.4, 0.2, step=0.02, label="ε", group="Training"),
            Choice("norm", list(NORMS), "ℓ∞", group="Training"),
        ],
        curve=robust,
        value=f"read right within {RADIUS:g}, %",
        log=False,
        answers=answers,
        steps=lambda: steps + 1,
        label=_label,
        **options,
    )


def _label(cluster: str, workers: int, network: str, eps: float, attack: int, norm: str) -> str:
    """5 steps, ε 0.2, 4 workers; norm and network where they are not those of the beginning."""
    parts = [f"{attack} step{'s' * (attack != 1)}, ε {eps:g}" if attack else "no attack"]
    parts += [norm] * (attack > 0 and norm != "ℓ∞")
    parts.append(f"{workers} worker{'s' * (workers > 1)}")
    parts += [network] * (network != "plain cluster" and cluster == "simulated")
    return ", ".join(parts)
