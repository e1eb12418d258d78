"""A measured figure over what was varied: speed-up over workers, time over message size."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go

from ddml_kit.cluster.run import Badge
from ddml_kit.notebook.figures import style
from ddml_kit.notebook.figures.figure import Figure
from ddml_kit.notebook.units import number_text

TO_ZERO = {"rangemode": "tozero"}
MOST_TICKS = 20  # on an axis of powers; where more was varied, 1, 2, 5, 10, ... will do
Points = tuple[Sequence[float], Sequence[float]]  # what was varied, what was measured


def lines(
    groups: Mapping[str, Points],
    *,
    x: str,
    y: str,
    badge: Badge | None = None,
    log_x: bool = False,
    log_y: bool = False,
    dashed: Mapping[str, Points] | None = None,
) -> Figure:
    """Points joined by lines, by label. x, y: what the axes say, with units.

    dashed: what theory or the ideal says, thin and dashed, in the colours of `groups` by turns.
    """
    dashed = dashed or {}
    if not groups or any(len(a) != len(b) or not len(a) for a, b in groups.values()):
        raise ValueError("lines needs as many x as y in each group, and one or more")
    ticks = sorted({value for points in groups.values() for value in points[0]})
    axis: dict[str, Any] = {
        "type": "log",
        "tickvals": ticks,
        "ticktext": [number_text(t) for t in ticks],
    }
    if len(ticks) > MOST_TICKS:
        axis = {"type": "log", "dtick": "D2", "tickformat": "~g"}
    plot = go.Figure(
        layout={
            "template": style.TEMPLATE,
            "height": 320,
            "showlegend": len(groups) + len(dashed) > 1,
            "legend": {"orientation": "h", "x": 0, "y": 1, "yanchor": "bottom"},
            "xaxis": {"title": {"text": x}, **(axis if log_x else TO_ZERO)},
            "yaxis": {
                "title": {"text": y},
                **(log_axis(_heights(groups) + _heights(dashed)) if log_y else TO_ZERO),
            },
        }
    )
    for k, (label, (xs, ys)) in enumerate(groups.items()):
        plot.add_scatter(
            x=list(xs),
            y=list(ys),
            name=label,
            mode="lines+markers",
            line={**style.line(k), "width": 2.5},
            marker={"size": 8},
        )
    for k, (label, (xs, ys)) in enumerate(dashed.items()):
        look = {"color": style.SERIES[k] if len(dashed) > 1 else style.MUTED, "dash": "dash"}
        plot.add_scatter(x=list(xs), y=list(ys), name=label, mode="lines", line=look)
    words = [
        f"**{label}**: "
        + ", ".join(f"{number_text(b)} at {number_text(a)}" for a, b in zip(xs, ys, strict=True))
        + "."
        for label, (xs, ys) in groups.items()
    ]
    return Figure(plot, f"{y} by {x}. " + " ".join(words), style.BADGES[badge] if badge else "")


def _heights(groups: Mapping[str, Points]) -> list[float]:
    return [value for _, ys in groups.values() for value in ys]


def log_axis(values: Sequence[float]) -> dict[str, Any]:
    """Powers of ten, not all of many; also twos and fives between few of them, and 10^-6 where 1e-6
    would be 1µ.
    """
    values = [value for value in values if value > 0]
    low, high = (math.log10(end) for end in (min(values, default=1), max(values, default=1)))
    axis: dict[str, Any] = {"type": "log", "dtick": math.ceil((high - low) / 9) or 1}
    if high - low < 1.5:
        axis |= {"dtick": "D2", "tickformat": "~g"}
    elif low < -3 or high > 6:
        axis |= {"exponentformat": "power"}
    return axis
