"""Settings as points with names: what each costs, and what comes of it."""

from __future__ import annotations

from collections.abc import Mapping

import plotly.graph_objects as go

from ddml_kit.cluster.run import Badge
from ddml_kit.notebook.figures import style
from ddml_kit.notebook.figures.figure import Figure
from ddml_kit.notebook.figures.lines import TO_ZERO, log_axis
from ddml_kit.notebook.units import number_text

SYMBOLS = ("circle", "diamond", "square", "triangle-up", "x", "star")
Named = Mapping[str, tuple[float, float]]  # x and y by name


def points(
    groups: Mapping[str, Named],
    *,
    x: str,
    y: str,
    badge: Badge | None = None,
    log_x: bool = False,
    log_y: bool = False,
    beside: Mapping[str, str] | None = None,
) -> Figure:
    """Named points by group, a colour and a symbol each. x, y: what the axes say, with units.

    beside: where a name stands, if not above its point: {name: "bottom center"}, as plotly has it.
    """
    if not groups or not all(groups.values()):
        raise ValueError("points needs one or more in each group, got none")
    beside = beside or {}
    xs, ys = ([at[k] for named in groups.values() for at in named.values()] for k in (0, 1))
    plot = go.Figure(
        layout={
            "template": style.TEMPLATE,
            "height": 420,
            "showlegend": len(groups) > 1,
            "legend": {"orientation": "h", "x": 0, "y": 1, "yanchor": "bottom"},
            "xaxis": {"title": {"text": x}, **(log_axis(xs) if log_x else TO_ZERO)},
            "yaxis": {"title": {"text": y}, **(log_axis(ys) if log_y else TO_ZERO)},
        }
    )
    for k, (label, named) in enumerate(groups.items()):
        colour = style.SERIES[k % len(style.SERIES)]
        plot.add_scatter(
            x=[at[0] for at in named.values()],
            y=[at[1] for at in named.values()],
            name=label,
            mode="markers+text",
            marker={"size": 10, "color": colour, "symbol": SYMBOLS[k % len(SYMBOLS)]},
            text=list(named),
            textposition=[beside.get(name, "top center") for name in named],
            textfont={"size": 12, "color": style.INK},
            cliponaxis=False,
        )
    words = [
        f"**{label}**: "
        + ", ".join(
            f"{name} {number_text(b)} at {number_text(a)}" for name, (a, b) in named.items()
        )
        + "."
        for label, named in groups.items()
    ]
    return Figure(plot, f"{y} by {x}. " + " ".join(words), style.BADGES[badge] if badge else "")
