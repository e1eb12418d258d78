"""The look of all figures: one template, and colours that mean the same thing in every lab.

Colours: Okabe and Ito, "Color Universal Design", 2008; told apart by colour-blind readers.
"""

from __future__ import annotations

import plotly.graph_objects as go

from ddml_kit.cluster.run import Badge, Run

BLACK, ORANGE, SKY, GREEN = "#000000", "#E69F00", "#56B4E9", "#009E73"
YELLOW, BLUE, VERMILLION, PURPLE = "#F0E442", "#0072B2", "#D55E00", "#CC79A7"
GREY = "#D5D9DE"
INK, MUTED, GRID = "#1F2933", "#52606D", "#E9ECF0"

ACTIVITY_COLOURS = {"compute": BLUE, "communicate": ORANGE, "wait": GREY, "lock": PURPLE}
HONEST, BYZANTINE = GREEN, VERMILLION

# One for each run that is kept; then the same again, dashed. Black is left for predictions.
SERIES = (BLUE, VERMILLION, GREEN, PURPLE, ORANGE, SKY)
DASHES = ("solid", "dash", "dot", "dashdot")

FONT = "system-ui, -apple-system, 'Segoe UI', 'Helvetica Neue', Arial, sans-serif"
BADGES: dict[Badge, str] = {
    "simulated": "simulated",
    "paced": "paced",
    "measured": "measured on this machine",
}
CHIP = (
    "display: inline-block; padding: 1px 10px; margin-right: 8px; border-radius: 999px; "
    "background: #E6F1F8; color: #00466E"
)
CAPTION = f"font: 14px {FONT.replace(chr(39), '')}; color: {INK}"
CONFIG = {
    "responsive": True,
    "displaylogo": False,
    "modeBarButtons": [["toImage", "resetScale2d"]],
}

_AXIS = {
    "showline": True,
    "linecolor": MUTED,
    "linewidth": 1,
    "ticks": "outside",
    "ticklen": 4,
    "tickcolor": MUTED,
    "gridcolor": GRID,
    "zeroline": False,
    "title": {"font": {"size": 15}, "standoff": 8},
    "tickfont": {"size": 13},
}
TEMPLATE = go.layout.Template(
    layout={
        "font": {"family": FONT, "size": 14, "color": INK},
        "paper_bgcolor": "white",
        "plot_bgcolor": "white",
        "colorway": list(SERIES),
        "xaxis": {**_AXIS, "automargin": "height"},
        "yaxis": {**_AXIS, "automargin": "width"},
        "margin": {"l": 64, "r": 20, "t": 12, "b": 48},
        "hovermode": "closest",
        "hoverlabel": {"font": {"size": 13}},
        "bargap": 0.2,
        "legend": {"font": {"size": 13}, "itemsizing": "constant"},
    }
)


def line(k: int) -> dict[str, object]:
    """Colour and dash of the k-th series."""
    return {
        "color": SERIES[k % len(SERIES)],
        "dash": DASHES[k // len(SERIES) % len(DASHES)],
    }


def badge_text(run: Run) -> str:
    """Where a run ran: simulated · 8 workers · seed 0."""
    workers = "1 worker" if run.size == 1 else f"{run.size:,} workers"
    return f"{BADGES[run.badge]} · {workers} · seed {run.seed}"
