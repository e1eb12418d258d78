"""A step size for each coordinate: AdaGrad, RMSprop, Adam.

Each divides a coordinate's step by the root of its squared gradients, so that a coordinate whose
gradients are a hundred times as large does not move a hundred times as far. What differs is which
squares count: all there were (AdaGrad), or the recent ones (RMSprop, Adam). The steps have the size
of lr, not of lr times a gradient. They see coordinates alone: a valley that lies aslant looks the
same to them in each coordinate.
"""

from __future__ import annotations

import numpy as np

from ddml_kit.problems.sparse import dense
from ddml_kit.training.optimisers import Gradient, Optimiser, Step, check_decay, check_rate


def adagrad(lr: float, *, eps: float = 1e-10) -> Optimiser:
    """s += g^2, w -= lr g / (sqrt(s) + eps): every step makes the next ones shorter.

    J. Duchi, E. Hazan, Y. Singer, "Adaptive Subgradient Methods for Online Learning and Stochastic
    Optimization", JMLR 12, 2011, section 1.1 with diagonal matrices. Departure: their delta is
    added to the root as well, here and in torch called eps, but only to divide by no zero.
    Raises ValueError unless lr > 0 and eps > 0.
    """
    check_rate(lr)
    _check_eps(eps)

    def optimiser(w: np.ndarray) -> Step:
        s = np.zeros_like(w)

        def step(gradient: Gradient, scale: float = 1.0) -> None:
            g = dense(gradient, len(w)).astype(w.dtype, copy=False)
            s[...] += g**2
            w[...] -= float(scale * lr) * g / (np.sqrt(s) + eps)

        return step

    return optimiser


def rmsprop(lr: float, *, alpha: float = 0.99, eps: float = 1e-8) -> Optimiser:
    """s = alpha s + (1 - alpha) g^2, w -= lr g / (sqrt(s) + eps): squares that are forgotten.

    T. Tieleman, G. Hinton, "Lecture 6.5: RMSprop", Coursera: Neural Networks for Machine Learning,
    2012. Departure: their slides keep 0.9 of the squares and have no eps; defaults are torch's.
    Raises ValueError unless lr > 0, 0 <= alpha < 1 and eps > 0.
    """
    check_rate(lr)
    check_decay("alpha", alpha)
    _check_eps(eps)

    def optimiser(w: np.ndarray) -> Step:
        s = np.zeros_like(w)

        def step(gradient: Gradient, scale: float = 1.0) -> None:
            g = dense(gradient, len(w)).astype(w.dtype, copy=False)
            s[...] = alpha * s + (1 - alpha) * g**2
            w[...] -= float(scale * lr) * g / (np.sqrt(s) + eps)

        return step

    return optimiser


def adam(lr: float, *, beta1: float = 0.9, beta2: float = 0.999, eps: float = 1e-8) -> Optimiser:
    """w -= lr m / (sqrt(v) + eps), m and v being the means of recent gradients and squares.

    D. P. Kingma, J. Ba, "Adam: A Method for Stochastic Optimization", ICLR 2015, arXiv 1412.6980,
    algorithm 1: m = beta1 m + (1 - beta1) g and v = beta2 v + (1 - beta2) g^2 begin at 0, so after
    t steps they are divided by the weights that they have given, 1 - beta1^t and 1 - beta2^t.
    Raises ValueError unless lr > 0, both betas are 0 or more and less than 1, and eps > 0.
    """
    check_rate(lr)
    check_decay("beta1", beta1)
    check_decay("beta2", beta2)
    _check_eps(eps)

    def optimiser(w: np.ndarray) -> Step:
        m, v, t = np.zeros_like(w), np.zeros_like(w), 0

        def step(gradient: Gradient, scale: float = 1.0) -> None:
            nonlocal t
            t += 1
            g = dense(gradient, len(w)).astype(w.dtype, copy=False)
            m[...] = beta1 * m + (1 - beta1) * g
            v[...] = beta2 * v + (1 - beta2) * g**2
            mean, square = m / (1 - beta1**t), v / (1 - beta2**t)
            w[...] -= float(scale * lr) * mean / (np.sqrt(square) + eps)

        return step

    return optimiser


def _check_eps(eps: float) -> None:
    if not eps > 0:
        raise ValueError(f"eps must be more than 0, got {eps}")
