"""Lab 07: what if there is nobody in the middle?"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

import networkx as nx
import numpy as np

from ddml_kit.cluster import Network, Processes, Run, Running, Simulated
from ddml_kit.cluster.run import Curve, human_bytes
from ddml_kit.compression import Codec, Sign, TopK
from ddml_kit.compression.shrunk import bits
from ddml_kit.notebook.dashboard import dashboard
from ddml_kit.notebook.figures import Figure, network
from ddml_kit.notebook.figures.network import around
from ddml_kit.notebook.knobs import Choice, Slider, Toggle
from ddml_kit.notebook.panel import Panel
from ddml_kit.notebook.panel.runs import Look
from ddml_kit.notebook.units import seconds_text
from ddml_kit.problems import Logistic, digits
from ddml_kit.problems.sharding import Split, by_label, dirichlet, shuffled
from ddml_kit.topologies import (
    complete,
    exponential,
    metropolis,
    ring,
    social_network,
    spectral_gap,
    star,
    torus,
)
from ddml_kit.training.decentralised import choco_sgd, d_sgd
from ddml_kit.training.gossip import choco_gossip, gossip, naive_gossip
from ddml_kit.training.optimisers import sgd
from ddml_kit.training.schedules import constant, cosine

LENGTH = 100  # of the vectors on whose mean workers agree
RATE, BATCH_SIZE = 0.5, 16
LEAST, MOST = 1e-20, 1e6  # what an error beyond is drawn as, on an axis of powers of ten
AGREE, DIGITS = "agree on a mean", "learn digits"
EXACT, NAIVE, CHOCO = "exact", "naive", "CHOCO"
SOCIAL = "social network"
PLAIN = "plain cluster"

Places = Mapping[int, Sequence[float]]
LINKS: Mapping[str, Network] = {
    PLAIN: Network(),
    "20 Mbit/s, 1 ms": Network(latency=1e-3, bandwidth=2.5e6),
}
SPLITS: Mapping[str, Split] = {
    "mixed": shuffled(0),
    "uneven": dirichlet(1.0, 0),
    "very uneven": dirichlet(0.1, 0),
    "sorted": by_label,
}


def wound(n: int) -> nx.Graph:
    """A torus of n nodes, as square as n allows."""
    rows = rows_of(n)
    return torus(rows, n // rows)


def rows_of(n: int) -> int:
    """The largest divisor of n that is not above its root."""
    return max(r for r in range(1, math.isqrt(n) + 1) if n % r == 0)


TOPOLOGIES: Mapping[str, Callable[[int], nx.Graph]] = {
    "ring": ring,
    "torus": wound,
    "star": star,
    "exponential": exponential,
    "complete": complete,
    SOCIAL: lambda n: social_network(),
}

CODECS: Mapping[str, Callable[[int], Codec]] = {
    "8 bits": lambda d: bits(8, d),
    "4 bits": lambda d: bits(4, d),
    "sign": lambda d: Sign(),
    "top 10 %": lambda d: TopK(0.1),
    "top 1 %": lambda d: TopK(0.01),
}


def places(topology: str, graph: nx.Graph) -> Places:
    """Where the nodes of a topology are drawn."""
    n = len(graph)
    if topology == "torus":
        rows, columns = rows_of(n), n // rows_of(n)
        return {i: _on_doughnut(i // columns, i % columns, rows, columns) for i in graph}
    if topology == SOCIAL:
        return nx.spring_layout(graph, seed=11, iterations=200)
    return around(graph)


def _on_doughnut(row: int, column: int, rows: int, columns: int) -> tuple[float, float]:
    """A doughnut seen from above and somewhat from the side."""
    around, through = 2 * math.pi * column / columns, 2 * math.pi * (row + 0.5) / rows
    radius = 1 + 0.45 * math.cos(through) * (rows > 1)
    return radius * math.sin(around), 0.8 * radius * math.cos(around) + 0.22 * math.sin(through)


def nobody_in_the_middle(**options: Any) -> Panel:
    """Workers who talk to their neighbours alone agree on a mean, or learn digits, each with a
    model of its own. options: as of `dashboard`.
    """
    train, test = digits().split(test=0.2, seed=0)
    problem, held_out = Logistic(train.x, train.y), Logistic(test.x, test.y)
    graph_of = cache(lambda topology, n: TOPOLOGIES[topology](n))
    weights_of = cache(lambda topology, n: metropolis(graph_of(topology, n)))
    begin = cache(beginnings)

    def launch(
        cluster: str,
        workers: int,
        topology: str,
        link: str,
        task: str,
        labels: str,
        decay: bool,
        method: str,
        codec: str,
        gamma: float,
        steps: int,
    ) -> Running:
        W = weights_of(topology, workers)
        n = len(W)
        where: Simulated | Processes = Processes(n, paced=True)
        if cluster == "simulated":
            where = Simulated(n, network=LINKS[link])
        if task == AGREE:
            x = begin(n)
            if method == EXACT:
                return where.start(gossip, x, W, steps=steps, gamma=gamma)
            program = naive_gossip if method == NAIVE else choco_gossip
            chosen = CODECS[codec](LENGTH)
            return where.start(program, x, W, steps=steps, codec=chosen, gamma=gamma)
        if method == NAIVE:
            raise ValueError(
                f"{NAIVE} messages are there to {AGREE}, got the task to {DIGITS}: take {EXACT}, "
                f"which is D-SGD, or {CHOCO}"
            )
        training = {
            "steps": steps,
            "batch_size": BATCH_SIZE,
            "split": SPLITS[labels],
            "schedule": cosine(steps) if decay else constant,
        }
        if method == EXACT:
            return where.start(d_sgd, problem, sgd(RATE), W=W, **training)
        chosen = CODECS[codec](problem.dim)
        return where.start(
            choco_sgd, problem, sgd(RATE), W=W, codec=chosen, gamma=gamma, **training
        )

    def height(X: np.ndarray, task: str) -> float:
        heard = X[np.isfinite(X).all(axis=1)]
        if len(heard) == 0:
            return MOST
        if task == AGREE:
            error = float(np.mean(np.sum((heard - begin(len(X)).mean(axis=0)) ** 2, axis=1)))
        else:
            error = float(np.mean([held_out.loss(w) for w in heard]))
        return min(MOST, max(LEAST, error))

    def answers(
        run: Run, curve: Curve, workers: int, topology: str, task: str, method: str
    ) -> dict[str, str]:
        delta = spectral_gap(weights_of(topology, workers))
        told = {}
        if task == AGREE:
            told["squared error"] = f"{height(np.array(run.results), task):.2g}"
            told["a step leaves"] = percent(left_by_a_step(curve))
            if method == EXACT:
                told["(1 − δ)²"] = percent((1 - delta) ** 2)
        else:
            accuracies = [held_out.accuracy(w) for w in run.results]
            told["accuracy, own models"] = f"{np.mean(accuracies):.1%}"
            told["the worst"] = f"{min(accuracies):.1%}"
            told["their mean model"] = f"{held_out.accuracy(np.mean(run.results, axis=0)):.1%}"
        told["δ"] = f"{delta:.3g}"
        told["the busiest sends"] = human_bytes(run.trace.bytes_by_rank(run.size).max())
        told["time"] = seconds_text(run.seconds)
        return told

    def picture(looks: Sequence[Look], shown: Look) -> Figure:
        topology = shown.settings["topology"]
        graph = graph_of(topology, shown.settings["workers"])
        X = shown.models[-1]
        middle = np.nanmean(X, axis=0)
        apart = np.linalg.norm(X - middle, axis=1)
        least, figure = 1e-6, "distance from the mean"
        if shown.settings["task"] == DIGITS:
            apart = apart / (float(np.linalg.norm(middle)) or 1.0)
            least, figure = 1e-2, "distance from the mean, over its length"
        return network(
            graph,
            {"": apart},
            places=places(topology, graph),
            figure=figure,
            least=least,
            caption=shown.label,
        )

    return dashboard(
        launch,
        [
            Choice("cluster", ["simulated", "processes"], "simulated", group="Cluster"),
            Slider("workers", 4, 32, 16, group="Cluster"),
            Choice("topology", list(TOPOLOGIES), "ring", group="Cluster"),
            Choice("link", list(LINKS), PLAIN, group="Cluster"),
            Choice("task", [AGREE, DIGITS], AGREE, group="Task"),
            Choice("labels", list(SPLITS), "mixed", group="Task"),
            Toggle("decay", False, label="rate falls to 0", group="Task"),
            Choice("method", [EXACT, NAIVE, CHOCO], EXACT, group="Gossip"),
            Choice("codec", list(CODECS), "4 bits", label="messages", group="Gossip"),
            Slider("gamma", 0.05, 1.0, 1.0, step=0.05, label="step size γ", group="Gossip"),
            Slider("steps", 25, 800, 200, log=True, group="Gossip"),
        ],
        curve=height,
        value="squared error, or test loss",
        answers=answers,
        label=_label,
        steps=lambda steps: steps + 1,
        picture=picture,
        pictured="How far each worker is from the mean",
        over="steps",
        everybody=True,
        **options,
    )


def beginnings(n: int) -> np.ndarray:
    """What n workers begin with, (n, LENGTH): drawn, of a length of about 1 each."""
    return np.random.default_rng(0).normal(size=(n, LENGTH)) / math.sqrt(LENGTH)


def left_by_a_step(curve: Curve) -> float:
    """What a step leaves of the value, in the second half of those above the least that is drawn.

    NaN if there are none.
    """
    seen = np.flatnonzero(curve.value > 10 * LEAST)
    half = seen[len(seen) // 2 :]
    if len(half) < 2:
        return math.nan
    first, last = half[0], half[-1]
    steps = curve.step[last] - curve.step[first]
    return float((curve.value[last] / curve.value[first]) ** (1 / steps))


def percent(share: float) -> str:
    return "–" if math.isnan(share) else f"{share:.2%}"


def _label(
    workers: int,
    topology: str,
    link: str,
    task: str,
    labels: str,
    decay: bool,
    method: str,
    codec: str,
    gamma: float,
) -> str:
    """The settings that matter to the run, and no others."""
    parts = [topology if topology == SOCIAL else f"{topology} of {workers}"]
    parts += [method] if method == EXACT else [f"{method} {codec}"]
    if gamma != 1 and not (task == DIGITS and method == EXACT):
        parts.append(f"γ {gamma:g}")
    if task == DIGITS:
        parts += [f"digits {labels}", *["rate falls"] * decay]
    parts += [link] * (link != PLAIN)
    return ", ".join(parts)
