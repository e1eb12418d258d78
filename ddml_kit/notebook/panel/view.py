"""What a dashboard shows of its runs, as values for the page; pure functions."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from ddml_kit.cluster.run import Curve, Run
from ddml_kit.notebook.figures import Figure, curves, style, timeline
from ddml_kit.notebook.figures.curves import DOTTED, PREDICTION, Over
from ddml_kit.notebook.knobs import Choice, Knob, Slider
from ddml_kit.notebook.panel.opened import LARGEST
from ddml_kit.notebook.panel.plan import Plan
from ddml_kit.notebook.panel.runs import Kept, Look, unique
from ddml_kit.notebook.units import Unit, seconds_text, unit_for


def spec(plan: Plan) -> dict[str, Any]:
    """What never changes: knobs, presets, what the curve is called."""
    return {
        "knobs": [face(knob) for knob in plan.knobs],
        "presets": list(plan.presets),
        "value": plan.value,
        "pictured": plan.pictured,
        "live": plan.picture is not None,  # what is below the curves moves with the run under way
        "largest": LARGEST,
    }


def labels(plan: Plan, runs: Sequence[Kept]) -> list[str]:
    """What tells the runs apart, in their order; where they ran, if the settings don't say so."""
    own = iter(plan.labels([kept.settings for kept in runs if not kept.name]))
    told = [kept.name or next(own) for kept in runs]
    places: dict[str, set[str]] = {}
    for label, kept in zip(told, runs, strict=True):
        places.setdefault(label, set()).add(kept.run.badge)
    notes = []
    for label, kept in zip(told, runs, strict=True):
        where = f", {kept.run.badge}" if len(places[label]) > 1 else ""
        notes.append(label + where + (f" ({kept.ended})" if kept.ended else ""))
    return unique(notes)


def drawn(runs: Sequence[Kept], shown: Kept | None, over: Over) -> list[Kept]:
    """The runs whose curves fit on one axis: virtual and real seconds are not the same thing."""
    if over == "steps" or shown is None:
        return list(runs)
    return [kept for kept in runs if kept.run.badge == shown.run.badge]


def legend(plan: Plan, runs: Sequence[Kept], shown: Kept | None, over: Over) -> list[dict]:
    """The runs with their lines and first answers; and whether their curves are drawn."""
    seen = drawn(runs, shown, over)
    return [
        {
            "number": kept.number,
            "label": label,
            "line": style.line(kept.number),
            "answer": next(iter(kept.answers.values()), ""),
            "drawn": kept in seen,
        }
        for label, kept in zip(labels(plan, runs), runs, strict=True)
    ]


def curves_of(
    plan: Plan, runs: Sequence[Kept], shown: Kept | None, over: Over, until: float = 0.0
) -> str:
    """All curves as JSON; the one that is looked at is thicker. until: seconds to have room for."""
    seen = drawn(runs, shown, over)
    told = dict(zip([kept.number for kept in runs], labels(plan, runs), strict=True))
    figure = curves(
        {told[kept.number]: kept.curve for kept in seen},
        value=plan.value,
        over=over,
        badge=seen[0].run.badge if seen else None,
        target=plan.target,
        log=plan.log,
        until=until,
        predicted=plan.line(over),
    )
    for trace, kept in zip(figure.plot.data[: len(seen)], seen, strict=True):
        trace.line = {**style.line(kept.number), "width": 3.5 if kept is shown else 2}
    # The page has the legend and the name of the values; a zoom outlives a new run.
    figure.plot.update_layout(showlegend=False, uirevision=over, yaxis_title=None)
    return _json(figure)


def timeline_of(run: Run) -> str:
    """What the workers did, as JSON."""
    return _json(timeline(run))


def picture_of(
    plan: Plan, runs: Sequence[Kept], shown: Kept | None, live: Look | None = None
) -> str:
    """What is drawn below the curves, as JSON: the dashboard's picture, or what the workers did.

    live: the run under way, which is looked at then.
    """
    if plan.picture is None:
        return shown.timeline if shown else "null"
    told = zip(labels(plan, runs), runs, strict=True)
    looks = [
        Look(label, kept.settings, kept.models, style.line(kept.number)) for label, kept in told
    ]
    if live is not None:
        return _json(plan.picture([*looks, live], live))
    if shown is None or not shown.models:
        return "null"
    return _json(plan.picture(looks, looks[list(runs).index(shown)]))


def unit_of(runs: Sequence[Kept], until: float) -> Unit:
    """The unit of the axis over seconds, if it shows these runs and reaches `until`."""
    return unit_for(max([until, *(float(k.curve.seconds[-1]) for k in runs if len(k.curve.step))]))


def live(curve: Curve, unit: Unit, number: int, over: Over) -> dict[str, Any]:
    """The curve of the run under way."""
    x = curve.seconds * unit.scale if over == "seconds" else curve.step
    y = [value if math.isfinite(value) else None for value in curve.value.tolist()]
    return {"x": x.tolist(), "y": y, "line": style.line(number)}


def so_far(plan: Plan, curve: Curve) -> dict[str, str]:
    """What can be said of a run that has not come to its end."""
    if not len(curve.value):
        return {}
    after = seconds_text(float(curve.seconds[-1]))
    return {plan.value: f"{curve.value[-1]:.3g}", "after": after}


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
        answers = (shown.answers or so_far(plan, shown.curve)) if shown else {}
    told = list(answers.items())
    elsewhere = shown is not None and shown.name
    if told and not elsewhere and (said := plan.said(shown.settings if shown else None)):
        told.insert(1, ("you said", said))
    return {
        "busy": busy,
        "status": status,
        "progress": progress,
        "alert": alert,
        "answers": told,
        "badge": style.badge_text(shown.run) if shown and not busy else "",
        "over": over,
        "dotted": {"label": PREDICTION, "line": DOTTED} if plan.line(over) else None,
        "shown": shown.number if shown else None,
        "runs": legend(plan, runs, shown, over),
    }


def face(knob: Knob) -> dict[str, Any]:
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
