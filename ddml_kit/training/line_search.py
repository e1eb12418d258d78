"""How far to go in a direction: a search along a line.

J. Nocedal, S. J. Wright, "Numerical Optimization", 2nd edition, Springer 2006, chapter 3. A search
is given where one is, the direction, a first length to try and the objective. It returns the next
point, evaluated, or None: if the direction does not lead down, or if it finds no lower point, which
is what rounding brings near the minimum.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from ddml_kit.training.objective import Objective, Point

Search = Callable[[Objective, Point, np.ndarray, float], Point | None]

MOST = 30  # evaluations of one search


def backtracking(f: Objective, at: Point, direction: np.ndarray, first: float) -> Point | None:
    """Halve the step until it gets lower by 1e-4 of what the slope promises (algorithm 3.1)."""
    slope, length = float(at.gradient @ direction), first
    if not slope < 0:
        return None
    for _ in range(MOST):
        new = f.at(at.w + length * direction)
        if new.value <= at.value + 1e-4 * length * slope:
            return new if new.value < at.value else None
        length /= 2
    return None


def exact_on_quadratics(
    f: Objective, at: Point, direction: np.ndarray, first: float
) -> Point | None:
    """To where the slope would be zero if it fell evenly: the minimum along a line of a quadratic.

    Two evaluations: the slope at the first length, and the point itself.
    """
    slope = float(at.gradient @ direction)
    further = float(f.at(at.w + first * direction).gradient @ direction)
    if not slope < 0 or not further > slope:
        return None  # uphill, or the function bends down along the line
    new = f.at(at.w + first * slope / (slope - further) * direction)
    return new if new.value < at.value else None


def strong_wolfe(
    f: Objective,
    at: Point,
    direction: np.ndarray,
    first: float,
    *,
    c1: float = 1e-4,
    c2: float = 0.9,
) -> Point | None:
    """To a point that is low enough and flat enough (algorithms 3.5 and 3.6).

    Low enough: value <= value before + c1 length slope. Flat enough: |slope| <= c2 |slope before|,
    so that the gradient's change along the line is that of a valley. Lengths grow fourfold until
    they have gone too far, and then the minimum is looked for in between, by the cubic through
    values and slopes (equation 3.59), kept a tenth away from both ends.
    """
    slope = float(at.gradient @ direction)
    if not slope < 0:
        return None
    length, low, high = first, _Trial(0.0, at, slope), None
    for _ in range(MOST):
        point = f.at(at.w + length * direction)
        new = _Trial(length, point, float(point.gradient @ direction))
        enough = point.value <= at.value + c1 * length * slope
        if not enough or (low.length > 0 and point.value >= low.at.value):
            high = new
        elif abs(new.slope) <= -c2 * slope:
            return point if point.value < at.value else None
        else:
            if new.slope * (high.length - low.length if high else 1.0) >= 0:
                high = low
            low = new
        length = _between(low, high) if high else 4 * length
        if length in (low.length, high and high.length):
            break
    return low.at if low.length > 0 else None


class _Trial(NamedTuple):
    length: float
    at: Point
    slope: float  # along the line


def _between(a: _Trial, b: _Trial) -> float:
    """Where the cubic through two trials is least, a tenth away from both; halfway without one."""
    shorter, longer = sorted((a.length, b.length))
    margin = (longer - shorter) / 10
    with np.errstate(over="ignore", invalid="ignore"):
        d1 = a.slope + b.slope - 3 * (a.at.value - b.at.value) / (a.length - b.length)
        under = d1**2 - a.slope * b.slope
    if 0 <= under < math.inf:
        d2 = math.copysign(math.sqrt(under), b.length - a.length)
        divisor = b.slope - a.slope + 2 * d2
        if divisor != 0:
            least = b.length - (b.length - a.length) * (b.slope + d2 - d1) / divisor
            return min(max(least, shorter + margin), longer - margin)
    return (shorter + longer) / 2
