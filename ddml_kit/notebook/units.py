"""Figures as a reader wants them: times in a fitting unit, counts with separators."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from ddml_kit.cluster.run import Curve


class Unit(NamedTuple):
    """A unit of time: `scale` of them are one second."""

    scale: float
    sign: str
    name: str


UNITS = (
    Unit(1e6, "µs", "microseconds"),
    Unit(1e3, "ms", "milliseconds"),
    Unit(1.0, "s", "seconds"),
)


def unit_for(seconds: float) -> Unit:
    """The unit in which a time is a number from 1 to 999; seconds for longer ones and for 0."""
    for unit in UNITS:
        if 0 < seconds * unit.scale < 999.5:
            return unit
    return UNITS[-1]


def seconds_text(seconds: float) -> str:
    """A time to three digits: 1.31 s, 820 ms, 14 µs, 2,140 s."""
    if not math.isfinite(seconds):
        return "–"
    unit = unit_for(seconds)
    value = seconds * unit.scale
    return f"{value:,.0f} {unit.sign}" if value >= 999.5 else f"{value:.3g} {unit.sign}"


def count_text(n: float) -> str:
    """A count: 2,140."""
    return f"{n:,.0f}"


def number_text(x: float) -> str:
    """A number to three digits: 0.0123, 12.3, 12,300, 1,000,000; 1.2e+09 for larger ones."""
    if 1000 <= abs(x) < 1e9:
        return f"{float(f'{x:.3g}'):,.0f}"
    return f"{x:.3g}"


def first_below(curve: Curve, level: float) -> int | None:
    """The index of a curve's first point at or below a level; None if it never gets there."""
    below = np.flatnonzero(curve.value <= level)
    return int(below[0]) if len(below) else None


def seconds_to(curve: Curve, level: float) -> str:
    """When a curve first was at or below a level, as text: 1.31 s, or "not reached"."""
    at = first_below(curve, level)
    return "not reached" if at is None else seconds_text(float(curve.seconds[at]))
