"""Paths over a map: where a method went on a function of two numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go

from ddml_kit.cluster.run import Badge, Run
from ddml_kit.notebook.figures import style
from ddml_kit.notebook.figures.figure import Figure
from ddml_kit.notebook.units import number_text
from ddml_kit.problems.surfaces import Map

FAR = 1e9  # beyond all maps, and within what the page can count with
DIGITS = 4  # after the point, of a place on the map
LOW, HIGH = "#B9D3E6", "#FFFFFF"  # of the ground: low is blue


def landscape(
    plane: Map,
    walks: Mapping[str, Run | np.ndarray],
    *,
    minima: Sequence[Sequence[float]] = (),
    names: tuple[str, str] = ("first weight", "second weight"),
    badge: Badge | None = None,
    looks: Sequence[Mapping[str, Any]] = (),
    caption: str = "",
) -> Figure:
    """Where runs went, by label, over lines of equal height, which are closer together low down.

    A run is drawn by its snapshots of rank 0; a path, (k, 2), will do as well. minima: where
    crosses go. names: of the axes. looks: colour and dash of each, if not those of its place.
    caption: where it ran, if not by badge alone. Both axes have one scale, so that a gradient
    stands at right angles on a line.
    """
    paths = {label: np.round(_path(walk), DIGITS) for label, walk in walks.items()}
    height = plane.height - plane.height.min()
    # Logarithmic, so that lines are seen at the bottom of the valley as well as on its walls.
    ground = np.log10(height + 1e-3 * (height.max() or 1.0))
    width, depth = np.ptp(plane.x), np.ptp(plane.y)
    plot = go.Figure(
        layout={
            "template": style.TEMPLATE,
            "height": 380,
            "showlegend": True,
            "legend": {"orientation": "h", "x": 0, "y": 1, "yanchor": "bottom"},
            "margin": {"t": 36},
            "xaxis": {
                "title": {"text": names[0]},
                "range": [plane.x[0], plane.x[-1]],
                "showgrid": False,
                "constrain": "domain",
            },
            "yaxis": {
                "title": {"text": names[1]},
                "range": [plane.y[0], plane.y[-1]],
                "showgrid": False,
                "constrain": "domain",
                **({"scaleanchor": "x"} if 0.2 < depth / width < 5 else {}),
            },
        }
    )
    plot.add_contour(
        x=plane.x.astype(np.float32),
        y=plane.y.astype(np.float32),
        z=np.round(ground, 3).astype(np.float32),
        colorscale=[[0, LOW], [1, HIGH]],
        contours={"coloring": "heatmap"},
        line={"color": "#8FA3B5", "width": 0.7},
        ncontours=14,
        showscale=False,
        showlegend=False,
        hoverinfo="skip",
    )
    for k, (label, path) in enumerate(paths.items()):
        seen = np.clip(path, -FAR, FAR).astype(np.float32)
        look = looks[k] if looks else style.line(k)
        plot.add_scatter(
            x=seen[:, 0],
            y=seen[:, 1],
            name=label,
            mode="lines+markers",
            line={**look, "width": 2},
            marker={"size": 5, "color": look["color"]},
        )
    starts = np.unique([path[0] for path in paths.values() if len(path) > 1], axis=0)
    for a, b in starts if len(starts) else ():
        plot.add_annotation(
            x=a,
            y=b,
            text="start",
            showarrow=False,
            yshift=14,
            font={"size": 13, "color": style.INK},
        )
    if len(minima):
        plot.add_scatter(
            x=[a for a, _ in minima],
            y=[b for _, b in minima],
            mode="markers",
            marker={"symbol": "x", "size": 10, "color": style.BLACK},
            name="minimum" if len(minima) == 1 else "minima",
        )
    words = [_words(label, path, minima) for label, path in paths.items()]
    where = style.BADGES[badge] if badge else caption
    return Figure(plot, " ".join(words), where)


def _path(walk: Run | np.ndarray) -> np.ndarray:
    """(k, 2)."""
    if isinstance(walk, Run):
        return np.array([snapshot.w for snapshot in walk.snapshots if snapshot.rank == 0])
    return walk


def _words(label: str, path: np.ndarray, minima: Sequence[Sequence[float]]) -> str:
    """Where a path begins and ends, and how far that is from a minimum."""
    begin, end = ("(" + ", ".join(map(number_text, at + 0.0)) + ")" for at in path[[0, -1]])
    words = f"**{label}**: "
    words += f"at {end}" if len(path) == 1 else f"from {begin} to {end}"
    if len(minima):
        away = float(np.linalg.norm(np.asarray(minima) - path[-1], axis=1).min())
        what = f"{'nearest ' * (len(minima) > 1)}minimum"
        close = away < 2 * 10**-DIGITS
        words += f", at the {what}" if close else f", {number_text(away)} from the {what}"
    return words + "."
