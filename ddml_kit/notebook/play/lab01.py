"""Lab 01: which way is a step, and how far?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import numpy as np
import torch

from ddml_kit.cluster import Processes, Run, Running, Simulated
from ddml_kit.cluster.run import Curve
from ddml_kit.notebook.dashboard import dashboard
from ddml_kit.notebook.figures import Figure, landscape, neurons, tiles
from ddml_kit.notebook.knobs import Choice, Slider, Toggle
from ddml_kit.notebook.panel import Panel
from ddml_kit.notebook.panel.runs import Look
from ddml_kit.notebook.units import number_text, seconds_text
from ddml_kit.problems import LeastSquares, Logistic, Problem, TorchModule, digits
from ddml_kit.problems.lenet import on_images
from ddml_kit.problems.points import Layout, points, quarters, rings, small_network, spirals
from ddml_kit.problems.series import WEEK, energy_demand, lagged
from ddml_kit.problems.surfaces import Map, Range, Surface, bowl, rosenbrock, saddle, survey
from ddml_kit.training.adaptive import adagrad, adam, rmsprop
from ddml_kit.training.conjugate_gradient import conjugate_gradient
from ddml_kit.training.momentum import momentum, nesterov
from ddml_kit.training.newton import damped_newton, newton
from ddml_kit.training.objective import Method
from ddml_kit.training.one_machine import mini_batch, whole_batch
from ddml_kit.training.optimisers import Optimiser, sgd, shampoo
from ddml_kit.training.quasi_newton import bfgs, lbfgs

LEAST, MOST = 1e-12, 1e6  # what a loss beyond is drawn as, on an axis of powers of ten
WIDEST = 2000  # weights for which a matrix of all pairs is made
TURNED = 40.0  # degrees
GRID = 36  # points along each side of a network's plane
PATHS = 6  # that one map shows

RULES: dict[str, Callable[[float, float, Problem], Optimiser]] = {
    "descent": lambda lr, mu, problem: sgd(lr),
    "momentum": lambda lr, mu, problem: momentum(lr, mu=mu),
    "Nesterov": lambda lr, mu, problem: nesterov(lr, mu=mu),
    "AdaGrad": lambda lr, mu, problem: adagrad(lr),
    "RMSprop": lambda lr, mu, problem: rmsprop(lr),
    "Adam": lambda lr, mu, problem: adam(lr),
    "Shampoo": lambda lr, mu, problem: shampoo(lr, shapes=problem.shapes),
}
WITH_MOMENTUM = ("momentum", "Nesterov")
METHODS: dict[str, Method] = {
    "Newton": newton,
    "damped Newton": damped_newton,
    "BFGS": bfgs,
    "L-BFGS": lbfgs,
    "conjugate gradient": conjugate_gradient,
}
WITH_A_MATRIX = ("Newton", "damped Newton", "BFGS")
LAYOUTS: dict[str, Layout] = {"rings": rings, "quarters": quarters, "spirals": spirals}


@dataclass(frozen=True)
class Ground:
    """What is walked on: a problem, how high a model is on it, and how that is drawn.

    accuracy: of a model on samples that it has not seen; None where nothing is classified.
    minima: where the loss is least, for a map.
    """

    problem: Problem
    height: Callable[[np.ndarray], float]
    picture: Callable[[Sequence[Look], Look], Figure]
    accuracy: Callable[[np.ndarray], float] | None = None
    minima: Sequence[Sequence[float]] = ()


def which_way_and_how_far(**options: Any) -> Panel:
    """A method on a ground of one's choice: its curve, and where it went. options: as of
    `dashboard`.
    """
    ground_of = cache(_ground)

    def launch(
        cluster: str,
        ground: str,
        condition: float,
        turned: bool,
        noise: float,
        method: str,
        lr: float,
        mu: float,
        batch_size: int,
        steps: int,
    ) -> Running:
        problem = ground_of(ground, condition, turned, noise).problem
        where = {"simulated": Simulated, "processes": Processes}[cluster](1)
        if method in WITH_A_MATRIX and problem.dim > WIDEST:
            size = 8 * problem.dim**2 / 1e9
            raise ValueError(
                f"{method} makes a matrix of {problem.dim:,} × {problem.dim:,} numbers, "
                f"{size:.1f} GB: take a method without one, such as L-BFGS"
            )
        if method in METHODS:
            return where.start(whole_batch, problem, METHODS[method], steps=steps, tolerance=1e-10)
        return where.start(
            mini_batch,
            problem,
            RULES[method](lr, mu, problem),
            steps=steps,
            batch_size=min(batch_size, len(problem)),
        )

    def height(w: np.ndarray, ground: str, condition: float, turned: bool, noise: float) -> float:
        loss = ground_of(ground, condition, turned, noise).height(w)
        return max(LEAST, loss) if loss < MOST else MOST  # NaN is above it, too

    def answers(
        run: Run, curve: Curve, ground: str, condition: float, turned: bool, noise: float
    ) -> dict[str, str]:
        here, result = ground_of(ground, condition, turned, noise), run.results[0]
        w = getattr(result, "w", result)
        told = {"loss": f"{curve.value[-1]:.3g}"}
        if here.accuracy is not None:
            told["accuracy"] = f"{here.accuracy(w):.1%}"
        else:
            away = np.linalg.norm(np.asarray(here.minima) - w, axis=1).min()
            told["to the minimum"] = number_text(float(away))
        told["steps"] = str(curve.step[-1])
        told["time"] = seconds_text(run.seconds)
        if run.badge == "simulated":
            [everything] = here.problem.batches(None, len(here.problem), 1)
            told["in passes"] = number_text(run.seconds / here.problem.seconds(everything))
        return told

    def picture(looks: Sequence[Look], shown: Look) -> Figure:
        named = ("ground", "condition", "turned", "noise")
        ground = ground_of(*(shown.settings[name] for name in named))
        return ground.picture(looks, shown)

    return dashboard(
        launch,
        [
            Choice("cluster", ["simulated", "processes"], "simulated", group="Cluster"),
            Choice("ground", GROUNDS, "valley", group="Ground"),
            Slider("condition", 1.0, 1000.0, 20.0, log=True, group="Ground"),
            Toggle("turned", False, group="Ground"),
            Slider("noise", 0.0, 2.0, 0.0, step=0.25, group="Ground"),
            Choice("method", [*RULES, *METHODS], "descent", group="Step"),
            Slider("lr", 0.0005, 5.0, 1.0, log=True, label="step size", group="Step"),
            Slider("mu", 0.0, 0.99, 0.9, step=0.01, label="momentum", group="Step"),
            Slider("batch_size", 1, 2048, 32, log=True, label="batch size", group="Step"),
            Slider("steps", 8, 1024, 64, log=True, group="Step"),
        ],
        curve=height,
        value="loss",
        answers=answers,
        steps=lambda steps: steps + 1,
        label=_label,
        picture=picture,
        pictured="Where it went",
        over="steps",
        **options,
    )


def _label(
    ground: str,
    condition: float,
    turned: bool,
    noise: float,
    method: str,
    lr: float,
    mu: float,
    batch_size: int,
) -> str:
    """The settings that matter to the run, and no others."""
    parts = [method]
    if method in RULES:
        parts[0] += f" {lr:g}" + f" (keeps {mu:g})" * (method in WITH_MOMENTUM)
        if noise or ground not in SURFACES:
            parts.append(f"batch {batch_size}")
    parts.append(f"{ground} {condition:g}" if ground == "valley" else ground)
    parts += ["turned"] * (turned and ground == "valley")
    parts += [f"noise {noise:g}"] * bool(noise and ground in SURFACES)
    return ", ".join(parts)


# ---------------------------------------------------------------------------- grounds


def _ground(name: str, condition: float, turned: bool, noise: float) -> Ground:
    if name == "valley":
        return _surface(bowl(condition, angle=TURNED * turned, noise=noise))
    if name in SURFACES:
        return _surface(SURFACES[name](noise=noise))
    if name in LAYOUTS:
        return _plane(LAYOUTS[name])
    return {"energy demand": _demand, "digits": _digits, "LeNet": _lenet}[name]()


SURFACES: dict[str, Callable[..., Surface]] = {
    "valley": bowl,
    "Rosenbrock": rosenbrock,
    "saddle": saddle,
}
GROUNDS = [*SURFACES, "energy demand", "digits", "LeNet", *LAYOUTS]


def _surface(problem: Surface) -> Ground:
    shape = problem.shape
    return Ground(
        problem,
        lambda w: problem.loss(w) - shape.least,
        partial(_map, survey(problem, shape.x, shape.y), shape.minima),
        minima=shape.minima,
    )


def _demand() -> Ground:
    """Least squares of eight weeks of demand, less its mean, on the two hours before."""
    series = energy_demand(8 * WEEK, seed=0)
    problem = LeastSquares(*lagged(series - series.mean(), 2))
    best = np.linalg.lstsq(problem.x, problem.y)[0]
    least = problem.loss(best)
    window: tuple[Range, Range] = ((-1.0, 3.4), (-2.2, 1.4))
    minima = (best.tolist(),)
    picture = partial(_map, survey(problem, *window), minima)
    return Ground(problem, lambda w: problem.loss(w) - least, picture, minima=minima)


def _map(
    plane: Map, minima: Sequence[Sequence[float]], looks: Sequence[Look], shown: Look
) -> Figure:
    """The paths of the last runs on the same ground, that which is looked at last, on top."""
    same = [look for look in looks if _same_ground(look, shown) and look is not shown]
    drawn = [*same[1 - PATHS :], shown]
    figure = landscape(
        plane,
        {look.label: np.array(look.models) for look in drawn},
        minima=minima,
        looks=[look.line for look in drawn],
    )
    figure.plot.update_layout(showlegend=False, margin={"t": 12})  # the list of runs is one
    return figure


def _same_ground(one: Look, other: Look) -> bool:
    named = ["ground"]
    if other.settings["ground"] == "valley":
        named += ["condition", "turned"]
    return all(one.settings[name] == other.settings[name] for name in named)


def _digits() -> Ground:
    """Softmax regression of the digits; the loss is that of images it has not seen."""
    train, test = digits().split(test=0.2, seed=0)
    problem = Logistic(train.x, train.y, l2=1e-3, dtype=np.float64)
    held_out = Logistic(test.x, test.y, dtype=np.float64)

    def picture(looks: Sequence[Look], shown: Look) -> Figure:
        weights = shown.models[-1].reshape(64, 10).T.reshape(10, 8, 8)
        return tiles([("weights of", weights)], titles=list("0123456789"))

    return Ground(problem, held_out.loss, picture, held_out.accuracy)


def _lenet() -> Ground:
    """LeNet on the same digits; drawn are its first filters, and what they make of an image."""
    train, test = digits().split(test=0.2, seed=0)
    problem, held_out = on_images(train), on_images(test.take(np.arange(200)))
    image = test.x[:1]

    def picture(looks: Sequence[Look], shown: Look) -> Figure:
        first = torch.nn.Sequential(*problem.module(shown.models[-1]).children())[:3]
        with torch.no_grad():
            maps = first(torch.from_numpy(image))[0].numpy()  # convolution and tanh
        filters = next(first.parameters()).detach().numpy()[:, 0]
        return tiles([("6 filters", filters), ("of this image", np.concatenate([maps, image]))])

    return Ground(problem, held_out.loss, picture, held_out.accuracy)


def _plane(layout: Layout) -> Ground:
    """Points that a network of two small layers tells apart, and what each of its neurons sees."""
    train, test = points(layout, 400, seed=0).split(test=0.25, seed=0)
    problem, held_out = small_network(train), small_network(test)

    def picture(looks: Sequence[Look], shown: Look) -> Figure:
        answer, layers = seen_by(problem, shown.models[-1])
        return neurons(answer, layers, problem.x, problem.y)

    return Ground(problem, held_out.loss, picture, held_out.accuracy)


def seen_by(problem: TorchModule, w: np.ndarray) -> tuple[np.ndarray, list[np.ndarray]]:
    """What a network of two inputs answers over the plane, (m, m), and what its neurons do, a
    (k, m, m) for each tanh, over x (columns) and y (rows) from -1.1 to 1.1.
    """
    side = np.linspace(-1.1, 1.1, GRID, dtype=np.float32)
    plane = np.stack(np.meshgrid(side, side), axis=-1).reshape(-1, 2)
    layers = []
    with torch.no_grad():
        x = torch.from_numpy(plane)
        for layer in problem.module(w).children():
            x = layer(x)
            if isinstance(layer, torch.nn.Tanh):
                layers.append(x.T.numpy().reshape(-1, GRID, GRID))
        answer = torch.softmax(x, dim=1)[:, 1].numpy().reshape(GRID, GRID)
    return answer, layers
