"""How values spread: staleness, waiting times, the predictions of a class."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import plotly.graph_objects as go

from ddml_kit.cluster.run import Badge
from ddml_kit.notebook.figures import style
from ddml_kit.notebook.figures.figure import Figure
from ddml_kit.notebook.units import count_text

BARS = 60  # whole numbers get a bar each up to so many; others half as many bars


def histogram(
    groups: Mapping[str, np.ndarray],
    *,
    value: str,
    count: str = "how often",
    badge: Badge | None = None,
) -> Figure:
    """How often each value came, by label. value, count: what the axes say, with units."""
    if not groups or not all(np.size(values) for values in groups.values()):
        raise ValueError(f"a histogram needs a value in each group, got {dict(groups)}")
    plot = go.Figure(
        layout={
            "template": style.TEMPLATE,
            "height": 280,
            "bargap": 0.1,
            "showlegend": len(groups) > 1,
            "legend": {"orientation": "h", "x": 0, "y": 1, "yanchor": "bottom"},
            "xaxis": {"title": {"text": value}},
            "yaxis": {"title": {"text": count}, "rangemode": "tozero"},
        }
    )
    edges = _edges(np.concatenate([np.ravel(values) for values in groups.values()]))
    for k, (label, values) in enumerate(groups.items()):
        plot.add_bar(
            x=(edges[:-1] + edges[1:]) / 2,
            y=np.histogram(values, edges)[0],
            name=label,
            marker={"color": style.SERIES[k % len(style.SERIES)]},
        )
    words = [_words(label, values, value) for label, values in groups.items()]
    return Figure(plot, " ".join(words), style.BADGES[badge] if badge else "")


def _edges(values: np.ndarray) -> np.ndarray:
    """The borders of the bars."""
    low, high = values.min(), values.max()
    if values.dtype.kind in "iu" and high - low < BARS:
        return np.arange(low, high + 2) - 0.5
    return np.linspace(low, high if high > low else low + 1, BARS // 2 + 1)


def _words(label: str, values: np.ndarray, value: str) -> str:
    low, half, most, high = np.percentile(values, [0, 50, 90, 100])
    return (
        f"**{label}**: {count_text(np.size(values))} times {value}, {low:.4g} to {high:.4g}, "
        f"mean {np.mean(values):.3g}, median {half:.4g}, nine of ten at most {most:.4g}."
    )
