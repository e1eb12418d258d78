"""Predictions kept in a local file, as a table of a learner, and pooled over a class."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

FILE = Path("predictions.json")  # beside the notebook; not part of the repository
COLUMNS = ("learner", "question", "x", "value")


class Row(NamedTuple):
    """One value that a learner predicted: at `x` of a curve, or with an empty x."""

    learner: str
    question: str
    x: str
    value: str


def read(path: Path = FILE) -> dict[str, Any]:
    """The predictions by question; {} if there are none.

    Raises ValueError for a file of something else, OSError for one that can't be read.
    """
    try:
        said = json.loads(path.read_text(encoding="utf8"))
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise ValueError(_other(path, str(error))) from error
    if not isinstance(said, dict):
        raise ValueError(_other(path, f"a {type(said).__name__}, not a table"))
    return said


def _other(path: Path, found: str) -> str:
    return f"{path} does not hold predictions: {found}; delete it to begin anew"


def write(question: str, value: Any, path: Path = FILE) -> None:
    """Keep the value of one question, whole or not at all."""
    said = read(path) | {question: value}
    draft = path.with_suffix(".tmp")
    draft.write_text(json.dumps(said, indent=1, sort_keys=True), encoding="utf8")
    os.replace(draft, path)


def to_csv(target: str | os.PathLike, *, learner: str, path: Path = FILE) -> int:
    """Write a learner's predictions as a CSV with the columns of COLUMNS; how many rows.

    Raises ValueError if there are none.
    """
    rows = list(_rows(learner, read(path)))
    if not rows:
        raise ValueError(f"there are no predictions in {path.resolve()}: is this the labs' folder?")
    with open(target, "w", newline="", encoding="utf8") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        writer.writerows(rows)
    return len(rows)


def pooled(paths: Iterable[str | os.PathLike], question: str) -> list[Row]:
    """All learners' rows for one question, from their CSVs.

    Raises ValueError naming a file that has other columns.
    """
    rows = []
    for path in paths:
        with open(path, newline="", encoding="utf8") as file:
            reader = csv.reader(file)
            head = tuple(next(reader, ()))
            if head != COLUMNS:
                raise ValueError(
                    f"{os.fspath(path)} needs the columns {', '.join(COLUMNS)}; "
                    f"got {', '.join(head) or 'none'}"
                )
            rows += [Row(*line) for line in reader if len(line) == len(COLUMNS)]
    return [row for row in rows if row.question == question]


def _rows(learner: str, said: Mapping[str, Any]) -> Iterable[Row]:
    for question, value in said.items():
        if isinstance(value, dict):
            yield from (
                Row(learner, question, str(x), str(y))
                for x, y in zip(value["x"], value["y"], strict=True)
            )
        else:
            yield Row(learner, question, "", str(value))
