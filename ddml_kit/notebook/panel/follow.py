"""Watches a run: takes its snapshots as they come and evaluates them, beside the workers.

Evaluating takes time from the workers where they run on the same cores, so while the run is under
way only the newest snapshot is evaluated, at most ten times a second and for at most a quarter of
the time. When it has ended, the rest is: the curve is the same however it was watched.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from ddml_kit.cluster.errors import ClusterError
from ddml_kit.cluster.run import Curve, Run, Running, Snapshot
from ddml_kit.notebook.panel.models import RANK, looked_at, stacked

INTERVAL = 0.1  # seconds between two points that are shown
SHARE = 0.25  # of the time that evaluating may take while the run is under way
PATIENCE = 0.5  # seconds of evaluating that a run gets which was stopped

Show = Callable[["Glimpse"], bool]  # shows it, and says whether the rest is wanted


class Glimpse(NamedTuple):
    """How far a run is: the curve up to now, and the share of it that has been evaluated."""

    curve: Curve
    evaluated: float | None = None  # None while the run is under way
    w: np.ndarray | None = None  # the newest model, while the run is under way


class Outcome(NamedTuple):
    """What a run came to. failure: what ended it, with the run up to then if there was one."""

    run: Run | None
    curve: Curve
    failure: ClusterError | None

    def about(self, told: Mapping[str, Any]) -> Outcome:
        """The same, with a run that says what it was."""
        if self.run is None:
            return self
        run = replace(self.run, about=told)
        if self.failure is not None:
            self.failure.run = run
        return self._replace(run=run)


def follow(
    running: Running,
    evaluate: Callable[[np.ndarray], float],
    show: Show,
    everybody: bool = False,
) -> Outcome:
    """Drive a run to its end and evaluate its model; calls `show` now and then.

    everybody: the models of all ranks, as one, (size, dim).

    What `show` says counts when the run has ended: until then, it is for `running` to be stopped.
    """
    values: dict[int, float] = {}
    times: dict[int, float] = {}
    newest: dict[int, np.ndarray] = {}
    following = 0.0
    for point in running:
        now = time.monotonic()
        if everybody and isinstance(point, Snapshot):
            newest[point.rank] = point.w
        if isinstance(point, Snapshot) and point.rank == RANK and now >= following:
            w = stacked(newest) if everybody else point.w
            values[point.step], times[point.step] = evaluate(w), point.seconds
            show(Glimpse(_curve(values, times), w=w))
            took = time.monotonic() - now
            following = now + max(INTERVAL, took / SHARE)
    failure = None
    try:
        run: Run | None = running.result()
    except ClusterError as error:
        run, failure = error.run, error
    if run is not None:
        if everybody:  # what was seen on the way was not yet of one step
            values, times = {}, {}
        patience = PATIENCE if run.stopped else math.inf
        _complete(looked_at(run, everybody), evaluate, show, values, times, patience)
    return Outcome(run, _curve(values, times), failure)


def evaluated(
    run: Run, evaluate: Callable[[np.ndarray], float], show: Show, everybody: bool = False
) -> Curve:
    """The curve of a run that ended long ago; calls `show` now and then."""
    values: dict[int, float] = {}
    times: dict[int, float] = {}
    _complete(looked_at(run, everybody), evaluate, show, values, times, math.inf)
    return _curve(values, times)


def _complete(
    kept: Sequence[Snapshot],
    evaluate: Callable[[np.ndarray], float],
    show: Show,
    values: dict[int, float],
    times: dict[int, float],
    patience: float,
) -> None:
    """Evaluate the snapshots that a run kept, the last one first, then ever finer.

    patience: seconds after which no more are; nor are they once `show` says so.
    """
    wanted = {s.step for s in kept}
    for step in set(values) - wanted:  # seen on the way, but thinned out since
        del values[step], times[step]
    last = len(kept) - 1
    order = sorted(range(len(kept)), key=lambda k: (k != last, k != 0, -(k & -k)))
    began = shown = time.monotonic()
    for done, k in enumerate(order):
        if kept[k].step in values:
            continue
        values[kept[k].step] = evaluate(kept[k].w)
        times[kept[k].step] = kept[k].seconds
        now = time.monotonic()
        if now - began > patience:
            return
        if now - shown >= INTERVAL:
            shown = now
            if not show(Glimpse(_curve(values, times), done / len(kept))):
                return


def _curve(values: dict[int, float], times: dict[int, float]) -> Curve:
    steps = sorted(values)
    return Curve(
        np.array(steps, np.int64),
        np.array([times[step] for step in steps], np.float64),
        np.array([values[step] for step in steps], np.float64),
    )
