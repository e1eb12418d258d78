"""Attacks that see what the honest send before they send their own.

`sign_flip` as in L. Li, W. Xu, T. Chen, G. B. Giannakis, Q. Ling, "RSA: Byzantine-Robust Stochastic
Aggregation Methods for Distributed Learning from Heterogeneous Datasets", AAAI 2019, arXiv
1811.03761: a gradient turned round. `inner_product` as in C. Xie, O. Koyejo, I. Gupta, "Fall of
Empires: Breaking Byzantine-tolerant SGD by Inner Product Manipulation", UAI 2019, arXiv 1903.03936:
all send -epsilon times the honest mean, so that what a rule makes of it points away from descent. A
small epsilon is the sly one: where gradients are noisier than they are long, such a lie lies nearer
to all honest gradients than they lie to each other.
"""

from __future__ import annotations

import numpy as np

from ddml_kit.attacks.checks import check_honest, check_scale, repeated


def sign_flip(
    honest: np.ndarray, a: int, rng: np.random.Generator, *, scale: float = 1.0
) -> np.ndarray:
    """-scale times an honest gradient, another for each attacker while there are others, (a, d).

    honest: (n - a, d). An attacker's own gradient would be as good as another's; so this needs
    none. Raises ValueError for scale < 0.
    """
    check_honest("sign_flip", honest, a)
    check_scale("scale", scale)
    return (-scale * honest[np.arange(a) % len(honest)]).astype(honest.dtype)


def inner_product(
    honest: np.ndarray, a: int, rng: np.random.Generator, *, epsilon: float = 0.5
) -> np.ndarray:
    """-epsilon times the honest mean, the same from all attackers, (a, d).

    honest: (n - a, d). Raises ValueError for epsilon < 0.
    """
    check_honest("inner_product", honest, a)
    check_scale("epsilon", epsilon)
    return repeated(-epsilon * honest.mean(axis=0), a, honest.dtype)
