"""The geometric median: the point with the least sum of distances to all gradients.

Among liars: K. Pillutla, S. M. Kakade, Z. Harchaoui, "Robust aggregation for federated learning",
IEEE Transactions on Signal Processing 2022, arXiv 1912.13445. It lies in the span of the gradients,
and there only their inner products matter. So the gradients are read once for these, the median is
found among n points in at most n - 1 dimensions, and they are read once more to be weighted.

There the sum is lessened by Newton's steps, or by Weiszfeld's (E. Weiszfeld, Tohoku Mathematical
Journal 43, 1937) where these gain more. Neither can leave a gradient that it stands on, so it is
seen first whether one of them is the median: it is, if the unit vectors from it to the others add
up to no more than how many gradients are equal to it (H. W. Kuhn, Mathematical Programming 4,
1973).

How close it is: with r the length of the mean of the n unit vectors from z to the gradients, which
is 0 at the median, the sum of distances at z is at most (1 + r) / (1 - r) of the least, by duality:
see `residual`. All is computed relative to a gradient in their midst, and a liar however far away
counts for a direction alone, so neither costs accuracy.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ddml_kit.aggregation import bounds
from ddml_kit.aggregation.distances import gram
from ddml_kit.aggregation.gradients import Gradients, examined

STEPS = 200  # at most; ten or so are usual
SAME = 1e-6  # gradients closer than this, as a part of their distance from the midst, are one
EXACT = 1e-12  # a residual below is rounding, wherever z is


def geometric_median(gradients: Any, f: int = 0, *, tolerance: float = 1e-6) -> Any:
    """The point with the least sum of distances to the gradients, (d,).

    n >= 2f + 1 (H. P. Lopuhaä, P. J. Rousseeuw, Annals of Statistics 19, 1991: breakdown point
    1/2). f is used for that check alone, and to count gradients that are not finite, which are left
    out. An even number of gradients on a line has many medians; it is one of them.
    tolerance: from 1e-9 to below 1/2; the step that Newton would still take is no longer than that
    many harmonic means of the distances, and the residual is no greater: the sum of distances is
    proved to be at most (1 + tolerance) / (1 - tolerance) of the least. Rounding to the gradients'
    dtype comes on top.
    Raises what `examined` raises, ValueError where tolerance is out of its range or more than f
    gradients are not finite, and ArithmeticError where the tolerance is not reached.
    """
    if not 1e-9 <= tolerance < 0.5:
        raise ValueError(f"tolerance must be from 1e-9 to below 0.5, got {tolerance}")
    given = examined(gradients, f, bounds.GEOMETRIC_MEDIAN)
    points = shape_of(given)
    if not np.isfinite(points).all():
        given = given.without_lies()
        points = shape_of(given)
    weights = median_weights(points, tolerance)
    only = np.flatnonzero(weights == 1)
    return given.back(given.rows[only[0]].copy() if len(only) else given.weighted(weights))


def shape_of(given: Gradients) -> np.ndarray:
    """n points with the distances of the gradients, (n, r) with r <= n, one of them the origin.

    From inner products, each gradient scaled to length 1, so that short ones are as exact as long.
    """
    products = gram(given.rows)
    if not np.isfinite(products).all():
        return np.array([[np.nan]])
    lengths = np.sqrt(np.diag(products))
    scale = np.where(lengths > 0, lengths, 1)
    values, vectors = np.linalg.eigh(products / scale / scale[:, None])
    kept = values > 1e-15 * values[-1]
    return lengths[:, None] * vectors[:, kept] * np.sqrt(values[kept])


def median_weights(points: np.ndarray, tolerance: float) -> np.ndarray:
    """With what weights, (n,), at least 0 and 1 in all, the points add up to their median."""
    n = len(points)
    if points.shape[1] == 0:  # all the same
        return np.eye(n)[0]
    best = among_the_points(points)
    if best is not None:
        return np.eye(n)[best]
    z = weiszfeld(points, points.mean(axis=0))
    for _ in range(STEPS):
        step, unit = newton_step(points, z)
        distances = np.linalg.norm(points - z, axis=1)
        near = n / (1 / distances).sum()
        r = residual(unit)
        if r <= EXACT or (r <= tolerance and np.linalg.norm(step) <= 1e-3 * tolerance * near):
            break
        candidates = [weiszfeld(points, z), shortened(points, z, step, unit)]
        gains = [gain(points, z, to, distances) for to in candidates]
        if max(gains) <= 0:
            break
        z = candidates[int(np.argmax(gains))]
    reached = r <= EXACT or (r <= tolerance and np.linalg.norm(step) <= tolerance * near)
    if not reached:
        raise ArithmeticError(f"the geometric median's residual is {r:.3g} after {STEPS} steps")
    weights = 1 / distances
    return weights / weights.sum()


def among_the_points(points: np.ndarray) -> int | None:
    """The number of the point that is the median; None if none of them is.

    All are tested: which has the least sum of distances is lost in rounding beside one far away.
    """
    lengths = np.linalg.norm(points, axis=1)
    differences = points[:, None] - points
    distances = np.linalg.norm(differences, axis=2)
    same = distances <= SAME * np.minimum(lengths[:, None], lengths)
    unit = differences / np.where(same, np.inf, distances)[..., None]
    pull = np.linalg.norm(unit.sum(axis=1), axis=1)
    excess = pull - same.sum(axis=1) * (1 + EXACT)
    best = int(np.argmin(excess))
    return best if excess[best] <= 0 else None


def weiszfeld(points: np.ndarray, z: np.ndarray) -> np.ndarray:
    """The mean of the points, each weighted by 1 over its distance from z, (r,)."""
    distances = np.linalg.norm(points - z, axis=1)
    weights = 1 / np.maximum(distances, np.finfo(float).tiny)
    return weights / weights.sum() @ points


def newton_step(points: np.ndarray, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Newton's step for the sum of distances, (r,), and the unit vectors to the points, (n, r)."""
    differences = points - z
    distances = np.linalg.norm(differences, axis=1)
    unit = differences / distances[:, None]
    weights = 1 / distances
    curvature = weights.sum() * np.eye(len(z)) - (unit.T * weights) @ unit
    curvature.flat[:: len(z) + 1] += 1e-14 * weights.sum()
    return np.linalg.solve(curvature, unit.sum(axis=0)), unit


def shortened(points: np.ndarray, z: np.ndarray, step: np.ndarray, unit: np.ndarray) -> np.ndarray:
    """z plus the step, halved until the sum of distances falls as its slope promises, (r,)."""
    distances = np.linalg.norm(points - z, axis=1)
    promised = float(unit.sum(axis=0) @ step)
    share = 1.0
    while share > 1e-12 and gain(points, z, z + share * step, distances) < 0.1 * share * promised:
        share /= 2
    return z + share * step


def gain(points: np.ndarray, z: np.ndarray, to: np.ndarray, distances: np.ndarray) -> float:
    """By how much the sum of distances is less at `to` than at z; exact for small steps too."""
    after = np.linalg.norm(points - to, axis=1)
    return float((((2 * points - z - to) @ (to - z)) / (distances + after)).sum())


def residual(unit: np.ndarray) -> float:
    """The length r of the mean of the unit vectors from z to the points, which are (n, r).

    With g that mean, the vectors (unit_i - g) / (1 + |g|) are no longer than 1 and add up to 0. For
    any y, then, sum |x_i - y| is at least the sum of their products with x_i - y, which is that of
    their products with x_i - z, and so at least (1 - r) / (1 + r) sum |x_i - z|.
    """
    return float(np.linalg.norm(unit.mean(axis=0)))
