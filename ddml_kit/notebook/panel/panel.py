"""The dashboard itself: one run at a time, in a thread of its own, and those that are kept."""

from __future__ import annotations

import dataclasses
import os
import threading
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

from ddml_kit.cluster.errors import RankFailed
from ddml_kit.cluster.run import Run
from ddml_kit.command.options import sentence
from ddml_kit.notebook.figures import style
from ddml_kit.notebook.figures.curves import Over
from ddml_kit.notebook.panel import opened, view
from ddml_kit.notebook.panel.attempt import Attempt
from ddml_kit.notebook.panel.follow import Glimpse, Outcome, Show, follow
from ddml_kit.notebook.panel.front import Front
from ddml_kit.notebook.panel.plan import Plan
from ddml_kit.notebook.panel.runs import Ended, Judged, Kept, Look, to_csv
from ddml_kit.notebook.units import count_text


class Panel:
    """A dashboard. Show it as the last line of a cell; `run` is the same as pressing Run."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._lock = threading.RLock()  # one thread at a time changes what is shown
        self._attempt: Attempt | None = None
        self._thread: threading.Thread | None = None
        self._kept: list[Kept] = []
        self._count = 0
        self._shown: Kept | None = None
        self._over: Over = plan.over
        self._unit = view.unit_of([], 0.0)  # of the axis over seconds
        self._alert: Mapping[str, str] | None = None
        # Complete from the first message on: a page may ask for the state at any moment.
        self.front = Front(
            spec=view.spec(plan),
            settings={"values": plan.settle({}), "turn": 0},
            state=view.state(plan, [], None, self._over),
            curve=view.curves_of(plan, [], None, self._over),
        )
        self.front.on_msg(self._pressed)

    # ------------------------------------------------------------ what a learner calls

    def run(self, **settings: Any) -> Run:
        """Run with these settings, the other knobs at their first values, and return the run.

        A run under way is stopped before. Raises ValueError for a setting that no knob takes, and
        what `Running.result` raises.
        """
        attempt = self._enter(self._turn(settings))
        try:
            return self._work(attempt)
        except BaseException:
            attempt.stop()
            raise

    def start(self, **settings: Any) -> None:
        """The same, without waiting for the end."""
        self._work_aside(self._enter(self._turn(settings)))

    def open(self, file: str | os.PathLike, **settings: Any) -> Run:
        """Put a saved run beside those kept, and return it; a run under way goes on.

        Its model is judged by these settings; by its own, if this dashboard made it; else by the
        knobs as they stand. Raises ValueError for a file that is no run, for a run that does not
        fit, and for a setting that no knob takes; OSError if the file can't be read.
        """
        return self._open(file, Path(file).name, settings, lambda glimpse: True)

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
        return view.labels(self._plan, self._kept)

    def clear(self) -> None:
        """Forget all runs that have ended."""
        with self._lock:
            self._kept.clear()
            self._count, self._shown, self._alert = 0, None, None
            self._draw()

    def to_csv(self, path: str | os.PathLike) -> None:
        """Write the runs kept: a line a point, with the run's settings."""
        Path(path).write_text(self._csv(), encoding="utf8")

    def close(self) -> None:
        """End the run under way and take the dashboard off the page."""
        self.stop()
        self.front.close()

    def _repr_mimebundle_(self, **kwargs: Any) -> dict[str, Any]:
        """The widget, and words for where there is none; the same whatever has been run."""
        bundle = self.front._repr_mimebundle_()
        widget = bundle[0] if bundle else {}
        return {**widget, "text/html": f"<p>{self!r}</p>", "text/plain": repr(self)}

    def __repr__(self) -> str:
        names = ", ".join(knob.label or knob.name for knob in self._plan.knobs)
        return f"Dashboard of {self._plan.value} with the knobs {names}. Run this cell to use it."

    # ------------------------------------------------------------ a run

    def _turn(self, settings: Mapping[str, Any]) -> Mapping[str, Any]:
        """All settings, shown on the knobs, wherever a learner has moved them meanwhile."""
        chosen = self._plan.settle(settings)
        self.stop()
        with self._lock:
            self.front.settings = {"values": chosen, "turn": self.front.settings["turn"] + 1}
        return chosen

    def _enter(self, settings: Mapping[str, Any]) -> Attempt:
        attempt = Attempt(settings)
        with self._lock:
            self._attempt, self._alert = attempt, None
            self._state(status="starting …")
        return attempt

    def _work(self, attempt: Attempt) -> Run:
        """Launch, follow, keep; raises what ended the run."""
        plan, settings = self._plan, attempt.settings
        try:
            total = plan.total(settings)
            running = plan.start(settings)
            attempt.began(running)
            outcome = follow(
                running,
                plan.evaluate(settings),
                lambda glimpse: self._glimpse(glimpse, total),
                plan.everybody,
            ).about({"knobs": dict(settings)})
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
        """The same in a thread."""

        def work() -> None:
            try:
                self._work(attempt)
            except Exception:  # it is shown on the page; a thread has nobody to raise it to
                return

        self._aside(work)

    def _aside(self, work: Callable[[], None]) -> None:
        self._thread = threading.Thread(target=work, name="dashboard", daemon=True)
        self._thread.start()

    def _keep(self, outcome: Outcome, settings: Mapping[str, Any]) -> None:
        run = outcome.run
        if run is None:
            return
        ended: Ended = ""
        if outcome.failure is not None:
            ended = "failed"
        elif run.stopped:
            ended = "stopped"
        answers = {} if ended else self._plan.read(run, outcome.curve, settings)
        self._add(Judged(run, outcome.curve, settings, answers, ended))

    def _add(self, one: Judged) -> None:
        """Keep a run, and look at it."""
        light, timeline = dataclasses.replace(one.run, snapshots=()), view.timeline_of(one.run)
        models = self._plan.models(one.run)
        with self._lock:
            self._shown = Kept(
                *(light, one.curve, one.settings, one.answers, self._count, one.ended),
                *(timeline, models, one.name),
            )
            self._kept.append(self._shown)
            self._count += 1

    # ------------------------------------------------------------ a run from a file

    def _open(
        self,
        file: str | os.PathLike | BinaryIO,
        name: str,
        given: Mapping[str, Any],
        show: Show,
    ) -> Run:
        """Read, evaluate and keep it; what goes wrong is shown, and nothing is lost."""
        try:
            page = self.front.settings["values"]
            found = opened.read(self._plan, file, name, page, given, show)
            with self._lock:
                before = list(self._kept), self._count, self._shown
                try:
                    self._add(found)
                    self._alert = None
                    self._draw()
                except Exception as error:  # of a figure, which was not made for such a run
                    self._kept, self._count, self._shown = before
                    raise opened.misfit(name, found.run, error) from error
        except Exception as error:
            with self._lock:
                self._alert = {"sentence": sentence(error), "details": ""}
                self._draw()
            raise
        return found.run

    def _open_sent(self, name: str, size: int, buffers: Sequence[Any]) -> None:
        """The same in a thread, for a file that the page has sent, or was too large to be sent."""
        if not buffers:
            with self._lock:
                self._alert = {"sentence": opened.too_large(name, size), "details": ""}
                self._draw()
            return
        self._enter(self.front.settings["values"])

        def work() -> None:
            try:
                with suppress(Exception):  # it is shown on the page
                    file = opened.Sent(name, bytes(buffers[0]))
                    self._open(file, name, {}, lambda glimpse: self._glimpse(glimpse, None))
            finally:
                with self._lock:
                    self._attempt = None
                    self.front.live = {}
                    self._draw()

        self._aside(work)

    # ------------------------------------------------------------ what is shown

    def _glimpse(self, glimpse: Glimpse, total: int | None) -> bool:
        """Show how far the run under way is; called by whoever drives it, who goes on if True."""
        curve = glimpse.curve
        step = int(curve.step[-1]) + 1
        status, progress = f"step {count_text(step)}", None
        if glimpse.evaluated is not None:
            status, progress = f"evaluating {self._plan.value}", glimpse.evaluated
        elif total:
            status, progress = f"{status} of {count_text(total)}", min(1.0, step / total)
        with self._lock:
            seconds = float(curve.seconds[-1])
            seen = view.drawn(self._kept, self._shown, self._over)
            unit = view.unit_of(seen, seconds)
            if unit != self._unit:  # the other curves' axis has to change with it
                self._draw_curves(seconds)
            self.front.live = view.live(curve, unit, self._count, self._over)
            attempt = self._attempt
            if self._plan.picture is not None and glimpse.w is not None and attempt is not None:
                line = style.line(self._count)
                look = Look("this run", attempt.settings, [glimpse.w], line)
                self.front.timeline = view.picture_of(self._plan, self._kept, None, look)
            answers = view.so_far(self._plan, curve)
            self._state(status=status, progress=progress, answers=answers)
            return attempt is None or not attempt.stopped

    def _draw(self) -> None:
        """Show everything, as it is now."""
        with self._lock:
            self._draw_curves()
            self.front.timeline = view.picture_of(self._plan, self._kept, self._shown)
            self._state()

    def _draw_curves(self, until: float = 0.0) -> None:
        """until: how many seconds the run under way has taken."""
        seen = view.drawn(self._kept, self._shown, self._over)
        self._unit = view.unit_of(seen, until)
        self.front.curve = view.curves_of(self._plan, self._kept, self._shown, self._over, until)

    def _state(self, **more: Any) -> None:
        self.front.state = view.state(
            self._plan,
            self._kept,
            self._shown,
            self._over,
            busy=self._attempt is not None,
            alert=self._alert,
            **more,
        )

    # ------------------------------------------------------------ what was pressed

    def _pressed(self, widget: Front, message: Mapping[str, Any], buffers: Any) -> None:
        """Do what a press on the page asks for; returns at once."""
        press, busy = message["press"], self._attempt is not None
        if press == "stop":
            self._tell_stop()
        elif press == "run" and not busy:
            self.wait()  # for the last moment of the former run's thread
            settings = self._plan.settle(message["settings"])
            with self._lock:  # no new turn: the page knows, and its knobs may have moved on
                self.front.settings = {**self.front.settings, "values": settings}
            self._work_aside(self._enter(settings))
        elif press == "preset" and not busy:
            self.start(**self._plan.presets[message["name"]])
        elif press == "open" and not busy:
            self.wait()
            self._open_sent(message["name"], message["size"], buffers)
        elif press == "csv":
            self.front.send({"csv": self._csv()})
        elif press == "clear" and not busy:
            self.clear()
        elif press == "over":
            with self._lock:
                self._over = message["axis"]
                self._draw()
        elif press == "show":
            self._show(message["number"])
        elif press == "remove":
            self._remove(message["number"])

    def _show(self, number: int) -> None:
        """Look at a run that was kept: its answers and its timeline."""
        with self._lock:
            self._shown = next((k for k in self._kept if k.number == number), self._shown)
            self._draw()

    def _remove(self, number: int) -> None:
        with self._lock:
            self._kept = [kept for kept in self._kept if kept.number != number]
            if self._shown not in self._kept:
                self._shown = self._kept[-1] if self._kept else None
            self._draw()

    def _tell_stop(self) -> None:
        attempt = self._attempt
        if attempt is not None:
            attempt.stop()

    def _csv(self) -> str:
        return to_csv(self._kept, self.labels, self._plan.value)


def _details(error: Exception) -> str:
    """The traceback that helps to mend it: the worker's own, or that of our thread."""
    if isinstance(error, RankFailed):
        return error.worker_traceback
    return "".join(traceback.format_exception(error))
