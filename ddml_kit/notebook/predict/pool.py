"""The predictions of a class in one figure."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from statistics import median
from typing import Any

import numpy as np
import plotly.graph_objects as go

from ddml_kit.notebook.figures import Figure, style
from ddml_kit.notebook.predict import store
from ddml_kit.notebook.predict.store import Row
from ddml_kit.notebook.units import number_text

MOST_BARS = 40  # whole numbers further apart than this share bars


def pool(
    paths: Iterable[str | os.PathLike],
    question: str,
    *,
    measured: float | str | Sequence[float] | None = None,
    x_title: str = "at",
) -> Figure:
    """A figure of what a class predicted, from the learners' CSVs, and of what was measured.

    A number: a histogram, measured dashed. A choice: a bar an option, the measured one named.
    A curve: a box at each point, x_title below, and what was measured there as a line.
    If a learner answers twice, the last answer counts. Raises ValueError if nobody answered the
    question, for answers of different kinds, and for `measured` that does not fit them.
    """
    answers = {(row.learner, row.x): row for row in store.pooled(paths, question)}
    rows = list(answers.values())
    if not rows:
        raise ValueError(f"none of the files answers the question {question!r}")
    learners = len({row.learner for row in rows})
    heard = "1 learner" if learners == 1 else f"{learners} learners"
    if any(row.x for row in rows):
        return _curves(rows, question, heard, measured, x_title)
    plot = _empty("predicted", f"learners, of {learners}")
    plot.update_yaxes(dtick=-(-learners // 6))  # there is no half learner
    numbers = [_number(row.value) for row in rows]
    if None in numbers:
        return _options(rows, plot, f"{question}, said by {heard}", measured)
    return _numbers([n for n in numbers if n is not None], plot, f"{question}: {heard}", measured)


def _numbers(values: list[float], plot: go.Figure, start: str, measured: Any) -> Figure:
    low, high = min(values), max(values)
    bars: dict[str, Any] = {"marker": {"color": style.GREY}}
    if all(v == int(v) for v in values) and high - low < MOST_BARS:  # a bar for each whole number
        bars["xbins"] = {"start": low - 0.5, "end": high + 0.5, "size": 1}
    plot.add_histogram(x=values, **bars)
    words = f"{start} said {number_text(low)} to {number_text(high)}, "
    words += f"half of them at most {number_text(median(values))}"
    if measured is not None:
        was = _number(measured)
        if was is None:
            raise ValueError(f"measured must be a number as the answers are, got {measured!r}")
        line = {"color": style.BLUE, "dash": "dash", "width": 2.5}
        side = "top left" if was > (low + high) / 2 else "top right"  # where there is room
        plot.add_vline(x=was, line=line, annotation_text="measured", annotation_position=side)
        margin = (
            max(0.05 * (max(high, was) - min(low, was)), 0.5 if "xbins" in bars else 0.0) or 0.5
        )
        plot.update_xaxes(range=[min(low, was) - margin, max(high, was) + margin])
        words += f"; it was {number_text(was)}"
    return Figure(plot, f"{words}.")


def _options(rows: Sequence[Row], plot: go.Figure, start: str, measured: Any) -> Figure:
    counted = Counter(row.value for row in rows)
    words = f"{start}: {', '.join(f'{option}: {n}' for option, n in counted.most_common())}"
    if measured is not None:
        if not isinstance(measured, str):
            raise ValueError(f"measured must be an option, a text, got {measured!r}")
        counted.setdefault(measured, 0)  # the right one, though nobody may have chosen it
        words += f"; it was {measured}"
    plot.add_bar(
        x=list(counted),
        y=list(counted.values()),
        text=["measured" if option == measured else "" for option in counted],
        textposition="outside",
        cliponaxis=False,
        marker={"color": [style.BLUE if o == measured else style.GREY for o in counted]},
    )
    return Figure(plot, f"{words}.")


def _curves(rows: Sequence[Row], question: str, heard: str, measured: Any, x_title: str) -> Figure:
    points: dict[float, list[float]] = {}
    for row in rows:
        x, y = _number(row.x), _number(row.value)
        if x is None or y is None:
            raise ValueError(
                f"some answers to {question!r} are curves, so all must be numbers at an x, "
                f"got {row.value!r} at {row.x or 'none'}"
            )
        points.setdefault(x, []).append(y)
    places = sorted(points)
    names = [number_text(x) for x in places]  # side by side, whatever their distances are
    plot = _empty(x_title, "predicted")
    plot.update_xaxes(type="category", categoryorder="array", categoryarray=names)
    plot.add_box(
        x=[name for name, x in zip(names, places, strict=True) for _ in points[x]],
        y=[y for x in places for y in points[x]],
        name="predicted",
        boxpoints="all",
        pointpos=0,
        line={"color": style.MUTED},
        fillcolor=style.GREY,
    )
    medians = [median(points[x]) for x in places]
    words = f"{question}: the curves of {heard}. Median: {_listed(medians, names, x_title)}."
    if measured is not None:
        level = [_number(y) for y in measured] if np.iterable(measured) else []
        if None in level or len(level) != len(places):
            raise ValueError(
                f"measured must be {len(places)} numbers, one at each x of the curves, "
                f"got {measured!r}"
            )
        line = {"color": style.BLUE, "width": 3}
        was = [y for y in level if y is not None]
        plot.add_scatter(x=names, y=was, name="measured", mode="lines+markers", line=line)
        words += f" It was {_listed(was, names, x_title)}."
    return Figure(plot, words)


def _listed(values: Iterable[float], names: Sequence[str], x_title: str) -> str:
    """Values at points: 2 (workers 1), 3.5 (workers 2)."""
    return ", ".join(
        f"{number_text(v)} ({x_title} {x})" for v, x in zip(values, names, strict=True)
    )


def _empty(x_title: str, y_title: str) -> go.Figure:
    return go.Figure(
        layout={
            "template": style.TEMPLATE,
            "height": 300,
            "legend": {"orientation": "h", "x": 0, "y": 1, "yanchor": "bottom"},
            "xaxis": {"title": {"text": x_title}},
            "yaxis": {"title": {"text": y_title}},
        }
    )


def _number(text: Any) -> float | None:
    """The number that a text is, or None."""
    try:
        return float(text)
    except (TypeError, ValueError):
        return None
