"""The runs that a dashboard keeps: their labels, and all of them as one table."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np

from ddml_kit.cluster.run import Curve, Run

Ended = Literal["", "stopped", "failed"]  # how a run was cut short


class Judged(NamedTuple):
    """A run, and what `Kept` has of it."""

    run: Run
    curve: Curve
    settings: Mapping[str, Any]
    answers: Mapping[str, str]
    ended: Ended
    name: str = ""


@dataclass(frozen=True, eq=False)
class Kept:
    """A run with its settings, its curve, and the answers that were read off it.

    The run is without its snapshots, which can be a hundred megabytes; the curve is what they said.
    answers are empty if it was cut short, since they are read off whole runs.
    number: counts the runs of a dashboard from 0; it decides the colour. ended: how.
    timeline: the figure of what the workers did, as JSON.
    models: for the picture of a dashboard that has one, the snapshots of rank 0 if they are small,
    else the last of them alone; (dim,) each.
    name: what a run from elsewhere that was opened is called. Its settings are those by which it
    was judged; the dashboard's own go by theirs, and have no name.
    """

    run: Run
    curve: Curve
    settings: Mapping[str, Any]
    answers: Mapping[str, str]
    number: int
    ended: Ended
    timeline: str
    models: Sequence[np.ndarray] = ()
    name: str = ""


class Look(NamedTuple):
    """A run as a dashboard's picture shows it. line: its colour and dash in the curves."""

    label: str
    settings: Mapping[str, Any]
    models: Sequence[np.ndarray]
    line: Mapping[str, Any]


def unique(labels: Sequence[str]) -> list[str]:
    """The labels, the later ones of equal ones numbered: SSP, SSP (2)."""
    seen: Counter[str] = Counter()
    told = []
    for label in labels:
        seen[label] += 1
        told.append(label if seen[label] == 1 else f"{label} ({seen[label]})")
    return told


def to_csv(runs: Sequence[Kept], labels: Sequence[str], value: str) -> str:
    """One line a point of a curve: the run's label and settings, step, seconds, value.

    A run from elsewhere has no settings here.
    """
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    names = list(runs[0].settings) if runs else []
    writer.writerow(["run", "label", "cluster", *names, "step", "seconds", value])
    for kept, label in zip(runs, labels, strict=True):
        settings = [""] * len(names) if kept.name else kept.settings.values()
        head = [kept.number + 1, label, kept.run.badge, *settings]
        for step, seconds, height in zip(*(c.tolist() for c in kept.curve), strict=True):
            writer.writerow([*head, step, seconds, height])
    return file.getvalue()
