"""A dashboard for one experiment: knobs, a run button, live curves, and the runs kept."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from IPython import get_ipython

from ddml_kit.cluster.run import Running
from ddml_kit.notebook.figures import Figure
from ddml_kit.notebook.figures.curves import Over
from ddml_kit.notebook.knobs import Knob
from ddml_kit.notebook.panel import Panel, Plan
from ddml_kit.notebook.panel.runs import Look
from ddml_kit.notebook.predict import Question

# The dashboards of each cell, with the execution that made them: a cell that is run again ends its
# former ones. Nothing else outlives the cell's own variables to know of them.
_of_cell: dict[str, list[tuple[int, weakref.ref[Panel]]]] = {}


def dashboard(
    launch: Callable[..., Running],
    knobs: Sequence[Knob],
    *,
    curve: Callable[..., float],
    value: str = "loss",
    target: float | None = None,
    log: bool = True,
    answers: Callable[..., Mapping[str, str]] | None = None,
    steps: Callable[..., int] | None = None,
    presets: Mapping[str, Mapping[str, Any]] | None = None,
    label: Callable[..., str] | None = None,
    predicted: Question | Sequence[Question] = (),
    about: Mapping[str, Any] | None = None,
    picture: Callable[[Sequence[Look], Look], Figure] | None = None,
    pictured: str = "What the workers did",
    over: Over = "seconds",
    everybody: bool = False,
) -> Panel:
    """A panel with knobs, run and stop, the answers in large figures, curves and a timeline.

    Every function gets the settings that it names as parameters, after its own arguments.

    launch(...) -> Running: starts one run (`cluster.start(program, ...)`); takes every knob.
    knobs: in the order in which one thinks; a group is a heading.
    curve(w, ...) -> float: the figure of the model that is drawn, for snapshots of rank 0.
    value: what it is called, "test loss". target: a level to reach. log: the scale of its axis.
    answers(run, curve, ...) -> {name: text}: the large figures; the first stands in the legend.
    steps(...): how many snapshots a run offers, for the progress bar.
    presets: name -> settings that lead to a surprise; the other knobs go to their first values.
    label(...): a run in the legend; without it the knobs in which the runs kept differ.
    predicted: a question, or a number's and a curve's. What was said stands after the first answer;
    a curve is dotted over the axis that it was asked for. Both are read at the next run.
    about: the settings that the number was asked about, as of a preset; only beside runs with these
    is it shown. None for all.
    picture(looks, shown) -> Figure: what stands below the curves in place of what the workers did,
    under the heading `pictured`: the runs kept, and the one that is looked at, which while a run is
    under way has its newest model alone.
    over: the axis at first, "seconds" or "steps".
    everybody: curve and picture get the models of all ranks at rank 0's snapshots, (size, dim), in
    place of rank 0's alone: for where there is no model that all of them have.
    """
    asked = (predicted,) if isinstance(predicted, Question) else predicted
    panel = Panel(
        Plan(
            *(launch, knobs, curve, value, target, log, answers, steps, presets or {}, label),
            *(asked, about, picture, pictured, over, everybody),
        )
    )
    _end_former(panel)
    return panel


def _end_former(panel: Panel) -> None:
    """Close the dashboards that an earlier execution of this cell made; note this one."""
    shell = get_ipython()
    if shell is None or not hasattr(shell, "get_parent"):
        return
    cell = shell.get_parent().get("metadata", {}).get("cellId")
    if cell is None:
        return
    kept = []
    for execution, reference in _of_cell.get(cell, []):
        former = reference()
        if former is not None and execution == shell.execution_count:
            kept.append((execution, reference))
        elif former is not None:
            former.close()
    _of_cell[cell] = [*kept, (shell.execution_count, weakref.ref(panel))]
