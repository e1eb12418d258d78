"""Momentum: a step that keeps part of the step before. The heavy ball, and Nesterov's.

In a long valley the gradient points from one wall to the other. Steps across cancel out when they
are added up, steps along the valley do not. On a quadratic of condition number kappa the best step
size and momentum take the error down by (sqrt(kappa) - 1) / (sqrt(kappa) + 1) a step, where plain
descent has (kappa - 1) / (kappa + 1) (`best_rates`).

Both as torch.optim.SGD writes them: the velocity adds up gradients, and the learning rate
multiplies it. In I. Sutskever, J. Martens, G. Dahl, G. Hinton, "On the importance of initialization
and momentum in deep learning", ICML 2013, the rate is inside the velocity, which comes to the same
as long as it stays as it is.
"""

from __future__ import annotations

import math

import numpy as np

from ddml_kit.problems.sparse import dense
from ddml_kit.training.optimisers import Gradient, Optimiser, Step, check_decay, check_rate


def momentum(lr: float, *, mu: float = 0.9) -> Optimiser:
    """v = mu v + g, w -= lr v: a heavy ball, with v = 0 at first.

    B. T. Polyak, "Some methods of speeding up the convergence of iteration methods", USSR
    Computational Mathematics and Mathematical Physics 4(5), 1964, whose difference of the last two
    w is -lr v here. Of a sparse gradient all coordinates move that have a velocity.
    Raises ValueError unless lr > 0 and 0 <= mu < 1.
    """
    check_rate(lr)
    check_decay("mu", mu)

    def optimiser(w: np.ndarray) -> Step:
        v = np.zeros_like(w)

        def step(gradient: Gradient, scale: float = 1.0) -> None:
            g = dense(gradient, len(w)).astype(w.dtype, copy=False)
            v[...] = mu * v + g
            w[...] -= float(scale * lr) * v

        return step

    return optimiser


def nesterov(lr: float, *, mu: float = 0.9) -> Optimiser:
    """v = mu v + g, w -= lr (g + mu v): momentum whose gradient is taken a step ahead.

    Y. Nesterov, "A method of solving a convex programming problem with convergence rate O(1/k^2)",
    Soviet Mathematics Doklady 27(2), 1983, with a constant momentum. What is kept in w is the point
    ahead, at which the next gradient is computed, so that every gradient is one at w.
    Raises ValueError unless lr > 0 and 0 <= mu < 1.
    """
    check_rate(lr)
    check_decay("mu", mu)

    def optimiser(w: np.ndarray) -> Step:
        v = np.zeros_like(w)

        def step(gradient: Gradient, scale: float = 1.0) -> None:
            g = dense(gradient, len(w)).astype(w.dtype, copy=False)
            v[...] = mu * v + g
            w[...] -= float(scale * lr) * (g + mu * v)

        return step

    return optimiser


def best_rates(largest: float, condition: float) -> tuple[float, float, float]:
    """The best lr of plain descent, and the best lr and mu of momentum, on a quadratic.

    largest: the largest curvature; condition: how many times the smallest it is. Polyak 1964, with
    L = largest and l = L / condition: 2 / (L + l); 4 / (sqrt L + sqrt l)^2 and
    ((sqrt L - sqrt l) / (sqrt L + sqrt l))^2. Raises ValueError unless condition >= 1.
    """
    if not condition >= 1:
        raise ValueError(f"a condition number is 1 or more, got {condition}")
    if not largest > 0:
        raise ValueError(f"the largest curvature must be more than 0, got {largest}")
    smallest = largest / condition
    roots = math.sqrt(largest) + math.sqrt(smallest)
    mu = ((math.sqrt(largest) - math.sqrt(smallest)) / roots) ** 2
    return 2 / (largest + smallest), 4 / roots**2, mu
