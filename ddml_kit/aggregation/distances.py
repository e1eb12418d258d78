"""Squared distances among n gradients: fast, and right far from the origin as well.

|x - y|^2 = |x|^2 + |y|^2 - 2 x.y takes one matrix product and no pairwise differences, but cancels
where the gradients are long and close together: in float32 with norms of 316 and a spread of 1e-3
nothing is left. Subtract a vector in their midst first and there is nothing to cancel. Which of
them lies in their midst is guessed from a few columns: a bad guess, which a liar may provoke, makes
the bounds wide and the answer slow, but not wrong.

The product of float32 is computed in float32, the blocks' in float64. Its error is bounded as in
N. J. Higham, Accuracy and Stability of Numerical Algorithms, section 3.1, whatever the order of the
sums: k u |x||y| for k columns. Who needs to know more exactly than that asks for a row exactly, and
gets it from differences in float64.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ddml_kit.aggregation import bounds
from ddml_kit.aggregation.gradients import Gradients, examined
from ddml_kit.aggregation.kernels import rows as kernels

WIDTH = 1024  # columns of a block, and k of the bound
SAMPLE = 16  # so many columns at so many places are looked at to find what lies in the midst
RELATIVE = 1e-9  # error of `squared_distances`


class Distances:
    """Bounds of the squared distances among gradients, (n, n) float64, closer the more is asked.

    low, high: the true one lies between; equal, it is as exact as float64 is. Where the gradients
    are float32 the first bounds come from products in float32, unless `precise`.
    """

    def __init__(self, rows: np.ndarray, precise: bool = False) -> None:
        self.rows = rows
        self.precise = precise or rows.dtype == np.float64
        self.known = np.zeros(len(rows), bool)  # of whom all distances are exact
        self.look_from(central(rows))

    @property
    def n(self) -> int:
        return len(self.rows)

    def look_from(self, reference: int) -> None:
        """Take the distances from products of the gradients less this one."""
        products = gram(self.rows, self.rows[reference], self.precise)
        own = np.diag(products).copy()
        both = own[:, None] + own
        squared = both - 2 * products
        error = 2 * unit(self.rows, self.precise) * both + smallest(self.rows, self.precise)
        self.low = np.maximum(squared - error, 0)
        self.high = np.maximum(squared, 0) + error
        np.fill_diagonal(self.low, 0)
        np.fill_diagonal(self.high, 0)

    def look_again(self, reference: int) -> None:
        """The same in float64, from there: closer than before, unless it was float64 already."""
        if not self.precise:
            self.precise = True
            self.look_from(reference)

    def know(self, i: int) -> None:
        """Make all distances of gradient i exact. The same bits from either end."""
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
    given = examined(gradients, 0, bounds.MEAN)
    distances, _ = among(given, precise=True)
    for i in range(distances.n):
        loose = distances.high[i] - distances.low[i] > RELATIVE * distances.low[i]
        if loose.any() and not distances.known[loose].all():
            distances.know(i)
    return (distances.low + distances.high) / 2


def among(given: Gradients, precise: bool = False) -> tuple[Distances, Gradients]:
    """The distances among the gradients, and the gradients, those left out that are plain lies."""
    distances = Distances(given.rows, precise)
    if not np.isfinite(distances.high).all():
        given = given.without_lies()
        distances = Distances(given.rows, precise)
        if not np.isfinite(distances.high).all():  # too large to be squared in float32
            distances = Distances(given.rows, precise=True)
    return distances, given


def central(rows: np.ndarray) -> int:
    """The gradient with the smallest median distance to the others, going by a few columns."""
    d = rows.shape[1]
    starts = np.linspace(0, max(0, d - SAMPLE), SAMPLE).astype(int)
    chosen = np.unique(np.minimum(starts[:, None] + np.arange(SAMPLE), d - 1))
    few = rows[:, chosen].astype(np.float64)
    few -= np.median(few, axis=0)
    with np.errstate(over="ignore", invalid="ignore"):
        products = few @ few.T
        own = np.diag(products)
        squared = np.nan_to_num(own[:, None] + own - 2 * products, nan=np.inf)
    return int(np.argmin(np.median(squared, axis=1)))


def gram(rows: np.ndarray, reference: np.ndarray, precise: bool) -> np.ndarray:
    """The inner products of the gradients less the reference, (n, n) float64.

    precise: computed in float64; otherwise each block in the gradients' own numbers.
    """
    n, d = rows.shape
    products = np.zeros((n, n))
    block = np.empty((n, min(WIDTH, d)), np.float64 if precise else rows.dtype)
    with np.errstate(over="ignore", invalid="ignore"):
        for start in range(0, d, WIDTH):
            part = rows[:, start : start + WIDTH]
            difference = block[:, : part.shape[1]]
            np.subtract(part, reference[start : start + WIDTH], out=difference, dtype=block.dtype)
            products += difference @ difference.T
    return products


def unit(rows: np.ndarray, precise: bool) -> float:
    """The relative error of a product that `gram` returns, at most: of |x||y|."""
    d = rows.shape[1]
    dtype = np.float64 if precise else rows.dtype
    return float((min(WIDTH, d) + d / WIDTH * precise + 8) * np.finfo(dtype).eps / 2)


def smallest(rows: np.ndarray, precise: bool) -> float:
    """What squares may lose where they are too small for the numbers computed with, at most."""
    return float(4 * rows.shape[1] * np.finfo(np.float64 if precise else rows.dtype).tiny)
