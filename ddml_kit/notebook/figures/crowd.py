"""Gradients in a plane: the honest, the liars, and what a rule makes of them all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import plotly.graph_objects as go

from ddml_kit.cluster.run import Badge
from ddml_kit.notebook.figures import style
from ddml_kit.notebook.figures.figure import Figure
from ddml_kit.notebook.units import number_text

MARGIN = 1.25  # the frame, in lengths of the farthest honest gradient
SYMBOLS = ("circle", "cross", "square")  # of what rules make of them; the first is a ring
RING = 24  # pixels across
COLOURS = (style.BLACK, style.BLUE, style.PURPLE)


def crowd(
    honest: np.ndarray,
    lies: np.ndarray,
    results: Mapping[str, Sequence[float] | np.ndarray],
    *,
    names: tuple[str, str] = ("along the honest mean", "across it"),
    badge: Badge | None = None,
    caption: str = "",
) -> Figure:
    """Points (n - a, 2), (a, 2), and of each rule one, by name; a step goes against them.

    The frame is that of the honest: what is beyond it stands on its edge, as an empty mark. Lies
    that lie on each other are one mark with their number. names: of the axes, which have one scale.
    caption: where it ran, if not by badge alone.
    """
    honest, lies = (np.reshape(np.asarray(points, float), (-1, 2)) for points in (honest, lies))
    if not len(honest) or not results:
        raise ValueError("crowd needs an honest gradient or more, and what a rule makes of them")
    reach = MARGIN * (float(np.abs(honest).max()) or 1.0)
    axis = {"range": [-reach, reach], "zeroline": True, "zerolinecolor": style.GREY}
    plot = go.Figure(
        layout={
            "template": style.TEMPLATE,
            "height": 400,
            "showlegend": True,
            "legend": {"orientation": "h", "x": 0, "y": 1, "yanchor": "bottom"},
            "margin": {"t": 40},
            "xaxis": {**axis, "title": {"text": names[0]}, "constrain": "domain"},
            "yaxis": {
                **axis,
                "title": {"text": names[1]},
                "constrain": "domain",
                "scaleanchor": "x",
            },
        }
    )
    _marks(plot, honest, reach, "honest", "circle", style.HONEST, 11)
    places, counts = np.unique(np.round(lies, 6), axis=0, return_counts=True)
    _marks(plot, places, reach, "lie", "diamond", style.BYZANTINE, 13, counts)
    for k, (name, at) in enumerate(results.items()):
        look = k % len(SYMBOLS)
        _marks(
            plot,
            np.reshape(at, (1, 2)),
            reach,
            name,
            SYMBOLS[look],
            COLOURS[look],
            14 if k else RING,
        )
    words = [f"{_counted(honest, reach, 'honest gradient')}, {_counted(lies, reach, 'lie')}."]
    middle = honest.mean(axis=0)
    for name, at in results.items():
        away = round(float(np.linalg.norm(np.asarray(at, float) - middle)), 4)
        x, y = (number_text(float(value) + 0.0) for value in np.round(np.asarray(at, float), 4))
        words.append(f"**{name}**: at ({x}, {y}), {number_text(away)} from the honest mean.")
    return Figure(plot, " ".join(words), style.BADGES[badge] if badge else caption)


def _marks(
    plot: go.Figure,
    points: np.ndarray,
    reach: float,
    name: str,
    symbol: str,
    colour: str,
    size: int,
    counts: np.ndarray | None = None,
) -> None:
    """One kind of point; those beyond the frame are empty and on its edge."""
    if not len(points):
        return
    beyond = _beyond(points, reach)
    empty = beyond if size < RING else np.ones(len(points), bool)
    shown = np.where(np.isfinite(points), points, reach)
    farthest = np.abs(shown).max(axis=1, keepdims=True)
    edge = 0.97 if counts is not None else 0.86  # so that lies and what they lead to stand apart
    shown = shown * np.minimum(1.0, edge * reach / np.maximum(farthest, 1e-300))
    several = counts is not None and counts.max() > 1
    plot.add_scatter(
        x=np.round(shown[:, 0], 5).tolist(),
        y=np.round(shown[:, 1], 5).tolist(),
        name=name,
        mode="markers+text" if several else "markers",
        text=[f"{count} ×" if count > 1 else "" for count in counts] if several else None,  # type: ignore[union-attr]
        textposition="bottom right",
        textfont={"color": colour, "size": 13},
        marker={
            "symbol": [f"{symbol}-open" if one else symbol for one in empty],
            "size": size,
            "color": colour,
            "opacity": 0.9,
            "line": {"width": 3, "color": colour}
            if empty.any()
            else {"width": 1, "color": "white"},
        },
        customdata=["beyond the frame" if far else "" for far in beyond],
        hovertemplate=f"{name} (%{{x:.3g}}, %{{y:.3g}}) %{{customdata}}<extra></extra>",
    )


def _beyond(points: np.ndarray, reach: float) -> np.ndarray:
    return ~(np.abs(points) <= reach).all(axis=1)


def _counted(points: np.ndarray, reach: float, noun: str) -> str:
    """3 lies, 2 of them beyond the frame."""
    n, far = len(points), int(_beyond(points, reach).sum()) if len(points) else 0
    told = f"{n or 'no'} {noun}{'s' * (n != 1)}"
    return told + f", {far} of them beyond the frame" * bool(far)
