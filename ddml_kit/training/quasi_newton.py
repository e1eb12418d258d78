"""Newton's step without second derivatives: BFGS, and L-BFGS, which remembers the last few steps.

Two gradients tell how the gradient changes along a step: y = H s, were H the Hessian. BFGS keeps
the matrix closest to the one before that has seen all of this, dim x dim. L-BFGS keeps the last m
pairs s, y instead, and multiplies by the matrix that they make without ever writing it down.

J. Nocedal, S. J. Wright, "Numerical Optimization", 2nd edition, Springer 2006, algorithm 6.1 with
equations 6.17 and 6.20; algorithms 7.4 and 7.5 with equation 7.20, first J. Nocedal, "Updating
Quasi-Newton Matrices with Limited Storage", Mathematics of Computation 35(151), 1980.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Iterator, Sequence

import numpy as np

from ddml_kit.training.line_search import Search, strong_wolfe
from ddml_kit.training.objective import Objective, Point


def bfgs(f: Objective, w: np.ndarray, *, search: Search = strong_wolfe) -> Iterator[Point]:
    """Broyden, Fletcher, Goldfarb, Shanno 1970: a matrix, (dim, dim), for the inverse Hessian."""
    at, B, dim = f.at(w), np.eye(len(w)), len(w)
    yield at
    step = first_length(at)
    for k in itertools.count():
        new = search(f, at, -(B @ at.gradient), step)
        if new is None:
            return
        s, y = new.w - at.w, new.gradient - at.gradient
        if (bends := float(s @ y)) > 0:
            if k == 0:
                B *= bends / float(y @ y)
            f.work(8 * dim**2)
            B = updated(B, s, y)
        at, step = new, 1.0
        yield at


def updated(B: np.ndarray, s: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The inverse Hessian, (dim, dim), closest to B that maps y to s.

    Equation 6.17, (I - rho s y^T) B (I - rho y s^T) + rho s s^T, multiplied out: dim^2 operations
    rather than dim^3.
    """
    rho, By = 1 / (s @ y), B @ y
    cross = np.outer(s, By)
    return B - rho * (cross + cross.T) + rho * (1 + rho * (y @ By)) * np.outer(s, s)


def lbfgs(
    f: Objective, w: np.ndarray, *, memory: int = 10, search: Search = strong_wolfe
) -> Iterator[Point]:
    """BFGS that remembers `memory` steps: 2 memory vectors in place of a matrix."""
    if memory < 1:
        raise ValueError(f"L-BFGS needs a memory of 1 or more, got {memory}")
    at = f.at(w)
    yield at
    pairs = deque[tuple[np.ndarray, np.ndarray]](maxlen=memory)
    while True:
        f.work(8 * len(pairs) * len(w))
        down = -two_loops(at.gradient, [s for s, _ in pairs], [y for _, y in pairs])
        new = search(f, at, down, 1.0 if pairs else first_length(at))
        if new is None:
            return
        s, y = new.w - at.w, new.gradient - at.gradient
        if s @ y > 0:
            pairs.append((s, y))
        at = new
        yield at


def two_loops(
    gradient: np.ndarray, steps: Sequence[np.ndarray], changes: Sequence[np.ndarray]
) -> np.ndarray:
    """The gradient times the inverse Hessian that BFGS would have now, (dim,): algorithm 7.4.

    steps, changes: s and y of the last steps, the oldest first. What BFGS would have begun with is
    the identity times s^T y / y^T y of the newest (7.20), or as it is without any.
    """
    q, weights = gradient.copy(), []
    for s, y in zip(reversed(steps), reversed(changes), strict=True):
        weights.append((s @ q) / (s @ y))
        q -= weights[-1] * y
    if steps:
        q *= (steps[-1] @ changes[-1]) / (changes[-1] @ changes[-1])
    for s, y, weight in zip(steps, changes, reversed(weights), strict=True):
        q += (weight - (y @ q) / (s @ y)) * s
    return q


def first_length(at: Point) -> float:
    """How far along the gradient to look first, when nothing is known: a step of length 1."""
    return 1 / (float(np.linalg.norm(at.gradient)) or 1.0)
