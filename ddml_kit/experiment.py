"""Sweeps: one run for each setting of a grid, and what came of them in one tidy table.

    def run(staleness, workers):
        cluster = Simulated(workers + 1, slowdowns=[Exponential()])
        done = cluster.run(parameter_server, problem, sgd(0.5), waiting=SSP(staleness), ...)
        return {"seconds": done.seconds, "loss": problem.loss(done.results[0].w)}

    table = sweep(run, {"staleness": [0, 1, 2, 4], "workers": [4, 16]}, path="ssp.jsonl")
    few = table.where(workers=4)
    few["staleness"], few["seconds"]  # two arrays, (4,)

Tidy as in H. Wickham, "Tidy Data", Journal of Statistical Software 59(10), 2014: a row a run, a
column for each setting and for each figure.
"""

from __future__ import annotations

import csv
import html
import json
import math
import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import product
from typing import Any

import numpy as np

from ddml_kit.cluster.errors import reason

Row = dict[str, Any]
Progress = Callable[[int, int, Mapping[str, Any]], object]

ERROR = "error"  # the column of what went wrong
BEGINNING = b'{"settings": '  # of a line in a sweep's file
SHOWN = 40  # rows of a table that are shown at most


class Table:
    """Rows as dicts of numbers and text; `pandas.DataFrame(table.rows)` takes them as they are."""

    def __init__(self, rows: Iterable[Mapping[str, Any]]) -> None:
        self.rows = [{name: _scalar(value) for name, value in row.items()} for row in rows]

    @property
    def columns(self) -> list[str]:
        """The names of all columns, in order of appearance."""
        return list(dict.fromkeys(name for row in self.rows for name in row))

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, name: str) -> np.ndarray:
        """A column, (rows,): numbers with NaN where a row has none, or text with ""; of objects
        where it mixes them. KeyError if there is none of that name.
        """
        self._check([name])
        values = [row.get(name) for row in self.rows]
        kinds = {type(value) for value in values} - {type(None)}
        if kinds <= {int, float}:
            return np.array([math.nan if value is None else value for value in values])
        if kinds == {str}:
            return np.array(["" if value is None else value for value in values])
        return np.array(values, bool if kinds == {bool} and None not in values else object)

    def where(self, **values: Any) -> Table:
        """The rows that have these values. KeyError for a column that there is not."""
        self._check(values)
        return Table(
            row for row in self.rows if all(row.get(name) == values[name] for name in values)
        )

    def to_csv(self, path: str | os.PathLike) -> None:
        """Write the table with a line of names; numbers in full, nothing where a row has none."""
        with open(path, "w", encoding="utf8", newline="") as file:
            writer = csv.DictWriter(file, self.columns, lineterminator="\n")
            writer.writeheader()
            writer.writerows(self.rows)

    def __repr__(self) -> str:
        columns = self._cells()
        if not columns:
            return "an empty table"
        widths = [max(map(len, column)) for column in columns]
        sides = [str.ljust if self._is_text(name) else str.rjust for name in self.columns]
        return "\n".join(
            "  ".join(side(cell, k) for side, cell, k in zip(sides, line, widths, strict=True))
            for line in zip(*columns, strict=True)
        )

    def _repr_html_(self) -> str:
        head, *lines = list(zip(*self._cells(), strict=True)) or [()]
        rows = [("th", head), *(("td", line) for line in lines)]
        cells = ("".join(f"<{tag}>{html.escape(c)}</{tag}>" for c in line) for tag, line in rows)
        return f"<table>{''.join(f'<tr>{line}</tr>' for line in cells)}</table>"

    def _cells(self) -> list[list[str]]:
        """What is shown, column by column: the name and the values, without the middle of many."""
        rows: Sequence[Row | None] = self.rows
        if len(rows) > SHOWN:
            rows = [*rows[: SHOWN // 2], None, *rows[-SHOWN // 2 :]]
        return [
            [name, *("…" if row is None else _shown(row.get(name)) for row in rows)]
            for name in self.columns
        ]

    def _is_text(self, name: str) -> bool:
        return any(isinstance(row.get(name), str) for row in self.rows)

    def _check(self, names: Iterable[str]) -> None:
        for name in names:
            if name not in self.columns:
                raise KeyError(f"there is no column {name!r}, only {', '.join(self.columns)}")


def line(done: int, total: int, settings: Mapping[str, Any]) -> None:
    """One line on a terminal that tells how far a sweep is; nothing where there is no terminal."""
    if not sys.stderr.isatty():
        return
    now = ", ".join(f"{name}={_shown(value)}" for name, value in settings.items())
    text = f"{done} of {total} runs done; now {now}" if done < total else ""
    sys.stderr.write(f"\r\x1b[K{text}")
    sys.stderr.flush()


def sweep(
    run: Callable[..., Mapping[str, float | str]],
    grid: Mapping[str, Any] | Iterable[Mapping[str, Any]],
    *,
    path: str | os.PathLike | None = None,
    progress: Progress | None = line,
) -> Table:
    """What run(**settings) gave for each setting, as a table with a row for each, in their order.

    grid: {name: values, or one value}, of which every combination is run, the last name changing
    fastest; or a list of settings, each a dict. Settings and figures are numbers, text, None.
    path: a file to which each row is added when it is there, a line of JSON (it is no CSV; that is
    `to_csv`). A later sweep reads it and doesn't run again what it holds, so delete it once `run`
    computes something else. A last line that was cut off is dropped.
    progress: called with (done, total, settings) before each run, and with {} at the end.

    An Exception that a run raises is the `error` of its row, "ValueError: ...", and the others go
    on; a later sweep tries it again. An interrupt ends the sweep.
    Raises TypeError for a setting or a figure that is neither number nor text, ValueError for an
    empty grid, a figure named like a setting, and a file that is something else.
    """
    wanted = combinations(grid)
    known = {} if path is None else _load(path)
    rows = []
    for done, (key, settings) in enumerate(wanted.items()):
        if key not in known:
            if progress is not None:
                progress(done, len(wanted), settings)
            known[key] = _attempt(run, settings)
            if path is not None:
                _append(path, settings, known[key])
        rows.append(settings | known[key])
    if progress is not None:
        progress(len(wanted), len(wanted), {})
    return Table(rows)


def combinations(grid: Mapping[str, Any] | Iterable[Mapping[str, Any]]) -> dict[str, Row]:
    """The settings of a grid by `_key`, in order; one that comes twice counts once."""
    if isinstance(grid, Mapping):
        axes = [_values(name, values) for name, values in grid.items()]
        chosen: Iterable[Any] = (dict(zip(grid, point, strict=True)) for point in product(*axes))
    else:
        chosen = grid
    settings = [_plain(setting, "setting") for setting in chosen]
    if not any(settings):
        raise ValueError("a sweep needs a setting at least, got none")
    found: dict[str, Row] = {}
    for setting in settings:
        found.setdefault(_key(setting), setting)
    return found


def _values(name: str, values: Any) -> list[Any]:
    """One axis of a grid; a single value is one of length 1."""
    if isinstance(values, str) or not isinstance(values, Iterable):
        return [values]
    axis = list(values)
    if not axis:
        raise ValueError(f"a sweep needs a value at least for each name, got none for {name!r}")
    return axis


def _scalar(value: Any) -> Any:
    """A scalar of NumPy or torch as Python's own, so that it can be compared and written."""
    return value.item() if getattr(value, "ndim", None) == 0 else value


def _plain(values: Mapping[str, Any], what: str) -> Row:
    """The same as numbers and text of Python's own. Raises TypeError where that can't be."""
    row = {name: _scalar(value) for name, value in values.items()}
    for name, value in row.items():
        if not (value is None or isinstance(value, bool | int | float | str)):
            raise TypeError(
                f"a {what} of a sweep must be a number or text, got {name}={value!r:.80}"
            )
    if ERROR in row:
        raise ValueError(f"no {what} of a sweep may be called {ERROR!r}: failed runs have it")
    return row


def _key(settings: Mapping[str, Any]) -> str:
    """The same text for equal settings: 4 and 4.0, in any order of names."""
    alike = {
        name: int(value) if isinstance(value, float) and value.is_integer() else value
        for name, value in settings.items()
    }
    return json.dumps(alike, sort_keys=True)


def _attempt(run: Callable[..., Mapping[str, Any]], settings: Row) -> Row:
    """The figures of one run, or its error as a sentence."""
    try:
        result = run(**settings)
    except Exception as error:
        return {ERROR: " ".join(reason(error).split())}
    if not isinstance(result, Mapping):
        raise TypeError(f"run must return a dict of figures, got {type(result).__name__}")
    figures = _plain(result, "figure")
    if both := figures.keys() & settings.keys():
        raise ValueError(f"a figure is named like a setting: {', '.join(sorted(both))}")
    return figures


def _append(path: str | os.PathLike, settings: Row, figures: Row) -> None:
    """Add one line, whole, to a sweep's file."""
    with open(path, "a", encoding="utf8", newline="") as file:
        file.write(json.dumps({"settings": settings, "figures": figures}) + "\n")


def _load(path: str | os.PathLike) -> dict[str, Row]:
    """The figures in a sweep's file by `_key`, without those that failed; makes it if need be."""
    with open(path, "a+b") as file:
        file.seek(0)
        *lines, cut = file.read().split(b"\n")
        known = {}
        for number, text in enumerate(lines, 1):
            try:
                entry = json.loads(text)
                key, figures = _key(entry["settings"]), dict(entry["figures"])
            except (ValueError, TypeError, KeyError, AttributeError):
                raise ValueError(
                    f"{os.fspath(path)} is not the file of a sweep: line {number} is {text[:40]!r}"
                ) from None
            if ERROR not in figures:
                known[key] = figures
        if cut:
            if cut[: len(BEGINNING)] != BEGINNING[: len(cut)]:
                raise ValueError(f"{os.fspath(path)} is not the file of a sweep: {cut[:40]!r}")
            file.truncate(file.tell() - len(cut))
    return known


def _shown(value: Any) -> str:
    """A value in few characters: four digits of a number that isn't whole."""
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) and math.isfinite(value) else str(value)
