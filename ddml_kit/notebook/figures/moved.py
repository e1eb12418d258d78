"""An image, what was added to it, and what a network makes of the sum."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go

from ddml_kit.cluster.run import Badge
from ddml_kit.notebook.figures import style
from ddml_kit.notebook.figures.figure import Figure
from ddml_kit.notebook.figures.tiles import DIVERGING
from ddml_kit.notebook.units import number_text

INKED = [[0, "#FFFFFF"], [1, style.INK]]
SIDE, GAP = 0.3, 0.05  # of the figure's width, a picture and what is between two
BELOW, ABOVE = 0.3, 0.44  # of its height, where the bars end and the pictures begin


def moved(
    image: np.ndarray,
    after: np.ndarray,
    chances: Sequence[np.ndarray],
    *,
    names: Sequence[str],
    label: int,
    badge: Badge | None = None,
) -> Figure:
    """The image (h, w) from 0 to 1, by how much each pixel was moved, the image after that, and
    the network's probabilities of the classes before and after, two (classes,).

    names: of the classes. label: of the image. An image is said to be read as its likeliest class.
    """
    if image.ndim != 2 or image.shape != after.shape:
        raise ValueError(f"moved needs two pictures of one size, got {image.shape}, {after.shape}")
    before, now = (np.asarray(c, np.float64) for c in chances)
    read, found = int(before.argmax()), int(now.argmax())
    change = after - image
    pictures = [
        (image, f"read as {names[read]} ({before[read]:.0%})", INKED, 0.0, 1.0),
        (change, "what is added", DIVERGING, -0.5, 0.5),
        (after, f"read as {names[found]} ({now[found]:.0%})", INKED, 0.0, 1.0),
    ]
    plot = go.Figure(
        layout={
            "template": style.TEMPLATE,
            "height": 430,
            "margin": {"l": 56, "r": 8, "t": 26, "b": 48},
            "showlegend": True,
            "legend": {
                "orientation": "h",
                "x": 1,
                "xanchor": "right",
                "y": 0.3,
                "yanchor": "bottom",
            },
            "barmode": "group",
        }
    )
    h, w = image.shape
    for k, (picture, title, scale, low, high) in enumerate(pictures):
        axis = str(k + 1) if k else ""
        left = k * (SIDE + GAP)
        plot.add_heatmap(
            z=np.round(picture.astype(np.float64), 3),
            zmin=low,
            zmax=high,
            colorscale=scale,
            showscale=False,
            hoverinfo="skip",
            xaxis=f"x{axis}",
            yaxis=f"y{axis}",
        )
        hidden = {"showticklabels": False, "ticks": "", "showgrid": False, "mirror": True}
        plot.layout[f"xaxis{axis}"] = {
            **hidden,
            "domain": [left, left + SIDE],
            "range": [-0.5, w - 0.5],
            "constrain": "domain",
            "anchor": f"y{axis}",
        }
        plot.layout[f"yaxis{axis}"] = {
            **hidden,
            "domain": [ABOVE, 1],
            "range": [h - 0.5, -0.5],
            "scaleanchor": f"x{axis}",
            "constrain": "domain",
            "anchor": f"x{axis}",
        }
        plot.add_annotation(
            x=left + SIDE / 2,
            y=1,
            xanchor="center",
            xref="paper",
            yref="paper",
            yanchor="bottom",
            text=title,
            showarrow=False,
            font={"size": 13},
        )
    for values, title, colour in ((before, "before", style.GREY), (now, "after", style.BLUE)):
        plot.add_bar(
            x=list(names),
            y=np.round(100 * values, 1),
            name=title,
            marker={"color": colour},
            xaxis="x4",
            yaxis="y4",
            hovertemplate="%{x}: %{y} %<extra>" + title + "</extra>",
        )
    plot.layout.xaxis4 = {"anchor": "y4", "type": "category", "title": {"text": "read as"}}
    plot.layout.yaxis4 = {
        "anchor": "x4",
        "domain": [0, BELOW],
        "range": [0, 100],
        "title": {"text": "probability, %"},
    }
    words = (
        f"An image of a **{names[label]}**, read as {names[read]} ({before[read]:.0%}). No pixel "
        f"moved by more than {number_text(float(np.abs(change).max()))}, it is read as "
        f"**{names[found]}** ({now[found]:.0%})."
    )
    return Figure(plot, words, style.BADGES[badge] if badge else "")
