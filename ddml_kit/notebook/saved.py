"""A saved run by itself, without the dashboard of a lab."""

from __future__ import annotations

import html
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from IPython.display import display

from ddml_kit.cluster.run import Run
from ddml_kit.command.options import sentence
from ddml_kit.command.report import account, table
from ddml_kit.command.tasks import figures_of
from ddml_kit.notebook.figures import Figure, curves, style, timeline

LEFT = "text-align: left"  # JupyterLab has tables to the right


@dataclass(frozen=True)
class Shown:
    """A run as a notebook shows it: a table, the curve of its model if it has one, a timeline."""

    run: Run
    rows: Mapping[str, str]
    curve: Figure | None
    timeline: Figure

    def _ipython_display_(self) -> None:
        lines = "".join(
            f'<tr><th style="{LEFT}">{html.escape(name)}</th>'
            f'<td style="{LEFT}">{html.escape(text)}</td></tr>'
            for name, text in self.rows.items()
        )
        words = {"text/html": f'<table style="{style.CAPTION}">{lines}</table>'}
        display({**words, "text/plain": table(self.rows)}, raw=True)
        for figure in (self.curve, self.timeline):
            if figure is not None:
                figure._ipython_display_()

    def __repr__(self) -> str:
        parts = [table(self.rows), repr(self.curve) if self.curve else "", repr(self.timeline)]
        return "\n\n".join(filter(None, parts))


def show_run(
    file: str | os.PathLike,
    *,
    judge: Callable[[np.ndarray], float] | None = None,
    value: str = "loss",
) -> Shown:
    """A saved run: where it ran and what came of it, its model over time, what each worker did.

    A run of `ddml-kit run` knows what it has learned, and its model is judged by what was held out.
    judge: a figure of the model to draw instead, called `value`; needed for a curve of any other.
    Raises ValueError for a file that is no run, for one whose problem can't be made again, and for
    a judge that can't judge its model; OSError if the file can't be read.
    """
    run = Run.load(file)
    name = Path(file).name
    try:
        figures = figures_of(run.about) if judge is None else {value: judge}
        rows = account(run, figures)
        drawn = None
        for value, figure in list(figures.items())[:1]:
            drawn = curves({Path(file).stem: run.curve(figure)}, value=value, badge=run.badge)
        return Shown(run, rows, drawn, timeline(run))
    except Exception as error:  # whatever files that are missing or models that differ lead to
        raise ValueError(f"{name} can't be shown: {sentence(error)}") from error
