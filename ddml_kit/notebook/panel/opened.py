"""A saved run in a dashboard: judged as the dashboard's own are, if its model fits."""

from __future__ import annotations

import io
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

from ddml_kit.cluster.run import Run, human_bytes
from ddml_kit.notebook.panel.follow import Show, evaluated
from ddml_kit.notebook.panel.plan import Plan
from ddml_kit.notebook.panel.runs import Ended, Judged

LARGEST = 9_000_000  # bytes of a file that a page can send: Jupyter takes messages of 10 MiB


def read(
    plan: Plan,
    file: str | os.PathLike | BinaryIO,
    name: str,
    page: Mapping[str, Any],
    given: Mapping[str, Any],
    show: Show,
) -> Judged:
    """The run in a file, evaluated. name: of the file. page, given: settings of the knobs, as they
    stand and as they were asked for. One of the dashboard's own brings its settings, and has the
    dashboard's answers; of others only what can be said of any run is said.

    Raises ValueError with a sentence for a file that is no run, and for one that does not fit.
    """
    run = Run.load(file)
    own = own_settings(plan, run)
    settings = plan.settle({**(page if own is None else own), **given})
    answers: Mapping[str, str] = {}
    called = ""
    try:
        curve = evaluated(run, plan.evaluate(settings), show, plan.everybody)
        if not ended(run):
            answers = plan.general(run, curve) if own is None else plan.read(run, curve, settings)
        if own is None:
            called = title(name, run)
    except Exception as error:  # whatever a model of another kind leads to
        raise misfit(name, run, error) from error
    return Judged(run, curve, settings, answers, ended(run), called)


class Sent(io.BytesIO):
    """A file that a page has sent. name: what it is called there."""

    def __init__(self, name: str, content: bytes) -> None:
        super().__init__(content)
        self.name = name


def too_large(name: str, size: int) -> str:
    """That a page can't send such a file, and what to do."""
    return (
        f"{name} has {human_bytes(size)}, and a page sends {human_bytes(LARGEST)} at most: put it "
        f'beside the notebook and call open("{name}") of this dashboard in a cell'
    )


def misfit(name: str, run: Run, error: Exception) -> ValueError:
    """That a run can't be shown here, and why."""
    sizes = {snapshot.w.size for snapshot in run.snapshots}
    model = f", whose model has {sizes.pop():,} numbers," if len(sizes) == 1 else ""
    why = " ".join(f"{type(error).__name__}: {error}".split())
    return ValueError(f"{name}{model} does not fit this dashboard: {why}")


def ended(run: Run) -> Ended:
    """How a saved run was cut short."""
    if run.stopped:
        return "stopped"
    left = [rank for rank in range(run.size) if rank not in run.failures]
    cut = run.failures and all(run.results[rank] is None for rank in left)
    return "failed" if cut else ""


def own_settings(plan: Plan, run: Run) -> dict[str, Any] | None:
    """The settings of all knobs, if the run was made by such a dashboard."""
    told = run.about.get("knobs")
    if not isinstance(told, Mapping) or set(told) != {knob.name for knob in plan.knobs}:
        return None
    try:
        return plan.settle(told)
    except ValueError:
        return None


def title(name: str, run: Run) -> str:
    """What a run is called: run: data_parallel, reducer ring, lr 0.2."""
    about, stem = run.about, Path(name).stem
    if "program" not in about:
        return stem
    given = [f"{setting} {text}" for setting, text in about["given"].items()]
    return f"{stem}: {', '.join([about['program'], *given])}"
