"""How values spread: staleness, waiting times, the predictions of a class."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import plotly.graph_objects as go

from ddml_kit.cluster.run import Badge
from ddml_kit.notebook.figures import style
from ddml_kit.notebook.figures.figure import Figure
from ddml_kit.notebook.units import count_text

BARS = 30  # about so many; whole numbers get a bar each up to twice as many
TAIL = 99.0  # percent of the values that have bars of their own, if the rest goes far beyond


def histogram(
    groups: Mapping[str, np.ndarray],
    *,
    value: str,
    count: str = "how often",
    badge: Badge | None = None,
) -> Figure:
    """How often each value came, by label. value, count: what the axes say, with units.

    A long tail is gathered in the last bar, and the axis says so.
    """
    if not groups or not all(np.size(values) for values in groups.values()):
        raise ValueError(f"a histogram needs a value in each group, got {dict(groups)}")
    edges, beyond = _edges(groups)
    last = "" if beyond is None else f" (last bar: {beyond:.4g} and more)"
    plot = go.Figure(
        layout={
            "template": style.TEMPLATE,
            "height": 280,
            "bargap": 0.1,
            "showlegend": len(groups) > 1,
            "legend": {"orientation": "h", "x": 0, "y": 1, "yanchor": "bottom"},
            "xaxis": {"title": {"text": value + last}},
            "yaxis": {"title": {"text": count}, "rangemode": "tozero"},
        }
    )
    for k, (label, values) in enumerate(groups.items()):
        plot.add_bar(
            x=(edges[:-1] + edges[1:]) / 2,
            y=np.histogram(np.minimum(values, edges[-1]), edges)[0],
            name=label,
            marker={"color": style.SERIES[k % len(style.SERIES)]},
        )
    words = [_words(label, values, value) for label, values in groups.items()]
    return Figure(plot, " ".join(words), style.BADGES[badge] if badge else "")


def _edges(groups: Mapping[str, np.ndarray]) -> tuple[np.ndarray, float | None]:
    """The borders of the bars, and where the last bar begins, if it has the tail as well."""
    values = np.concatenate([np.ravel(values) for values in groups.values()])
    low, top = values.min(), values.max()
    high = max(np.percentile(group, TAIL) for group in groups.values())
    if top - low <= 1.5 * (high - low):
        high = top
    whole = values.dtype.kind in "iu"
    if whole:
        step = 1 if high - low < 2 * BARS else -(-(high - low + 1) // BARS)
        edges = np.arange(low, high + step + 1, step) - 0.5
    else:
        edges = np.linspace(low, high if high > low else low + 1, BARS + 1)
    if top <= edges[-1]:
        return edges, None
    return edges, float(np.ceil(edges[-2]) if whole else edges[-2])


def _words(label: str, values: np.ndarray, value: str) -> str:
    low, half, most, high = np.percentile(values, [0, 50, 90, 100])
    return (
        f"**{label}**: {value} from {low:.4g} to {high:.4g}, mean {np.mean(values):.3g}, median "
        f"{half:.4g}, nine of ten at most {most:.4g} ({count_text(np.size(values))} in all)."
    )
