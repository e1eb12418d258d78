"""What a dashboard is told: how to start a run, its knobs, and what to read off it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ddml_kit.cluster.run import Curve, Run, Running, human_bytes
from ddml_kit.notebook import predict
from ddml_kit.notebook.figures import Figure
from ddml_kit.notebook.figures.curves import Over
from ddml_kit.notebook.knobs import Knob, differing, settle
from ddml_kit.notebook.panel.models import looked_at
from ddml_kit.notebook.panel.runs import Look
from ddml_kit.notebook.units import count_text, seconds_to

SMALL = 1_000_000  # bytes of a run's snapshots that are kept for the picture


@dataclass(frozen=True)
class Plan:
    """A dashboard's declaration; `dashboard` says what each field means.

    Every function gets, beside its own arguments, the settings that it names as parameters.
    """

    launch: Callable[..., Running]
    knobs: Sequence[Knob]
    curve: Callable[..., float]
    value: str = "loss"
    target: float | None = None
    log: bool = True
    answers: Callable[..., Mapping[str, str]] | None = None
    steps: Callable[..., int] | None = None
    presets: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    label: Callable[..., str] | None = None
    predicted: Sequence[predict.Question] = ()
    about: Mapping[str, Any] | None = None
    picture: Callable[[Sequence[Look], Look], Figure] | None = None
    pictured: str = "What the workers did"
    over: Over = "seconds"
    everybody: bool = False

    def __post_init__(self) -> None:
        names = [knob.name for knob in self.knobs]
        if not names or len(set(names)) < len(names):
            raise ValueError(f"a dashboard needs knobs with distinct names, got {names}")
        taken = _named(self.launch, names, "launch", 0)
        for name in names:
            if name not in taken:
                raise ValueError(
                    f"launch has no parameter {name!r}, so that knob would change nothing; "
                    f"it takes {', '.join(taken) or 'none'}"
                )
        for function, what, own in (
            (self.curve, "curve", 1),
            (self.answers, "answers", 2),
            (self.steps, "steps", 0),
            (self.label, "label", 0),
        ):
            if function is not None:
                _named(function, names, what, own)
        for preset, settings in self.presets.items():
            try:
                self.settle(settings)
            except ValueError as error:
                raise ValueError(f"preset {preset!r}: {error}") from None
        self.settle(self.about or {})
        for question in self.predicted:
            if isinstance(question, predict.Curve) and question.axis is None:
                raise ValueError(
                    f"predicted: the curve {question.name!r} needs an axis to be drawn on, "
                    'axis="seconds" or axis="steps", got None'
                )

    def settle(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """A setting for each knob; raises ValueError for what no knob takes."""
        return settle(self.knobs, given)

    def start(self, settings: Mapping[str, Any]) -> Running:
        return self._call(self.launch, settings, "launch", 0)

    def evaluate(self, settings: Mapping[str, Any]) -> Callable[[np.ndarray], float]:
        """The figure of a model that the curve shows, for one run."""
        chosen = self._chosen(self.curve, settings, "curve", 1)
        return lambda w: float(self.curve(w, **chosen))

    def total(self, settings: Mapping[str, Any]) -> int | None:
        """How many steps a run takes, if that is known."""
        return None if self.steps is None else self._call(self.steps, settings, "steps", 0)

    def read(self, run: Run, curve: Curve, settings: Mapping[str, Any]) -> dict[str, str]:
        """The answers of a run, by name."""
        if self.answers is not None:
            told = self._call(self.answers, settings, "answers", 2, run, curve)
            return {name: str(text) for name, text in told.items()}
        return self.general(run, curve)

    def general(self, run: Run, curve: Curve) -> dict[str, str]:
        """What can be said of any run, by name."""
        told = {}
        if self.target is not None:
            told[f"time to {self.target:g}"] = seconds_to(curve, self.target)
        if len(curve.value):
            told[self.value] = f"{curve.value[-1]:.3g}"
            told["steps"] = count_text(curve.step[-1] + 1)
        return {**told, "sent": human_bytes(run.bytes)}

    def models(self, run: Run) -> Sequence[np.ndarray]:
        """What the picture needs of a run: its snapshots of rank 0, or the last if they are large.

        Nothing for a dashboard without a picture.
        """
        if self.picture is None:
            return ()
        models = [snapshot.w for snapshot in looked_at(run, self.everybody)]
        return models if sum(w.nbytes for w in models) <= SMALL else models[-1:]

    def labels(self, settings: Sequence[Mapping[str, Any]]) -> list[str]:
        """What tells runs with these settings apart, for a legend."""
        if self.label is None:
            return differing(self.knobs, settings) if settings else []
        return [self._call(self.label, one, "label", 0) for one in settings]

    def said(self, settings: Mapping[str, Any] | None) -> str:
        """What was predicted by now, as a number or an option with its unit, for a run with these
        settings; or nothing.
        """
        if self.about is not None and settings != self.settle(self.about):
            return ""
        return next(filter(None, (question.in_words() for question in self.predicted)), "")

    def line(self, over: Over) -> tuple[Sequence[float], Sequence[float]] | None:
        """The curve that was predicted by now over this axis, x and y."""
        lines = (question.line(over) for question in self.predicted)
        return next((line for line in lines if line), None)

    def _chosen(
        self, function: Callable[..., Any], settings: Mapping[str, Any], what: str, own: int
    ) -> dict[str, Any]:
        return {name: settings[name] for name in _named(function, list(settings), what, own)}

    def _call(
        self,
        function: Callable[..., Any],
        settings: Mapping[str, Any],
        what: str,
        own: int,
        *arguments: Any,
    ) -> Any:
        return function(*arguments, **self._chosen(function, settings, what, own))


def _named(function: Callable[..., Any], names: Sequence[str], what: str, own: int) -> list[str]:
    """Which of the settings a function takes, after its own first parameters.

    Raises ValueError for a parameter without default that no knob is named after.
    """
    parameters = list(inspect.signature(function).parameters.values())
    if any(p.kind is p.VAR_KEYWORD for p in parameters):
        return list(names)
    taken = []
    for parameter in parameters[own:]:
        if parameter.name in names:
            taken.append(parameter.name)
        elif (
            parameter.default is parameter.empty and parameter.kind is not parameter.VAR_POSITIONAL
        ):
            raise ValueError(
                f"{what} needs {parameter.name!r}, but no knob is named so; "
                f"there are {', '.join(names)}"
            )
    return taken
