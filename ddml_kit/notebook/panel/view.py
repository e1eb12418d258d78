"""What a dashboard shows of its runs, as values for the page; pure functions."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from ddml_kit.cluster.run import Curve
from ddml_kit.notebook.figures import Figure, curves, style, timeline
from ddml_kit.notebook.figures.curves import Over
from ddml_kit.notebook.knobs import Choice, Knob, Slider
from ddml_kit.notebook.panel.plan import Plan
from ddml_kit.notebook.panel.runs import Kept, unique
from ddml_kit.notebook.units import unit_for


def spec(plan: Plan) -> dict[str, Any]:
    """What never changes: knobs, presets, what the curve is called."""
    return {
        "knobs": [_face(knob) for knob in plan.knobs],
        "presets": list(plan.presets),
        "value": plan.value,
    }


def labels(plan: Plan, runs: Sequence[Kept]) -> list[str]:
    """What tells the runs apart, in their order."""
    told = plan.labels([kept.settings for kept in runs])
    if len({kept.run.badge for kept in runs}) > 1:
        told = [f"{label}, {k.run.badge}" for label, k in zip(told, runs, strict=True)]
    notes = [f" ({kept.ended})" if kept.ended else "" for kept in runs]
    return unique([label + note for label, note in zip(told, notes, strict=True)])


def legend(plan: Plan, runs: Sequence[Kept]) -> list[dict[str, Any]]:
    """The runs with their lines and first answers."""
    return [
        {
            "number": kept.number,
            "label": label,
            "line": style.line(kept.number),
            "answer": next(iter(kept.answers.values()), ""),
        }
        for label, kept in zip(labels(plan, runs), runs, strict=True)
    ]


def curves_of(plan: Plan, runs: Sequence[Kept], shown: Kept | None, over: Over) -> str:
    """All curves as JSON; the one that is looked at is thicker."""
    badges = {kept.run.badge for kept in runs}
    figure = curves(
        {label: kept.curve for label, kept in zip(labels(plan, runs), runs, strict=True)},
        value=plan.value,
        over=over,
        badge=badges.pop() if len(badges) == 1 else None,
        target=plan.target,
        log=plan.log,
    )
    for trace, kept in zip(figure.plot.data, runs, strict=True):
        trace.line = {**style.line(kept.number), "width": 3.5 if kept is shown else 2}
    # The page has the legend and the name of the values; a zoom outlives a new run.
    figure.plot.update_layout(showlegend=False, uirevision=over, yaxis_title=None)
    return _json(figure)


def timeline_of(shown: Kept | None) -> str:
    """The timeline of the run that is looked at, as JSON."""
    return "null" if shown is None else _json(timeline(shown.run))


def live(curve: Curve, runs: Sequence[Kept], number: int, over: Over) -> dict[str, Any]:
    """The curve of the run under way, in the unit of the others' axis."""
    ends = [float(c.seconds[-1]) for c in (curve, *(k.curve for k in runs)) if len(c.seconds)]
    x = curve.seconds * unit_for(max(ends)).scale if over == "seconds" else curve.step
    y = [value if math.isfinite(value) else None for value in curve.value.tolist()]
    return {"x": x.tolist(), "y": y, "line": style.line(number)}


def state(
    plan: Plan,
    runs: Sequence[Kept],
    shown: Kept | None,
    over: Over,
    *,
    busy: bool = False,
    status: str = "",
    progress: float | None = None,
    alert: Mapping[str, str] | None = None,
    answers: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Everything on the page but the figures. answers: in place of those of the run shown."""
    if answers is None:
        answers = shown.answers if shown else {}
    return {
        "busy": busy,
        "status": status,
        "progress": progress,
        "alert": alert,
        "answers": list(answers.items()),
        "badge": style.badge_text(shown.run) if shown and not busy else "",
        "over": over,
        "shown": shown.number if shown else None,
        "runs": legend(plan, runs),
    }


def _face(knob: Knob) -> dict[str, Any]:
    """What the page has to know of a knob."""
    face = {"name": knob.name, "label": knob.label or knob.name, "group": knob.group}
    if isinstance(knob, Slider):
        grid = knob.grid()
        return {**face, "kind": "slider", "grid": grid, "texts": [knob.text(v) for v in grid]}
    if isinstance(knob, Choice):
        return {**face, "kind": "choice", "options": list(knob.options)}
    return {**face, "kind": "toggle"}


def _json(figure: Figure) -> str:
    return json.dumps({**figure.data(), "words": repr(figure)})
