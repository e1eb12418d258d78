"""The predictions of a class in one figure."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable
from statistics import median

import plotly.graph_objects as go

from ddml_kit.notebook.figures import Figure, style
from ddml_kit.notebook.predict import store


def pool(
    paths: Iterable[str | os.PathLike], question: str, *, measured: float | None = None
) -> Figure:
    """A histogram of what a class predicted, from the learners' CSVs; what was measured dashed.

    A number: a histogram. A choice: a bar an option. A curve: a box at each point.
    Raises ValueError if nobody answered the question.
    """
    rows = store.pooled(paths, question)
    if not rows:
        raise ValueError(f"none of the files answers the question {question!r}")
    learners = len({row.learner for row in rows})
    heard = "1 learner" if learners == 1 else f"{learners} learners"
    axis = {"title": {"text": f"learners, of {learners}"}}
    plot = go.Figure(layout={"template": style.TEMPLATE, "height": 300, "yaxis": axis})
    if any(row.x for row in rows):
        plot.add_box(x=[float(r.x) for r in rows], y=[float(r.value) for r in rows])
        plot.update_yaxes(title_text="predicted")
        return Figure(plot, f"{question}: the curves of {heard}.")
    try:
        values = [float(row.value) for row in rows]
    except ValueError:
        counted = Counter(row.value for row in rows)
        plot.add_bar(x=list(counted), y=list(counted.values()))
        words = ", ".join(f"{option}: {n}" for option, n in counted.most_common())
        return Figure(plot, f"{question}, said by {heard}: {words}.")
    plot.add_histogram(x=values)
    plot.update_xaxes(title_text="predicted")
    words = f"{question}: {heard} said {min(values):.3g} to {max(values):.3g}, "
    words += f"half of them at most {median(values):.3g}"
    if measured is not None:
        plot.add_vline(x=float(measured), line_dash="dash", annotation_text="measured")
        words += f"; it was {float(measured):.3g}"
    return Figure(plot, f"{words}.")
