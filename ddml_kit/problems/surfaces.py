"""Functions of two numbers, to look at a method's path: a valley, Rosenbrock's, a saddle.

Each sample is the same function f, tilted a little its own way: f(w) + x_i^T w. The tilts have mean
zero, so all samples together are f, and the gradient of a batch is that of f with noise whose
deviation falls with the root of the batch.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

import numpy as np

from ddml_kit.problems.problem import FLOPS, Batch, Problem
from ddml_kit.problems.supervised import Supervised

OPERATIONS = 20  # of a function of two numbers and its gradient, about
FAR = 1e100  # a slope that counts as infinite: a walk that meets it never comes back

Range = tuple[float, float]


@dataclass(frozen=True)
class Shape:
    """A smooth function of w, (2,): value, gradient (2,) and Hessian (2, 2).

    start: where a walk begins. minima: where it is least, with the value `least`. x, y: the part
    of the plane to look at.
    """

    value: Callable[[np.ndarray], float]
    gradient: Callable[[np.ndarray], np.ndarray]
    hessian: Callable[[np.ndarray], np.ndarray]
    start: np.ndarray
    minima: tuple[tuple[float, float], ...]
    least: float
    x: Range
    y: Range


class Surface(Supervised):
    """The mean of f(w) + x_i^T w, as a function of w, (2,), in float64.

    shape: f. x: the tilts, (n, 2). Labels are zeros and mean nothing.
    """

    dim, dtype, shapes = 2, np.dtype(np.float64), ((2,),)

    def __init__(self, shape: Shape, x: np.ndarray) -> None:
        self.shape = shape
        self.x, self.y = np.asarray(x, np.float64), np.zeros(len(x))
        if self.x.ndim != 2 or self.x.shape[1] != 2 or not len(self.x):
            raise ValueError(f"a surface needs tilts (n, 2), got {self.x.shape}")
        self._tilt = self.x.mean(axis=0)

    def on(self, x: Any, y: np.ndarray) -> Self:
        other = type(self)(self.shape, x)
        other.y = y
        return other

    def initial(self, seed: int = 0) -> np.ndarray:
        """The start of the walk, (2,), whatever the seed."""
        return self.shape.start.copy()

    def _gradient(self, w: np.ndarray, batch: Batch) -> np.ndarray:
        with np.errstate(over="ignore", invalid="ignore"):
            gradient = self.shape.gradient(w) + batch.x.mean(axis=0)
        return np.where(np.abs(gradient) < FAR, gradient, np.inf)

    def loss(self, w: np.ndarray) -> float:
        with np.errstate(over="ignore", invalid="ignore"):
            return float(self.shape.value(w) + self._tilt @ w)

    def accuracy(self, w: np.ndarray) -> float:
        return np.nan

    def seconds(self, batch: Batch) -> float:
        """20 operations a sample, at 1e9 a second."""
        return OPERATIONS * len(batch) / FLOPS

    def hvp(self, w: np.ndarray, v: np.ndarray, batch: Batch) -> np.ndarray:
        return self.shape.hessian(w) @ v

    def hessian(self, w: np.ndarray, batch: Batch) -> np.ndarray:
        """That of f, (2, 2), whatever the batch."""
        return self.shape.hessian(w)


def bowl(
    condition: float, *, angle: float = 0.0, noise: float = 0.0, samples: int = 256, seed: int = 0
) -> Surface:
    """(u^2 / condition + v^2) / 2: a valley along u, the steepest curvature of it 1.

    angle: of the valley to the first axis, in degrees. noise: the deviation of a tilt, in each
    direction. Raises ValueError unless condition >= 1.
    """
    if not condition >= 1:
        raise ValueError(f"a condition number is 1 or more, got {condition}")
    cosine, sine = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    turn = np.array([[cosine, -sine], [sine, cosine]])
    H = turn @ np.diag([1 / condition, 1.0]) @ turn.T
    wide, high = abs(turn) @ [10.0, 4.0]
    shape = Shape(
        value=lambda w: w @ H @ w / 2,
        gradient=lambda w: H @ w,
        hessian=lambda w: H,
        start=turn @ [-8.0, 2.0],
        minima=((0.0, 0.0),),
        least=0.0,
        x=(-wide, wide),
        y=(-high, high),
    )
    return Surface(shape, _tilts(noise, samples, seed))


def rosenbrock(*, noise: float = 0.0, samples: int = 256, seed: int = 0) -> Surface:
    """(1 - w0)^2 + 100 (w1 - w0^2)^2: a narrow, bent valley, and a start on its wrong side.

    H. H. Rosenbrock, "An Automatic Method for Finding the Greatest or Least Value of a Function",
    The Computer Journal 3(3), 1960, with its start.
    """
    shape = Shape(
        value=lambda w: (1 - w[0]) ** 2 + 100 * (w[1] - w[0] ** 2) ** 2,
        gradient=lambda w: np.array(
            [-2 * (1 - w[0]) - 400 * w[0] * (w[1] - w[0] ** 2), 200 * (w[1] - w[0] ** 2)]
        ),
        hessian=lambda w: np.array(
            [[2 - 400 * (w[1] - 3 * w[0] ** 2), -400 * w[0]], [-400 * w[0], 200.0]]
        ),
        start=np.array([-1.2, 1.0]),
        minima=((1.0, 1.0),),
        least=0.0,
        x=(-2.2, 2.2),
        y=(-0.6, 1.8),
    )
    return Surface(shape, _tilts(noise, samples, seed))


def saddle(*, noise: float = 0.0, samples: int = 256, seed: int = 0) -> Surface:
    """w0^2 / 2 - w1^2 / 2 + w1^4 / 4: a saddle at (0, 0), between minima at (0, 1) and (0, -1).

    The walk starts nearly on the ridge that leads to the saddle.
    """
    shape = Shape(
        value=lambda w: w[0] ** 2 / 2 - w[1] ** 2 / 2 + w[1] ** 4 / 4,
        gradient=lambda w: np.array([w[0], w[1] ** 3 - w[1]]),
        hessian=lambda w: np.array([[1.0, 0.0], [0.0, 3 * w[1] ** 2 - 1]]),
        start=np.array([-2.0, 1e-3]),
        minima=((0.0, 1.0), (0.0, -1.0)),
        least=-0.25,
        x=(-2.7, 2.7),
        y=(-1.6, 1.6),
    )
    return Surface(shape, _tilts(noise, samples, seed))


def _tilts(noise: float, samples: int, seed: int) -> np.ndarray:
    """(samples, 2) normal numbers of this deviation, whose mean is zero but for rounding."""
    if not noise >= 0:
        raise ValueError(f"noise must be 0 or more, got {noise}")
    if samples < 1:
        raise ValueError(f"a surface needs 1 sample or more, got {samples}")
    x = noise * np.random.default_rng(seed).standard_normal((samples, 2))
    return x - x.mean(axis=0)


class Map(NamedTuple):
    """Heights of a function over the plane: height[i, j] at (x[j], y[i])."""

    x: np.ndarray
    y: np.ndarray
    height: np.ndarray


def survey(problem: Problem, x: Range, y: Range, points: int = 61) -> Map:
    """The loss of a problem of two numbers on a grid, `points` along each axis.

    Raises ValueError for a problem of another dimension.
    """
    if problem.dim != 2:
        raise ValueError(f"a map is of two numbers, this problem has {problem.dim}")
    xs, ys = np.linspace(*x, points), np.linspace(*y, points)
    start = problem.initial()
    height = [[problem.loss(np.array([a, b], start.dtype)) for a in xs] for b in ys]
    return Map(xs, ys, np.array(height))
