"""A table of numbers in colours: green where little is left, orange where much is."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go

from ddml_kit.cluster.run import Badge
from ddml_kit.notebook.figures import style
from ddml_kit.notebook.figures.figure import Figure

SCALE = [[0, style.HONEST], [0.5, "#FFFFFF"], [1, style.BYZANTINE]]
DECADES = 1.5  # of the colours, on either side of the middle


def heat(
    values: np.ndarray,
    rows: Sequence[str],
    columns: Sequence[str],
    *,
    figure: str,
    middle: float,
    crossed: np.ndarray | None = None,
    badge: Badge | None = None,
) -> Figure:
    """Values >= 0, (rows, columns), each written into its cell. figure: what they are.

    middle: the value that is white; colours go by powers of ten. crossed: cells that get a cross
    before their number, for those who don't see colours.
    """
    values = np.asarray(values, float)
    if values.shape != (len(rows), len(columns)) or not values.size or not middle > 0:
        raise ValueError(
            f"heat needs a value for each of {len(rows)} rows and {len(columns)} columns, and "
            f"middle > 0, got shape {values.shape} and middle={middle}"
        )
    marked = np.zeros(values.shape, bool) if crossed is None else np.asarray(crossed, bool)
    height = np.log10(np.clip(values, middle * 1e-9, middle * 1e9) / middle)
    texts = [
        [("✗ " if cross else "") + short(value) for value, cross in zip(*pair, strict=True)]
        for pair in zip(values, marked, strict=True)
    ]
    plot = go.Figure(
        layout={
            "template": style.TEMPLATE,
            "height": 70 + 34 * len(rows),
            "margin": {"l": 8, "r": 8, "t": 60, "b": 8},
            "xaxis": {"side": "top", "showgrid": False, "tickangle": -20},
            "yaxis": {"autorange": "reversed", "showgrid": False, "ticksuffix": " "},
        }
    )
    plot.add_heatmap(
        z=np.round(np.clip(height, -DECADES, DECADES), 2),
        x=list(columns),
        y=list(rows),
        zmin=-DECADES,
        zmax=DECADES,
        colorscale=SCALE,
        showscale=False,
        text=texts,
        texttemplate="%{text}",
        textfont={"size": 13, "color": style.INK},
        xgap=2,
        ygap=2,
        hovertemplate="%{y}, %{x}: %{text}<extra></extra>",
    )
    words = [
        _words(name, columns, line, crosses)
        for name, line, crosses in zip(rows, values, marked, strict=True)
    ]
    return Figure(plot, f"{figure}. " + " ".join(words), style.BADGES[badge] if badge else "")


def _words(row: str, columns: Sequence[str], values: np.ndarray, crosses: np.ndarray) -> str:
    """The crossed cells of a row by name, and the range of the others."""
    told = [f"✗ {columns[int(k)]} {short(values[k])}" for k in np.flatnonzero(crosses)]
    others = values[~crosses]
    if len(others):
        least, most = short(others.min()), short(others.max())
        told.append("else " * bool(told) + (least if least == most else f"{least} to {most}"))
    return f"**{row}**: {', '.join(told)}."


def short(value: float) -> str:
    """Two figures, and 10^6 for what is beyond: 0.05, 1.3, 120, 10⁶."""
    if not np.isfinite(value):
        return "∞"
    if value >= 1000:
        power = int(np.floor(np.log10(value)))
        return "10" + str(power).translate(str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹"))
    return f"{value:.2f}" if value < 1 else f"{value:.2g}"
