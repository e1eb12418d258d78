"""Gossip as matrices: all ranks at once, for drawing quickly and for checking the programs.

X is (n, d), row i being what rank i has; W is the mixing matrix; Q compresses each row, (n, d) ->
(n, d). Each function is one step of a program in training/gossip.py: the same sums, without a
cluster, without bytes and without time. Equations: A. Koloskova, S. U. Stich, M. Jaggi, ICML 2019,
arXiv 1902.00340, section 3.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import accumulate, repeat

import numpy as np

Compress = Callable[[np.ndarray], np.ndarray]
State = tuple[np.ndarray, np.ndarray]  # X and X_hat

SMALLEST = 1e-6  # step size that is worth a try


def distance(X: np.ndarray) -> float:
    """The consensus error: the mean over ranks of |x_i - the mean of all x|^2."""
    return float(np.mean(np.sum((X - X.mean(axis=0)) ** 2, axis=1)))


def exact_step(X: np.ndarray, W: np.ndarray, gamma: float = 1.0) -> np.ndarray:
    """(E-G): X + gamma (W X - X)."""
    return X + gamma * (W @ X - X)


def q1_step(X: np.ndarray, W: np.ndarray, Q: Compress, gamma: float = 1.0) -> np.ndarray:
    """(Q1-G): X + gamma (W Q(X) - X); the mean drifts."""
    return X + gamma * (W @ Q(X) - X)


def q2_step(X: np.ndarray, W: np.ndarray, Q: Compress, gamma: float = 1.0) -> np.ndarray:
    """(Q2-G): X + gamma (W Q(X) - Q(X)); the mean stays, the noise too."""
    sent = Q(X)
    return X + gamma * (W @ sent - sent)


def choco_step(state: State, W: np.ndarray, Q: Compress, gamma: float) -> State:
    """Algorithm 1: X_hat += Q(X - X_hat), X += gamma (W X_hat - X_hat); both new."""
    X, X_hat = state
    X_hat = X_hat + Q(X - X_hat)
    return X + gamma * (W @ X_hat - X_hat), X_hat


def exact(X: np.ndarray, W: np.ndarray, *, gamma: float = 1.0) -> Iterator[np.ndarray]:
    """X, (n, d), and X after every step of exact gossip, without end; W is (n, n)."""
    return accumulate(repeat(W), lambda X, W: exact_step(X, W, gamma), initial=X)


def naive(
    X: np.ndarray,
    W: np.ndarray,
    *,
    Q: Compress,
    step: Callable[[np.ndarray, np.ndarray, Compress, float], np.ndarray] = q2_step,
    gamma: float = 1.0,
) -> Iterator[np.ndarray]:
    """X, (n, d), and X after every q1_step or q2_step, without end; W is (n, n)."""
    return accumulate(repeat(W), lambda X, W: step(X, W, Q, gamma), initial=X)


def choco(X: np.ndarray, W: np.ndarray, *, Q: Compress, gamma: float) -> Iterator[np.ndarray]:
    """X, (n, d), and X after every step of CHOCO-Gossip, without end; W is (n, n)."""
    state = X, np.zeros_like(X)
    while True:
        yield state[0]
        state = choco_step(state, W, Q, gamma)


def largest_gamma(error: Callable[[float], float], *, tolerance: float = 1 / 32) -> float:
    """The largest step size up to 1 with which a gossip contracts, to a share `tolerance` of it.

    error(gamma): what is left of the error after some steps with it, 1 for as much as at first. It
    is found by halving, so an error that falls with some gamma must fall with each smaller one. 0
    if it falls with none from one millionth on.
    """
    if error(1.0) < 1:
        return 1.0
    low, high = 0.0, 1.0
    while high - low > tolerance * high and high > SMALLEST:
        middle = (low + high) / 2
        low, high = (middle, high) if error(middle) < 1 else (low, middle)
    return low
