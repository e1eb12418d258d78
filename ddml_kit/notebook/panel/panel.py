"""The dashboard itself: one run at a time, in a thread of its own, and those that are kept."""

from __future__ import annotations

import dataclasses
import json
import os
import threading
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from ddml_kit.cluster.errors import RankFailed
from ddml_kit.cluster.run import Run, Running
from ddml_kit.notebook.figures import Figure, curves, style, timeline
from ddml_kit.notebook.knobs import Choice, Knob, Slider
from ddml_kit.notebook.panel.follow import Glimpse, Outcome, follow
from ddml_kit.notebook.panel.front import Front
from ddml_kit.notebook.panel.plan import Plan
from ddml_kit.notebook.panel.runs import Kept, to_csv, unique
from ddml_kit.notebook.units import seconds_text, unit_for


class Attempt:
    """A run that was asked for: from its start, which can take a while, to its end."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self.settings = settings
        self._running: Running | None = None
        self._stopped = False
        self._lock = threading.Lock()

    def began(self, running: Running) -> None:
        """The run is under way; if it has been stopped meanwhile, it is told so."""
        with self._lock:
            self._running = running
            if self._stopped:
                running.stop()

    def stop(self) -> None:
        with self._lock:
            self._stopped = True
            if self._running is not None:
                self._running.stop()


class Panel:
    """A dashboard. Show it as the last line of a cell; `run` is the same as pressing Run."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._lock = threading.RLock()  # one thread at a time changes what is shown
        self._attempt: Attempt | None = None
        self._thread: threading.Thread | None = None
        self._kept: list[Kept] = []
        self._count = 0
        self._shown = -1
        self._over: str = "seconds"
        self._alert: dict[str, str] | None = None
        self.front = Front(
            spec={
                "knobs": [_face(knob) for knob in plan.knobs],
                "presets": list(plan.presets),
                "value": plan.value,
            },
            settings=plan.settle({}),
        )
        self._draw()
        self.front.on_msg(self._pressed)

    # ------------------------------------------------------------ what a learner calls

    def run(self, **settings: Any) -> Run:
        """Run with these settings, the other knobs at their first values, and return the run.

        A run under way is stopped before. Raises ValueError for a setting that no knob takes, and
        what `Running.result` raises.
        """
        chosen = self._plan.settle(settings)
        self.stop()
        attempt = self._enter(chosen)
        try:
            run = self._work(attempt)
        except BaseException:
            attempt.stop()
            raise
        return run

    def start(self, **settings: Any) -> None:
        """The same, without waiting for the end: as pressing Run."""
        chosen = self._plan.settle(settings)
        self.stop()
        attempt = self._enter(chosen)
        self._thread = threading.Thread(
            target=self._work_aside, args=(attempt,), name="dashboard", daemon=True
        )
        self._thread.start()

    def wait(self) -> None:
        """Wait until the run that was started beside the notebook has ended, if there is one."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def stop(self) -> None:
        """End the run under way, if there is one; what there is of it is kept."""
        self._tell_stop()
        self.wait()

    @property
    def runs(self) -> Sequence[Kept]:
        """The runs kept, the oldest first."""
        return tuple(self._kept)

    @property
    def labels(self) -> Sequence[str]:
        """What tells the runs kept apart, as in the legend."""
        told = self._plan.labels([kept.settings for kept in self._kept])
        if len({kept.run.badge for kept in self._kept}) > 1:
            told = [f"{label}, {k.run.badge}" for label, k in zip(told, self._kept, strict=True)]
        notes = [f" ({kept.ended})" if kept.ended else "" for kept in self._kept]
        return unique([label + note for label, note in zip(told, notes, strict=True)])

    def clear(self) -> None:
        """Forget all runs."""
        with self._lock:
            self._kept.clear()
            self._count, self._shown, self._alert = 0, -1, None
            self._draw()

    def to_csv(self, path: str | os.PathLike) -> None:
        """Write the runs kept: a line a point, with the run's settings."""
        Path(path).write_text(self._csv(), encoding="utf8")

    def close(self) -> None:
        """End the run under way and take the dashboard off the page."""
        self.stop()
        self.front.close()

    def _repr_mimebundle_(self, **kwargs: Any) -> dict[str, Any]:
        bundle = self.front._repr_mimebundle_()
        words = repr(self)
        return {
            **(bundle[0] if bundle else {}),
            "text/html": f"<p>{words}</p>",
            "text/plain": words,
        }

    def __repr__(self) -> str:
        names = ", ".join(knob.label or knob.name for knob in self._plan.knobs)
        return f"Dashboard of {self._plan.value} with the knobs {names}. Run this cell to use it."

    # ------------------------------------------------------------ a run

    def _enter(self, settings: Mapping[str, Any]) -> Attempt:
        attempt = Attempt(settings)
        with self._lock:
            self._attempt = attempt
            self._alert = None
            self.front.settings = dict(settings)
            self._state(status="starting …")
        return attempt

    def _work(self, attempt: Attempt) -> Run:
        """Launch, follow, keep; raises what ended the run."""
        plan, settings = self._plan, attempt.settings
        line = style.line(self._count)
        try:
            total = plan.total(settings)
            running = plan.start(settings)
            attempt.began(running)
            outcome = follow(
                running,
                plan.evaluate(settings),
                lambda glimpse: self._glimpse(glimpse, total, line),
            )
            self._keep(outcome, settings)
            if outcome.failure is not None:
                raise outcome.failure
            assert outcome.run is not None
            return outcome.run
        except Exception as error:
            with self._lock:
                self._alert = {"sentence": str(error) or repr(error), "details": _details(error)}
            raise
        finally:
            with self._lock:
                self._attempt = None
                self.front.live = {}
                self._draw()

    def _work_aside(self, attempt: Attempt) -> None:
        try:
            self._work(attempt)
        except Exception:  # it has been shown; a thread has nobody to raise it to
            return

    def _keep(self, outcome: Outcome, settings: Mapping[str, Any]) -> None:
        run = outcome.run
        if run is None:
            return
        ended: Literal["", "stopped", "failed"] = ""
        if outcome.failure is not None:
            ended = "failed"
        elif run.stopped:
            ended = "stopped"
        answers = {} if ended else self._plan.read(run, outcome.curve, settings)
        light = dataclasses.replace(run, snapshots=())
        with self._lock:
            self._kept.append(Kept(light, outcome.curve, settings, answers, self._count, ended))
            self._count += 1
            self._shown = len(self._kept) - 1

    # ------------------------------------------------------------ what is shown

    def _glimpse(self, glimpse: Glimpse, total: int | None, line: Mapping[str, object]) -> None:
        """Show how far the run under way is; runs in its thread."""
        curve = glimpse.curve
        step, seconds = int(curve.step[-1]) + 1, float(curve.seconds[-1])
        with self._lock:
            x = curve.seconds * self._unit(seconds) if self._over == "seconds" else curve.step
            y = [value if abs(value) < float("inf") else None for value in curve.value.tolist()]
            self.front.live = {"x": x.tolist(), "y": y, "line": dict(line)}
            if glimpse.evaluated is None:
                status = f"step {step:,}" + (f" of {total:,}" if total else "")
                progress = min(1.0, step / total) if total else None
            else:
                status, progress = f"evaluating {self._plan.value}", glimpse.evaluated
            now = [(self._plan.value, f"{curve.value[-1]:.3g}"), ("after", seconds_text(seconds))]
            self._state(status=status, progress=progress, answers=now)

    def _unit(self, seconds: float) -> float:
        """How many of the axis's units are a second, if the axis has to reach `seconds`."""
        ends = [float(kept.curve.seconds[-1]) for kept in self._kept if len(kept.curve.seconds)]
        return unit_for(max([seconds, *ends])).scale

    def _draw(self) -> None:
        """Show everything, as it is now."""
        with self._lock:
            self._draw_curves()
            shown = self._kept[self._shown] if self._kept else None
            figure = None if shown is None else timeline(shown.run)
            self.front.timeline = _json(figure)
            self._state()

    def _draw_curves(self) -> None:
        labels = self.labels
        badges = {kept.run.badge for kept in self._kept}
        figure = curves(
            {label: kept.curve for label, kept in zip(labels, self._kept, strict=True)},
            value=self._plan.value,
            over="steps" if self._over == "steps" else "seconds",
            badge=badges.pop() if len(badges) == 1 else None,
            target=self._plan.target,
            log=self._plan.log,
        )
        for k, kept in enumerate(self._kept):
            width = 3.5 if k == self._shown else 2
            figure.plot.data[k].line = {**style.line(kept.number), "width": width}
        figure.plot.update_layout(showlegend=False, uirevision=self._over, yaxis_title=None)
        self.front.curve = _json(figure)

    def _state(
        self,
        status: str = "",
        progress: float | None = None,
        answers: Sequence[tuple[str, str]] | None = None,
    ) -> None:
        shown = self._kept[self._shown] if self._kept else None
        if answers is None:
            answers = list(shown.answers.items()) if shown else []
        self.front.state = {
            "busy": self._attempt is not None,
            "status": status,
            "progress": progress,
            "alert": self._alert,
            "answers": answers,
            "badge": style.badge_text(shown.run) if shown and self._attempt is None else "",
            "over": self._over,
            "shown": self._shown,
            "runs": [
                {
                    "number": kept.number,
                    "label": label,
                    "line": style.line(kept.number),
                    "answer": next(iter(kept.answers.values()), ""),
                }
                for label, kept in zip(self.labels, self._kept, strict=True)
            ],
        }

    # ------------------------------------------------------------ what was pressed

    def _pressed(self, widget: Front, message: Mapping[str, Any], buffers: Any) -> None:
        """Do what a press on the page asks for; returns at once."""
        press, busy = message["press"], self._attempt is not None
        if press == "stop":
            self._tell_stop()
        elif press == "run" and not busy:
            self.start(**message["settings"])
        elif press == "preset" and not busy:
            self.start(**{**self._plan.settle({}), **self._plan.presets[message["name"]]})
        elif press == "csv":
            self.front.send({"csv": self._csv()})
        elif press == "clear" and not busy:
            self.clear()
        elif press == "over":
            with self._lock:
                self._over = message["axis"]
                self._draw_curves()
        elif press in ("show", "remove"):
            with self._lock:
                at = [kept.number for kept in self._kept].index(message["number"])
                if press == "show":
                    self._shown = at
                else:
                    del self._kept[at]
                    self._shown = min(self._shown, len(self._kept) - 1)
                self._draw()

    def _tell_stop(self) -> None:
        attempt = self._attempt
        if attempt is not None:
            attempt.stop()

    def _csv(self) -> str:
        return to_csv(self._kept, self.labels, self._plan.value)


def _face(knob: Knob) -> dict[str, Any]:
    """What the page has to know of a knob."""
    face = {"name": knob.name, "label": knob.label or knob.name, "group": knob.group}
    if isinstance(knob, Slider):
        grid = knob.grid()
        return {**face, "kind": "slider", "grid": grid, "texts": [knob.text(v) for v in grid]}
    if isinstance(knob, Choice):
        return {**face, "kind": "choice", "options": list(knob.options)}
    return {**face, "kind": "toggle"}


def _details(error: Exception) -> str:
    """The traceback that helps to mend it: the worker's own, or that of our thread."""
    if isinstance(error, RankFailed):
        return error.worker_traceback
    return "".join(traceback.format_exception(error))


def _json(figure: Figure | None) -> str:
    if figure is None:
        return "null"
    return json.dumps({**figure.data(), "words": repr(figure)})
