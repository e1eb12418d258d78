"""Small pictures side by side: what weights look like, and images."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go

from ddml_kit.cluster.run import Badge
from ddml_kit.notebook.figures import style
from ddml_kit.notebook.figures.figure import Figure
from ddml_kit.notebook.units import number_text

DIVERGING = [[0, style.VERMILLION], [0.5, "#FFFFFF"], [1, style.BLUE]]  # below 0, 0, above


def tiles(
    rows: Sequence[tuple[str, np.ndarray]],
    *,
    titles: Sequence[str] = (),
    badge: Badge | None = None,
    caption: str = "",
) -> Figure:
    """Rows of pictures, (name, (k, h, w)): blue above zero, orange below, a scale for each row.

    titles: above the columns. caption: where it ran, if not by badge alone. Pictures of one row
    have one size; those of other rows are drawn as large.
    """
    if not rows or any(pictures.ndim != 3 or not pictures.size for _, pictures in rows):
        raise ValueError("tiles needs rows of pictures (k, h, w), one or more in each")
    columns = max(len(pictures) for _, pictures in rows)
    plot = go.Figure(
        layout={
            "template": style.TEMPLATE,
            "height": 74 * len(rows) + 30,
            "margin": {"l": 8, "r": 8, "t": 26, "b": 4},
            "showlegend": False,
            "xaxis": {"visible": False, "range": [-1.6, columns], "constrain": "domain"},
            "yaxis": {
                "visible": False,
                "range": [len(rows) - 0.02, -0.02],
                "scaleanchor": "x",
                "constrain": "domain",
            },
        }
    )
    words = []
    for row, (name, pictures) in enumerate(rows):
        top = float(np.abs(pictures).max()) or 1.0
        for column, picture in enumerate(pictures):
            h, w = picture.shape
            plot.add_heatmap(
                z=np.round(127 * picture / top).astype(np.int8),
                x0=column + 0.5 / w * 0.92,
                dx=0.92 / w,
                y0=row + 0.5 / h * 0.92,
                dy=0.92 / h,
                zmin=-127,
                zmax=127,
                colorscale=DIVERGING,
                showscale=False,
                hoverinfo="skip",
            )
        plot.add_annotation(
            x=-0.1, y=row + 0.46, text=name, showarrow=False, xanchor="right", font={"size": 13}
        )
        shape = " × ".join(map(str, pictures.shape[1:]))
        words.append(
            f"**{name}**: {len(pictures)} picture{'s' * (len(pictures) > 1)} of {shape}, from "
            f"{number_text(float(pictures.min()))} to {number_text(float(pictures.max()))}."
        )
    for column, title in enumerate(titles):
        plot.add_annotation(
            x=column + 0.46, y=0, text=title, showarrow=False, yshift=12, font={"size": 13}
        )
    return Figure(plot, " ".join(words), style.BADGES[badge] if badge else caption)
