"""Squared distances among n gradients: fast, and right far from the origin as well.

|x - y|^2 = |x|^2 + |y|^2 - 2 x.y takes inner products and no pairwise differences, but cancels
where the gradients are long and close together: in float32 with norms of 316 and a spread of 1e-3
nothing is left. Subtract a vector in their midst first, and there is nothing to cancel. Which of
them lies in their midst is guessed from a few columns. A bad guess, which a liar may provoke, makes
the bounds wide and the answer slow, but not wrong.

The error of a sum of k products is at most k u |x||y| whatever its order (N. J. Higham, Accuracy
and Stability of Numerical Algorithms, section 3.1). Who needs to know more exactly than that asks
for a gradient's distances from differences.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ddml_kit.aggregation import bounds
from ddml_kit.aggregation.gradients import Gradients, examined
from ddml_kit.aggregation.kernels import products
from ddml_kit.aggregation.kernels import rows as kernels

SAMPLE = 16  # so many columns at so many places are looked at to find what lies in the midst
RELATIVE = 1e-9  # error of `squared_distances`


class Distances:
    """Bounds of the squared distances among gradients, (n, n) float64, closer the more is asked.

    low, high: the true one lies between. Equal, they are from differences, and as exact as float64.
    """

    def __init__(self, rows: np.ndarray) -> None:
        self.rows = rows
        self.known = np.zeros(len(rows), bool)  # of whom all distances are from differences
        inner = gram(rows)
        own = np.diag(inner)
        with np.errstate(over="ignore", invalid="ignore"):
            both = own[:, None] + own
            squared = both - 2 * inner
            error = 2 * unit(rows.shape[1]) * both
            self.low = np.maximum(squared - error, 0)
            self.high = np.maximum(squared, 0) + error
        np.fill_diagonal(self.low, 0)
        np.fill_diagonal(self.high, np.where(np.isfinite(own), 0, np.nan))

    @property
    def n(self) -> int:
        return len(self.rows)

    def know(self, i: int) -> None:
        """Take all distances of gradient i from differences. The same bits from either end."""
        if not self.known[i]:
            exact = np.empty(self.n)
            kernels.squared_from(self.rows, self.rows[i], exact)
            for bound in (self.low, self.high):
                bound[i] = bound[:, i] = exact
            self.known[i] = True


def squared_distances(gradients: Any) -> np.ndarray:
    """The squared distance of each two gradients, (n, n) float64, to a relative 1e-9.

    gradients: (n, d), array or tensor. Raises what `examined` raises, and ValueError where one is
    not finite.
    """
    distances, _ = among(examined(gradients, 0, bounds.MEAN))
    for i in range(distances.n):
        if (distances.high[i] - distances.low[i] > RELATIVE * distances.low[i]).any():
            distances.know(i)
    return (distances.low + distances.high) / 2


def among(given: Gradients) -> tuple[Distances, Gradients]:
    """The distances among the gradients, and the gradients, those left out that are plain lies."""
    distances = Distances(given.rows)
    if not np.isfinite(distances.high).all():
        given = given.without_lies()
        distances = Distances(given.rows)
    return distances, given


def gram(rows: np.ndarray) -> np.ndarray:
    """The inner products of the gradients less one in their midst, (n, n) float64."""
    inner = np.empty((len(rows), len(rows)))
    products.gram(rows, rows[central(rows)], inner)
    return inner


def central(rows: np.ndarray) -> int:
    """The gradient with the smallest median distance to the others, going by a few columns."""
    d = rows.shape[1]
    starts = np.linspace(0, max(0, d - SAMPLE), SAMPLE).astype(int)
    chosen = np.unique(np.minimum(starts[:, None] + np.arange(SAMPLE), d - 1))
    few = np.nan_to_num(rows[:, chosen].astype(np.float64), nan=np.inf).clip(-1e100, 1e100)
    few -= np.median(few, axis=0)
    inner = few @ few.T
    own = np.diag(inner)
    return int(np.argmin(np.median(own[:, None] + own - 2 * inner, axis=1)))


def unit(d: int) -> float:
    """The error of an inner product that `gram` returns, at most, as a part of |x||y|."""
    terms = min(products.WIDTH, d) + d / products.WIDTH
    return float((terms + 8) * np.finfo(np.float64).eps / 2)
