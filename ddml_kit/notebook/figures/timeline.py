"""Who did what when: a row a worker, a colour an activity."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go

from ddml_kit.cluster.run import Run
from ddml_kit.notebook.figures import activity, style
from ddml_kit.notebook.figures.activity import ACTIVITIES, Intervals
from ddml_kit.notebook.figures.figure import Figure
from ddml_kit.notebook.units import Unit, count_text, seconds_text, unit_for

ROWS = 64  # workers that are shown


def timeline(run: Run, *, ranks: Sequence[int] | None = None, first: float | None = None) -> Figure:
    """What each worker did when: compute, communicate, wait, wait for a lock.

    ranks: which workers; without it all, or evenly spaced ones of more than 64.
    first: how many seconds from the first event on; without it as many as can be told apart.
    """
    if ranks is None:
        ranks = range(0, run.size, -(-run.size // ROWS))
    elif not len(ranks) or not all(0 <= r < run.size for r in ranks):
        raise ValueError(f"ranks must be some from 0 to {run.size - 1}, got {list(ranks)}")
    if first is not None and not first > 0:
        raise ValueError(f"first must be a time above 0 seconds, got {first}")
    begin, end = activity.window(run, first)
    done = activity.intervals(run, end)
    unit = unit_for(end)
    what = f"{unit.name} ({style.BADGES[run.badge]})"
    if end < run.seconds:
        what += f", the first {seconds_text(end - begin)} of {seconds_text(run.seconds)}"
    rows = len(ranks)
    plot = go.Figure(
        _bars(activity.part(done, begin, end, ranks), ranks, unit),
        layout={
            "template": style.TEMPLATE,
            "height": round(rows * max(5.0, min(24.0, 260 / rows))) + 100,
            "barmode": "overlay",
            "margin": {"t": 36},
            "xaxis": {"title": {"text": what}, "range": _range(begin, end, unit)},
            "yaxis": {
                "title": {"text": "worker"},
                "range": [rows - 0.5, -0.5],
                "showgrid": False,
                **_ticks(ranks),
            },
            "showlegend": True,
            "legend": {
                "orientation": "h",
                "x": 0,
                "y": 1,
                "yanchor": "bottom",
                "itemclick": False,
                "itemdoubleclick": False,
            },
        },
    )
    shares = activity.shares(done, begin, end, run.size)
    when = f" in the first {seconds_text(end - begin)}" if end < run.seconds else ""
    words = _words(run, shares, when, len(ranks))
    if (done.strand > 0).any():
        talking = activity.beside(done, begin, end, run.size).mean()
        words += f" Beside that, what they had started communicated {talking:.0%} of the time."
    return Figure(plot, words, style.badge_text(run))


def _bars(part: Intervals, ranks: Sequence[int], unit: Unit) -> list[go.Bar]:
    """A trace for each activity that was seen; what ran beside the program as a thin line above."""
    row = np.zeros(max(ranks) + 1, np.int64)
    row[list(ranks)] = np.arange(len(ranks))
    thick = 0.8 if len(ranks) <= 32 else 1.0
    traces: list[go.Bar] = []
    for beside in (False, True):  # the lines last, so that they lie on top
        for index, name in enumerate(ACTIVITIES):
            chosen = part.where((part.activity == index) & ((part.strand > 0) == beside))
            if not len(chosen.rank):
                continue
            label = "wait for lock" if name == "lock" else name
            traces.append(
                go.Bar(
                    name=label,
                    showlegend=False if label in {trace.name for trace in traces} else None,
                    orientation="h",
                    y=row[chosen.rank].astype(np.int16),
                    base=(chosen.start * unit.scale).astype(np.float32),
                    x=((chosen.stop - chosen.start) * unit.scale).astype(np.float32),
                    width=0.2 if beside else thick,
                    offset=-0.5 if beside else -thick / 2,
                    marker={"color": style.ACTIVITY_COLOURS[name], "line": {"width": 0}},
                    hovertemplate=f"{name} %{{base:.4g}} to %{{x:.4g}} {unit.sign}<extra></extra>",
                )
            )
    return traces


def _ticks(ranks: Sequence[int]) -> dict[str, Any]:
    """Each worker's number while there is room, else those of about eight."""
    step = 1 if len(ranks) <= 12 else -(-len(ranks) // 8)
    rows = range(0, len(ranks), step)
    return {"tickvals": list(rows), "ticktext": [str(ranks[row]) for row in rows]}


def _range(begin: float, end: float, unit: Unit) -> list[float]:
    return [begin * unit.scale, end * unit.scale] if end > begin else [0, 1]


def _words(run: Run, shares: np.ndarray, when: str, rows: int) -> str:
    """What the workers spent the shown time on, (size, activities), and who differs most."""
    mean = shares.mean(axis=0)
    parts = [f"{ACTIVITIES[k]} {mean[k]:.0%}" for k in range(len(ACTIVITIES)) if mean[k] > 0]
    if parts and (done := 1 - mean.sum()) >= 0.01:
        parts.append(f"done {done:.0%}")
    workers = "1 worker" if run.size == 1 else f"{count_text(run.size)} workers"
    words = f"What {workers} did{when}, on average: {', '.join(parts) or 'nothing recorded'}."
    if run.size > 1:
        busy = shares[:, activity.WORK]
        most, least = int(busy.argmax()), int(busy.argmin())
        if busy[most] - busy[least] >= 0.1:
            words += (
                f" Worker {most} computed most of the time ({busy[most]:.0%}), "
                f"worker {least} least ({busy[least]:.0%})."
            )
    if rows < run.size:
        words += f" {count_text(rows)} of the workers are drawn."
    return words
