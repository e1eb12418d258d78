"""A little is enough: lies so small that some of the honest look worse.

Source: G. Baruch, M. Baruch, Y. Goldberg, "A Little Is Enough: Circumventing Defenses For
Distributed Learning", NeurIPS 2019, arXiv 1902.06156, algorithm 3: coordinate by coordinate, all
attackers send the honest mean less z honest deviations. With a of n workers they need
s = floor(n/2 + 1) - a honest ones on their side for a majority; z is such that among the n - a
honest, if they are normal, s lie further out: Phi(z) = (n - a - s) / (n - a). At 4 of 11 z is 0.57,
at 24 of 50 it is 1.43. Robust rules take such lies for honest, and all lies are on one side.

The published z comes from a table, hence a maximum "less than"; here it is the quantile itself. Its
deviation is over the honest as they are (divided by n - a). Where the majority that it wants would
need a lie on the wrong side of the mean, z is 0.
"""

from __future__ import annotations

from statistics import NormalDist

import numpy as np

from ddml_kit.attacks.checks import check_honest, repeated


def little_is_enough(
    honest: np.ndarray, a: int, rng: np.random.Generator, *, z: float | None = None
) -> np.ndarray:
    """The honest mean less z honest deviations, the same from all attackers, (a, d).

    honest: (n - a, d). z: how many deviations; None: as n and a allow. Raises ValueError where
    that has no answer.
    """
    check_honest("little_is_enough", honest, a)
    if a == 0:
        return np.empty((0, honest.shape[1]), honest.dtype)
    if z is None:
        z = most_deviations(len(honest) + a, a)
    return repeated(honest.mean(axis=0) - z * honest.std(axis=0), a, honest.dtype)


def most_deviations(n: int, a: int) -> float:
    """z: how many deviations away a of n workers find a majority.

    Raises ValueError unless 0 < a <= n/2: a majority of liars needs nobody on its side, and can
    send whatever it likes.
    """
    if not 0 < 2 * a <= n:
        raise ValueError(
            f"little_is_enough needs 0 < a <= n/2 attackers to choose z, got a={a} of n={n}"
        )
    supporters = n // 2 + 1 - a
    inside = (n - a - supporters) / (n - a)
    return NormalDist().inv_cdf(inside) if inside > 0.5 else 0.0
