"""Attacks that need to know nothing: noise, nothing at all, and what is no number.

`gaussian` is that of P. Blanchard, E. M. El Mhamdi, R. Guerraoui, J. Stainer, "Machine Learning
with Adversaries: Byzantine Tolerant Gradient Descent", NIPS 2017, section 5, whose attackers draw
from a normal distribution of mean 0 and deviation 200. `zero` is a worker that has crashed, to a
server that takes its silence for zeros. `nan` is what a broken worker sends, and the cheapest lie:
one NaN spoils every sum that it gets into.
"""

from __future__ import annotations

import numpy as np

from ddml_kit.attacks.checks import check_honest, check_scale


def gaussian(
    honest: np.ndarray, a: int, rng: np.random.Generator, *, deviation: float = 200.0
) -> np.ndarray:
    """Normal noise around 0, drawn for each attacker, (a, d).

    honest: what the others send, (n - a, d); only its shape and dtype matter. deviation: of each
    coordinate. Raises ValueError for deviation < 0.
    """
    check_honest("gaussian", honest, a)
    check_scale("deviation", deviation)
    noise = rng.standard_normal((a, honest.shape[1]))
    return (deviation * noise).astype(honest.dtype)


def zero(honest: np.ndarray, a: int, rng: np.random.Generator) -> np.ndarray:
    """Zeros, (a, d)."""
    check_honest("zero", honest, a)
    return np.zeros((a, honest.shape[1]), honest.dtype)


def nan(honest: np.ndarray, a: int, rng: np.random.Generator) -> np.ndarray:
    """NaN in every coordinate, (a, d)."""
    check_honest("nan", honest, a)
    return np.full((a, honest.shape[1]), np.nan, honest.dtype)
