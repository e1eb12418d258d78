"""Lab 09: what if some of them lie?"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from torch import nn

from ddml_kit.aggregation import (
    BOUNDS,
    Rule,
    bulyan,
    centred_clipping,
    geometric_median,
    krum,
    mean,
    median,
    multi_krum,
    norm_clipping,
    trimmed_mean,
)
from ddml_kit.attacks import (
    Attack,
    gaussian,
    inner_product,
    label_flip,
    little_is_enough,
    mimic,
    sign_flip,
    zero,
)
from ddml_kit.cluster import Processes, Run, Running, Simulated
from ddml_kit.cluster.run import Curve
from ddml_kit.notebook.dashboard import dashboard
from ddml_kit.notebook.figures import Figure, crowd
from ddml_kit.notebook.knobs import Choice, Knob, Slider
from ddml_kit.notebook.live import Live, Shown
from ddml_kit.notebook.panel import Panel
from ddml_kit.notebook.panel.runs import Look
from ddml_kit.notebook.units import number_text
from ddml_kit.problems import Quadratic, TorchModule, digits
from ddml_kit.problems.sharding import Split, by_label, dirichlet, shuffled
from ddml_kit.training.byzantine import robust_server
from ddml_kit.training.optimisers import sgd

WORKERS = 11
RATE, STEPS = 1.0, 80  # of the dashboard's training
RADIUS = 2.0  # within which clipping leaves a gradient
PLANE_RATE, PLANE_STEPS = 0.1, 40  # of the training in the plane

Program = Mapping[str, Any]  # options of `robust_server`

RULES: Mapping[str, Rule] = {
    "mean": mean,
    "median": median,
    "trimmed mean": trimmed_mean,
    "Krum": krum,
    "multi-Krum": multi_krum,
    "Bulyan": bulyan,
    "geometric median": geometric_median,
    "centred clipping": partial(centred_clipping, radius=RADIUS, steps=3),
    "norm clipping": partial(norm_clipping, radius=RADIUS),
}
ATTACKS: Mapping[str, Program] = {
    "noise": {"attack": gaussian},
    "turned round": {"attack": partial(sign_flip, scale=4.0)},
    "zeros": {"attack": zero},
    "a little": {"attack": little_is_enough},
    "inner product": {"attack": partial(inner_product, epsilon=1.0)},
    "mimic": {"attack": partial(mimic, worker=0)},
    "flipped labels": {"poison": label_flip(10)},
    "20 steps late": {"stale": 20},
}
SPLITS: Mapping[str, Split] = {
    "mixed": shuffled(0),
    "uneven": dirichlet(1.0, 0),
    "very uneven": dirichlet(0.1, 0),
    "sorted": by_label,
}


def needs(rule: str) -> str:
    """What a rule asks of n and f, in words: n ≥ 2f + 3."""
    bound = BOUNDS[rule.lower().replace(" ", "_").replace("-", "_")]
    return bound.needs.replace(">=", "≥")


# ------------------------------------------------------------------- liars in the plane, live


def placed(
    honest: np.ndarray, a: int, rng: np.random.Generator, *, distance: float, angle: float
) -> np.ndarray:
    """All liars at one place of the plane, (a, 2): so far from the honest mean, in that direction.

    distance: in lengths by which the honest themselves are off it, as the root of the mean square.
    angle: in degrees from the direction of the honest mean; at 180 it is against it.
    """
    middle = honest.mean(axis=0)
    along = middle / (np.linalg.norm(middle) or 1.0)
    across = np.array([-along[1], along[0]])
    turn = math.radians(angle)
    spread = math.sqrt(np.square(honest - middle).sum(axis=1).mean())
    lie = middle + distance * spread * (math.cos(turn) * along + math.sin(turn) * across)
    return np.tile(lie, (a, 1))


def in_the_plane(deviation: float = 0.7, samples: int = 400) -> Quadratic:
    """A loss of two numbers, the mean of |w - m|^2 / 2 over samples m around (1, 1)."""
    rng = np.random.default_rng(0)
    minima = 1 + deviation * rng.standard_normal((samples, 2))
    return Quadratic(np.broadcast_to(np.eye(2), (samples, 2, 2)), minima)


def drag_the_liars(**options: Any) -> Live:
    """Eleven workers and a model of two numbers: sliders put the liars where one likes.

    options: as of `Live`.
    """
    problem = in_the_plane()
    best = problem.y.mean(axis=0)
    rng = np.random.default_rng(2)
    batches = [next(iter(problem.batches(rng, 1, 1))) for _ in range(WORKERS)]
    gradients = np.array([problem.gradient(problem.initial(), batch) for batch in batches])

    def left(w: np.ndarray) -> float:
        return problem.loss(w) - problem.loss(best)

    def draw(attackers: int, distance: float, angle: int, rule: str, f: int) -> Shown:
        attack = partial(placed, distance=distance, angle=angle)
        honest = gradients[: WORKERS - attackers]
        lies = attack(honest, attackers, rng)
        every = np.concatenate([honest, lies])
        results = {rule: RULES[rule](every, f)} | {"mean of all": every.mean(axis=0)}
        middle = honest.mean(axis=0)
        run = Simulated(WORKERS + 1).run(
            robust_server,
            problem,
            sgd(PLANE_RATE),
            steps=PLANE_STEPS,
            batch_size=1,
            rule=RULES[rule],
            f=f,
            attack=attack,
            attackers=attackers,
        )
        remaining = left(run.results[0]) / left(problem.initial())
        told = {f"{rule} is off by": _away(results[rule] - middle)}
        if rule == "Krum":
            told["it takes"] = whose(results[rule], honest, lies)
        told["mean is off by"] = _away(results["mean of all"] - middle)
        told[f"loss left after {PLANE_STEPS} steps"] = share(remaining)
        points, others = projected(honest, [lies, *results.values()])
        return Shown(told, crowd(points, others[0], dict(zip(results, others[1:], strict=True))))

    knobs: list[Knob] = [
        Slider("attackers", 0, 6, 1, group="Liars"),
        Slider("distance", 0.0, 30.0, 0.0, step=0.5, unit="spreads", group="Liars"),
        Slider("angle", 0, 345, 180, step=15, label="direction", unit="°", group="Liars"),
        Choice("rule", list(RULES), "mean", group="Rule"),
        Slider("f", 0, 5, 1, label="liars assumed, f", group="Rule"),
    ]
    return Live(draw, knobs, title="Eleven gradients, and what is made of them", **options)


def _away(difference: np.ndarray) -> str:
    return number_text(round(float(np.linalg.norm(difference)), 4))


def whose(chosen: np.ndarray, honest: np.ndarray, lies: np.ndarray) -> str:
    """Whether a chosen gradient is an honest one's or a lie."""
    if any(np.array_equal(chosen, lie) for lie in lies):
        return "a lie"
    return "an honest one"


def share(x: float) -> str:
    """0.8%, 12%, 340%; how many times from a thousand per cent on."""
    if not x < 1e6:
        return "lost"
    return f"{x:.1%}" if x < 0.1 else f"{x:.0%}" if x < 10 else f"{x:,.0f} times"


def in_one_picture(
    honest: np.ndarray, lies: np.ndarray, rules: Mapping[str, Rule], *, f: int, **options: Any
) -> Figure:
    """Gradients (n - a, d) and (a, d), and what each rule makes of all, in a plane.

    options: as of `crowd`.
    """
    every = np.concatenate([honest, lies])
    results = {name: rule(every, f) for name, rule in rules.items()}
    points, others = projected(honest, [lies, *results.values()])
    return crowd(points, others[0], dict(zip(results, others[1:], strict=True)), **options)


def projected(
    honest: np.ndarray, others: Sequence[np.ndarray]
) -> tuple[np.ndarray, list[np.ndarray]]:
    """Vectors as points: along the honest mean, and across it where the honest differ most.

    honest: (n - a, d). others: each (k, d) or (d,). With d = 2 nothing is lost; with more,
    distances become shorter.
    """
    honest = np.asarray(honest, np.float64)
    middle = honest.mean(axis=0)
    along = middle / (np.linalg.norm(middle) or 1.0)
    rest = honest - middle
    rest = rest - np.outer(rest @ along, along)
    _, _, directions = np.linalg.svd(rest, full_matrices=False)
    across = directions[0] - (directions[0] @ along) * along
    across = across / (np.linalg.norm(across) or 1.0)
    across = across * (np.sign(across[np.argmax(np.abs(across))]) or 1.0)
    axes = np.stack([along, across], axis=1)
    return honest @ axes, [np.asarray(other, np.float64) @ axes for other in others]


# --------------------------------------------------------------------- digits, among liars


def what_if_they_lie(*, steps: int = STEPS, **options: Any) -> Panel:
    """A small network learns digits on a robust server; some workers lie, and the picture shows
    the gradients of all in a plane. steps: of a run. options: as of `dashboard`.
    """
    train, test = digits().split(test=0.2, seed=0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.Tanh(), nn.Linear(32, 10))
    problem = TorchModule(network, nn.functional.cross_entropy, train)
    held_out = problem.on(test.x, test.y)

    def launch(
        cluster: str,
        workers: int,
        batch_size: int,
        labels: str,
        attack: str,
        attackers: int,
        rule: str,
        f: int,
    ) -> Running:
        where: Simulated | Processes = Processes(workers + 1, paced=True)
        if cluster == "simulated":
            where = Simulated(workers + 1)
        return where.start(
            robust_server,
            problem,
            sgd(RATE),
            steps=steps,
            batch_size=batch_size,
            rule=RULES[rule],
            f=f,
            attackers=attackers,
            split=SPLITS[labels],
            **(ATTACKS[attack] if attackers else {}),
        )

    def answers(run: Run, curve: Curve, rule: str, attackers: int, f: int) -> dict[str, str]:
        w = run.results[0]
        return {
            "in the end": number_text(float(f"{curve.value[-1]:.2g}")),
            "accuracy": f"{held_out.accuracy(w):.0%}",
            "lies among": f"{attackers} of {run.size - 1}",
            "the rule needs": needs(rule),
        }

    def picture(looks: Sequence[Look], shown: Look) -> Figure:
        chosen = shown.settings
        honest, lies = gradients(problem, shown.models, **chosen)
        rules = {chosen["rule"]: RULES[chosen["rule"]]}
        if chosen["rule"] != "mean":
            rules["mean of all"] = mean
        return in_one_picture(honest, lies, rules, f=chosen["f"])

    return dashboard(
        launch,
        [
            Choice("cluster", ["simulated", "processes"], "simulated", group="Cluster"),
            Slider("workers", 3, 25, WORKERS, group="Cluster"),
            Slider("batch_size", 1, 64, 8, log=True, label="images each", group="Data"),
            Choice("labels", list(SPLITS), "mixed", group="Data"),
            Choice("attack", list(ATTACKS), "noise", group="Liars"),
            Slider("attackers", 0, 12, 0, group="Liars"),
            Choice("rule", list(RULES), "mean", group="Rule"),
            Slider("f", 0, 12, 0, label="liars assumed, f", group="Rule"),
        ],
        curve=held_out.loss,
        value="test loss",
        over="steps",
        answers=answers,
        steps=lambda: steps + 1,
        label=_label,
        picture=picture,
        pictured="The gradients at its model",
        **options,
    )


def gradients(
    problem: TorchModule,
    models: Sequence[np.ndarray],
    *,
    workers: int,
    batch_size: int,
    labels: str,
    attack: str,
    attackers: int,
    **others: Any,
) -> tuple[np.ndarray, np.ndarray]:
    """What all send at the last of these models, (n - a, d) and (a, d), each from a batch of its
    own. Those who are late are so by as many models as there are.
    """
    options = ATTACKS[attack]
    poison, late = options.get("poison"), min(options.get("stale", 0), len(models) - 1)
    found = []
    for worker in range(workers):
        liar = worker >= workers - attackers
        rng = np.random.default_rng(worker)
        [batch] = problem.shard(worker, workers, SPLITS[labels]).batches(rng, batch_size, 1)
        if liar and poison is not None:
            batch = poison(batch, rng)
        found.append(problem.gradient(models[-1 - late * liar], batch))
    honest, lies = np.stack(found[: workers - attackers]), np.array(found[workers - attackers :])
    lie: Attack | None = options.get("attack")
    if lie is not None:
        lies = lie(honest, attackers, np.random.default_rng(workers))
    return honest, lies.reshape(attackers, problem.dim)


def _label(
    cluster: str,
    workers: int,
    batch_size: int,
    labels: str,
    attack: str,
    attackers: int,
    rule: str,
    f: int,
) -> str:
    """Krum, f = 4, 4 of 11: noise; batch and labels where they are not those of the beginning."""
    parts = [f"{rule}, f = {f}" if rule != "mean" else rule]
    parts.append(f"{attackers} of {workers}: {attack}" if attackers else f"{workers} honest")
    parts += [f"{batch_size} images"] * (batch_size != 8)
    parts += [labels] * (labels != "mixed")
    return ", ".join(parts)
