"""A network of two inputs, drawn whole: where it says yes, and what each of its neurons sees."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go

from ddml_kit.cluster.run import Badge
from ddml_kit.notebook.figures import style
from ddml_kit.notebook.figures.figure import Figure

NO, YES = style.ORANGE, style.BLUE
POINTS = (("#7A4B00", "circle"), ("#002F4B", "diamond"))  # darker, to be seen on their own ground
SCALE = [[0, NO], [0.5, "#FFFFFF"], [1, YES]]
GAP = 0.012  # between neurons, as a share of the width


def neurons(
    answer: np.ndarray,
    layers: Sequence[np.ndarray],
    points: np.ndarray,
    labels: np.ndarray,
    *,
    badge: Badge | None = None,
    caption: str = "",
) -> Figure:
    """The answer over the plane, the points, and beside them each layer's neurons, a row a layer.

    answer: (m, m), from 0 (class 0) to 1, over x (columns) and y (rows) from -1.1 to 1.1. layers:
    (k, m, m) each, from -1 to 1. points: (n, 2), with labels, (n,), 0 or 1. caption: where it ran,
    if not by badge alone.
    """
    edge = 1.1
    axis = {"visible": False, "range": [-edge, edge], "constrain": "domain"}
    plot = go.Figure(
        layout={
            "template": style.TEMPLATE,
            "height": 360,
            "margin": {"l": 8, "r": 8, "t": 34, "b": 8},
            "showlegend": True,
            "legend": {"orientation": "h", "x": 0, "y": 1, "yanchor": "bottom"},
            "xaxis": {**axis, "domain": [0, 0.46]},
            "yaxis": {**axis, "scaleanchor": "x"},
        }
    )
    grid = {"x0": -edge, "dx": 2 * edge / (len(answer) - 1)}
    grid |= {"y0": -edge, "dy": 2 * edge / (len(answer) - 1)}
    look = {"colorscale": SCALE, "showscale": False, "hoverinfo": "skip"}
    plot.add_heatmap(z=_bytes(2 * answer - 1), zmin=-127, zmax=127, **grid, **look)
    for label, (colour, symbol) in enumerate(POINTS):
        chosen = points[labels == label].astype(np.float32)
        plot.add_scatter(
            x=chosen[:, 0],
            y=chosen[:, 1],
            mode="markers",
            name=f"class {label}",
            marker={
                "color": colour,
                "symbol": symbol,
                "size": 6,
                "line": {"color": "white", "width": 1},
            },
        )
    per_row = 4
    rows = [row for layer in layers for row in np.split(layer, range(per_row, len(layer), per_row))]
    for r, row in enumerate(rows):
        for c, seen in enumerate(row):
            k = r * per_row + c + 2
            left = 0.52 + c * 0.48 / per_row
            top = 1 - r / len(rows)
            plot.add_heatmap(
                z=_bytes(seen), zmin=-127, zmax=127, xaxis=f"x{k}", yaxis=f"y{k}", **grid, **look
            )
            plot.update_layout(
                {
                    f"xaxis{k}": {
                        **axis,
                        "domain": [left + GAP, left + 0.48 / per_row],
                        "anchor": f"y{k}",
                    },
                    f"yaxis{k}": {
                        **axis,
                        "domain": [top - 1 / len(rows) + GAP, top - GAP],
                        "anchor": f"x{k}",
                        "scaleanchor": f"x{k}",
                    },
                }
            )
    plot.add_annotation(
        text=f"neurons: {', then '.join(str(len(layer)) for layer in layers)}",
        x=0.75, y=1, xref="paper", yref="paper", yanchor="bottom", showarrow=False,
    )  # fmt: skip
    yes, ones = float(np.mean(answer > 0.5)), float(np.mean(labels == 1))
    words = (
        f"The network answers class 1 on {yes:.0%} of the plane; so are {ones:.0%} of "
        f"{len(points)} points."
    )
    return Figure(plot, words, style.BADGES[badge] if badge else caption)


def _bytes(values: np.ndarray) -> np.ndarray:
    """Numbers from -1 to 1 as whole ones from -127 to 127, which travel as a byte each."""
    return np.round(127 * values).astype(np.int8)
