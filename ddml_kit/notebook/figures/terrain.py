"""The loss around an image, for models side by side: how steep it is, and where verdicts change."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import plotly.graph_objects as go

from ddml_kit.adversarial.surface import Surface
from ddml_kit.notebook.figures import style
from ddml_kit.notebook.figures.figure import Figure
from ddml_kit.notebook.units import number_text

LEAST, MOST = 1e-4, 1e2  # losses beyond have the same colour
GROUND = [[0, "#F3F7FA"], [0.5, "#7FB2D2"], [1, "#08355A"]]
TICKS = [1e-4, 1e-2, 1, 1e2]


def terrain(
    surfaces: Mapping[str, Surface], *, label: int, eps: float, names: tuple[str, str], y: str
) -> Figure:
    """The losses over two directions, one map a model, on one scale of colours; a line in
    vermillion around where the verdict is the image's label.

    eps: half the side of the square that is drawn around the image. names: of the directions'
    axis and of the loss. y: of the other direction.
    """
    count = len(surfaces)
    if not count:
        raise ValueError("terrain needs a surface or more")
    plot = go.Figure(
        layout={
            "template": style.TEMPLATE,
            "height": 330,
            "showlegend": False,
            "margin": {"t": 34, "r": 80},
        }
    )
    words = []
    width = (1 - 0.05 * (count - 1)) / count
    for k, (name, surface) in enumerate(surfaces.items()):
        axis = str(k + 1) if k else ""
        left = k * (width + 0.05)
        at, losses = surface.at, np.abs(surface.losses)  # no -0
        own = surface.verdicts == label
        place = {"xaxis": f"x{axis}", "yaxis": f"y{axis}"}
        plot.add_heatmap(
            x=at,
            y=at,
            z=np.round(np.log10(np.clip(losses, LEAST, MOST)).T, 2),
            zmin=np.log10(LEAST),
            zmax=np.log10(MOST),
            colorscale=GROUND,
            showscale=k == count - 1,
            colorbar={
                "title": {"text": names[1], "font": {"size": 13}},
                "tickvals": np.log10(TICKS),
                "ticktext": ["≤ 0.0001", "0.01", "1", "≥ 100"],
                "thickness": 12,
            },
            hoverinfo="skip",
            **place,
        )
        if own.any() and not own.all():
            plot.add_contour(
                x=at,
                y=at,
                z=own.T.astype(np.int8),
                contours={"start": 0.5, "end": 0.5, "size": 1, "coloring": "lines"},
                colorscale=[[0, style.VERMILLION], [1, style.VERMILLION]],
                line={"width": 3},
                showscale=False,
                hoverinfo="skip",
                **place,
            )
        plot.add_scatter(
            x=[0], y=[0], mode="markers", marker={"size": 9, "color": style.BLACK},
            hoverinfo="skip", **place,
        )  # fmt: skip
        plot.add_shape(
            type="rect", x0=-eps, x1=eps, y0=-eps, y1=eps, xref=f"x{axis}", yref=f"y{axis}",
            line={"color": style.BLACK, "dash": "dot", "width": 1.5},
        )  # fmt: skip
        span = [float(at[0]), float(at[-1])]
        plot.layout[f"xaxis{axis}"] = {
            "domain": [left, left + width],
            "range": span,
            "anchor": f"y{axis}",
            "constrain": "domain",
            "title": {"text": names[0]},
            "showgrid": False,
        }
        plot.layout[f"yaxis{axis}"] = {
            "range": span,
            "anchor": f"x{axis}",
            "scaleanchor": f"x{axis}",
            "constrain": "domain",
            "showgrid": False,
            "showticklabels": k == 0,
            **({"title": {"text": y}} if k == 0 else {}),
        }
        plot.add_annotation(
            x=left + width / 2,
            y=1,
            xref="paper",
            yref="paper",
            xanchor="center",
            yanchor="bottom",
            text=name,
            showarrow=False,
            font={"size": 14},
        )
        middle, inside = len(at) // 2, np.abs(at) <= eps * (1 + 1e-9)
        worst = losses[np.ix_(inside, inside)].max()
        words.append(
            f"**{name}**: loss {number_text(float(losses[middle, middle]))} at the image, at most "
            f"{number_text(float(worst))} in the square around it; {own.mean():.0%} of the map is "
            "read right."
        )
    return Figure(plot, f"{names[1]} by {names[0]} and {y}. " + " ".join(words), "")
