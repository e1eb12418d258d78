"""A network, each node in the colour of a figure of it: how far it is from the others' mean."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import networkx as nx
import numpy as np
import plotly.graph_objects as go

from ddml_kit.cluster.run import Badge
from ddml_kit.notebook.figures import style
from ddml_kit.notebook.figures.figure import Figure
from ddml_kit.notebook.units import number_text

SCALE = [[0, "#FFFFFF"], [0.5, style.ORANGE], [1, style.VERMILLION]]
GAP = 0.03  # between two pictures, as a share of the width
NUMBERED = 40  # nodes at most that have their numbers written on them


def network(
    graph: nx.Graph,
    frames: Mapping[str, Sequence[float] | np.ndarray],
    *,
    places: Mapping[int, Sequence[float]] | None = None,
    figure: str = "distance from the mean",
    most: float = 1.0,
    least: float = 1e-6,
    badge: Badge | None = None,
    caption: str = "",
) -> Figure:
    """The graph once for each frame, side by side, its nodes coloured on one scale.

    graph: nodes 0 to n - 1. frames: by title, a value >= 0 for each node; grey where there is none
    or it is NaN. places: of the nodes, (x, y); without, on a circle, and one who alone is linked to
    all others in the middle. figure: what the values are.
    most, least: the values from which on nodes are as dark, and as pale, as can be. caption: where
    it ran, if not by badge alone.
    """
    n = len(graph)
    if not 0 < least < most:
        raise ValueError(f"network needs 0 < least < most, got {least:g} and {most:g}")
    if not frames or any(len(values) > n for values in frames.values()):
        raise ValueError(f"network needs a value for each of {n} nodes in one or more frames")
    at = _within(around(graph) if places is None else places)
    plot = go.Figure(
        layout={
            "template": style.TEMPLATE,
            "height": 380 if len(frames) == 1 else 300,
            "margin": {"l": 8, "r": 8, "t": 30, "b": 8},
            "showlegend": False,
        }
    )
    width = 1 / len(frames)
    size = max(8, min(26, 120 // (len(frames) * math.ceil(math.sqrt(n)))))
    words = []
    for k, (title, values) in enumerate(frames.items(), start=1):
        own = "" if k == 1 else str(k)
        left = (k - 1) * width
        axis = {"visible": False, "range": [-1.15, 1.15], "constrain": "domain"}
        plot.update_layout(
            {
                f"xaxis{own}": {
                    **axis,
                    "domain": [left + GAP / 2, left + width - GAP / 2],
                    "anchor": f"y{own}",
                },
                f"yaxis{own}": {**axis, "scaleanchor": f"x{own}", "anchor": f"x{own}"},
            }
        )
        axes = {"xaxis": f"x{own}", "yaxis": f"y{own}"}
        plot.add_scatter(**_links(graph, at), **axes)
        full = np.full(n, np.nan)
        full[: len(values)] = values
        plot.add_scatter(
            **_nodes(at, full, (least, most), size, figure, last=k == len(frames)), **axes
        )
        if title:
            plot.add_annotation(
                text=title, x=left + width / 2, y=1, xref="paper", yref="paper",
                xanchor="center", yanchor="bottom", showarrow=False,
            )  # fmt: skip
        words.append(_words(title, full, figure))
    links = graph.number_of_edges()
    count = f"{n} nodes, {links} link{'s' * (links != 1)}."
    where = style.BADGES[badge] if badge else caption
    return Figure(plot, " ".join([count, *words]), where)


def around(graph: nx.Graph) -> dict[int, tuple[float, float]]:
    """Places on a circle, clockwise from the top; the middle of a star is in the middle."""
    n = len(graph)
    linked = [node for node in graph if graph.degree(node) == n - 1]
    hub = linked if len(linked) == 1 and n > 2 else []
    rim = [node for node in sorted(graph) if node not in hub]
    turn = 2 * math.pi / len(rim)
    places = {node: (math.sin(turn * k), math.cos(turn * k)) for k, node in enumerate(rim)}
    return places | dict.fromkeys(hub, (0.0, 0.0))


def _within(places: Mapping[int, Sequence[float]]) -> np.ndarray:
    """The places, (n, 2), moved and scaled to lie between -1 and 1."""
    at = np.array([places[node] for node in range(len(places))], float)
    middle = (at.max(axis=0) + at.min(axis=0)) / 2
    return (at - middle) / (np.abs(at - middle).max() or 1.0)


def _links(graph: nx.Graph, at: np.ndarray) -> dict[str, Any]:
    """All links as one broken line."""
    ends = [(i, j) for i, j in graph.edges if i != j]
    x = [value for i, j in ends for value in (at[i, 0], at[j, 0], None)]
    y = [value for i, j in ends for value in (at[i, 1], at[j, 1], None)]
    look = {"color": "#AEB7C0", "width": 1.2 if len(ends) < 60 else 0.6}
    return {"x": x, "y": y, "mode": "lines", "line": look, "hoverinfo": "skip"}


def _nodes(
    at: np.ndarray,
    values: np.ndarray,
    ends: tuple[float, float],
    size: int,
    figure: str,
    last: bool,
) -> dict[str, Any]:
    """The nodes with their numbers; the scale of colours beside the last picture."""
    least, most = ends
    decades = math.log10(most / least)
    heard = np.isfinite(values)
    height = np.log10(np.clip(np.where(heard, values, least), least, most) / least)
    texts = [
        number_text(value) if known else "?" for value, known in zip(values, heard, strict=True)
    ]
    marks = np.arange(0, decades + 1e-9, 2 if decades > 3 else 1)
    bar = {
        "title": {"text": figure, "side": "right"},
        "tickvals": marks.tolist(),
        "ticktext": [number_text(least * 10.0**mark) for mark in marks],
        "thickness": 12,
        "len": 0.9,
    }
    marker = {
        "size": size,
        "color": np.round(height, 2).tolist(),
        "cmin": 0,
        "cmax": decades,
        "colorscale": SCALE,
        "showscale": last,
        "colorbar": bar,
        "line": {"color": style.INK, "width": 1},
    }
    if not heard.all():
        marker["opacity"] = np.where(heard, 1.0, 0.3).tolist()
    numbered = len(at) <= NUMBERED and size >= 12
    return {
        "x": np.round(at[:, 0], 4).tolist(),
        "y": np.round(at[:, 1], 4).tolist(),
        "mode": "markers+text" if numbered else "markers",
        "text": list(map(str, range(len(at)))) if numbered else None,
        "textfont": {"size": 10},
        "marker": marker,
        "customdata": texts,
        "hovertemplate": f"%{{customdata}} {figure}<extra></extra>",
    }


def _words(title: str, values: np.ndarray, figure: str) -> str:
    """The least and the largest value, and who has the latter."""
    heard = np.flatnonzero(np.isfinite(values))
    if not len(heard):
        return ""
    worst = int(heard[np.argmax(values[heard])])
    low, high = number_text(float(values[heard].min())), number_text(float(values[worst]))
    head = f"**{title}**: " if title else ""
    if low == high:
        return f"{head}{figure} {high} at each."
    return f"{head}{figure} from {low} to {high}, at node {worst}."
