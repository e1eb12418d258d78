"""Rules that look at each coordinate by itself: mean, median, trimmed mean.

D. Yin, Y. Chen, K. Ramchandran, P. Bartlett, "Byzantine-robust distributed learning: towards
optimal statistical rates", ICML 2018, arXiv 1803.01498: definitions 1 (median) and 2 (trimmed
mean). Where the paper trims a share beta of the values from each end, we trim f values.

Sums are float64 and fold values in ascending order, so that the bits don't depend on the order of
the gradients (the mean's do).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ddml_kit.aggregation import bounds
from ddml_kit.aggregation.gradients import Gradients, examined
from ddml_kit.aggregation.kernels import columns
from ddml_kit.aggregation.networks import network


def mean(gradients: Any, f: int = 0) -> Any:
    """The mean of the gradients, (d,).

    One liar makes it what it likes (Blanchard et al. 2017, lemma 1), so f changes nothing, but that
    up to f gradients that are not finite are left out.
    Raises what `examined` raises, and ValueError where more than f are not finite.
    """
    given = examined(gradients, f, bounds.MEAN)
    out = given.weighted(np.full(given.n, 1 / given.n))
    if not np.isfinite(out).all():
        given = given.without_lies()
        out = given.weighted(np.full(given.n, 1 / given.n))
    return given.back(out)


def median(gradients: Any, f: int = 0) -> Any:
    """The median of each coordinate, (d,); of an even number of values the mean of the middle two.

    n >= 2f + 1: between values of honest gradients as long as they are more than half (Yin et al.
    2018, theorem 1). f is used for that check alone, and to count gradients that are not finite,
    which are left out.
    Raises what `examined` raises, and ValueError where more than f are not finite.
    """
    given = examined(gradients, f, bounds.MEDIAN)
    out, finite = middle(given, (given.n - 1) // 2)
    if not finite:
        given = given.without_lies()
        out, _ = middle(given, (given.n - 1) // 2)
    return given.back(out)


def trimmed_mean(gradients: Any, f: int) -> Any:
    """The mean of each coordinate without its f least and its f greatest values, (d,).

    n >= 2f + 1 (Yin et al. 2018, theorem 4: beta >= f / n, beta < 1/2).
    Raises what `examined` raises, and ValueError where more than f are not finite.
    """
    given = examined(gradients, f, bounds.TRIMMED_MEAN)
    out, finite = middle(given, given.f)
    if not finite:
        given = given.without_lies()
        out, _ = middle(given, given.f)
    return given.back(out)


def middle(given: Gradients, trimmed: int) -> tuple[np.ndarray, bool]:
    """The mean of each column without so many values at each end, (d,), and if all were finite."""
    n, d = given.rows.shape
    out = np.empty(d, given.rows.dtype)
    pairs = network(n, trimmed, n - trimmed)
    finite = columns.middle(given.rows, pairs, trimmed, n - trimmed, out)
    return out, finite
