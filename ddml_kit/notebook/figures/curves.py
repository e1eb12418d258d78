"""A figure of the model, such as its loss, over the steps or the seconds of runs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import plotly.graph_objects as go
from numpy.typing import ArrayLike

from ddml_kit.cluster.run import Badge, Curve
from ddml_kit.notebook.figures import style
from ddml_kit.notebook.figures.figure import Figure
from ddml_kit.notebook.units import count_text, first_below, number_text, seconds_text, unit_for

Over = Literal["seconds", "steps"]
PREDICTION = "your prediction"
DOTTED = {"color": style.BLACK, "dash": "dot"}


def curves(
    curves: Mapping[str, Curve],
    *,
    value: str = "loss",
    over: Over = "seconds",
    badge: Badge | None = None,
    target: float | None = None,
    log: bool = True,
    until: float = 0.0,
    predicted: tuple[Sequence[float], Sequence[float]] | None = None,
) -> Figure:
    """Curves by label. value: what they show; badge: where they ran; target: a level to reach.

    until: seconds that the axis reaches at least. predicted: x, in seconds or steps as the axis
    is, and y of a curve that was predicted; it is dotted.
    """
    if over not in ("seconds", "steps"):
        raise ValueError(f'over must be "seconds" or "steps", got {over!r}')
    shown = [curve for curve in curves.values() if len(curve.value)]
    longest = max([until, *(float(curve.seconds[-1]) for curve in shown)])
    unit = unit_for(longest)
    where = style.BADGES[badge] if badge else ""
    x_title, last = "steps", max((float(curve.step[-1]) for curve in shown), default=0.0)
    if over == "seconds":
        x_title = f"{unit.name} ({where})" if where else unit.name
        last = longest * unit.scale
    foreseen = [np.asarray(predicted[1], np.float64)] if predicted else []
    x_predicted = np.asarray(predicted[0] if predicted else [], np.float64)
    if over == "seconds":
        x_predicted = x_predicted * unit.scale
    last = max([last, *x_predicted])
    heights = [curve.value for curve in shown] + foreseen
    plot = go.Figure(
        layout={
            "template": style.TEMPLATE,
            "height": 320,
            "showlegend": len(curves) + len(foreseen) > 1,
            "legend": {"orientation": "h", "x": 0, "y": 1, "yanchor": "bottom"},
            "xaxis": {"title": {"text": x_title}, "range": [0, last * 1.02 or 1]},
            "yaxis": {"title": {"text": value}, **_value_axis(heights, target, log)},
        }
    )
    for k, (label, curve) in enumerate(curves.items()):
        plot.add_scatter(
            x=curve.seconds * unit.scale if over == "seconds" else curve.step,
            y=curve.value,
            name=label,
            mode="lines" if len(curve.value) > 1 else "markers",
            line={**style.line(k), "width": 2.5},
        )
    for y in foreseen:
        plot.add_trace(prediction(x_predicted, y))
    if target is not None:
        plot.add_hline(
            target,
            line={"color": style.MUTED, "dash": "dash", "width": 1.5},
            label={
                "text": f"target {target:g}",
                "textposition": "end",
                "yanchor": "bottom",
                "font": {"size": 13, "color": style.MUTED},
            },
        )
    words = [_words(label, curve, value, over, target) for label, curve in curves.items()]
    words += [prediction_in_words(*predicted, over)] if predicted else []
    return Figure(plot, " ".join(words), where)


def prediction(x: ArrayLike, y: ArrayLike) -> go.Scatter:
    """A curve that was predicted, dotted, to be laid over what happened."""
    return go.Scatter(x=x, y=y, name=PREDICTION, mode="lines", line={**DOTTED, "width": 2.5})


def prediction_in_words(x: Sequence[float], y: Sequence[float], over: str = "") -> str:
    """Where a predicted curve starts and ends."""
    unit = f" {over}" if over else ""
    (first, *_, last), (start, *_, end) = ([number_text(v) for v in values] for values in (x, y))
    return f"**{PREDICTION}**: from {start} at {first}{unit} to {end} at {last}{unit}."


def _value_axis(heights: Sequence[np.ndarray], target: float | None, log: bool) -> dict[str, Any]:
    """Type, range and ticks of the axis, so that all finite values and the target are seen."""
    values = np.concatenate([*heights, np.array([] if target is None else [target])])
    values = values[np.isfinite(values) & ((values > 0) | (not log))]
    if not len(values):
        return {"type": "log" if log else "linear"}
    low, high = float(values.min()), float(values.max())
    if not log:
        margin = 0.05 * (high - low) or 0.5
        return {"type": "linear", "range": [low - margin, high + margin]}
    low, high = math.log10(low), math.log10(high)
    margin = 0.05 * (high - low) or 0.1
    axis: dict[str, Any] = {"type": "log", "range": [low - margin, high + margin]}
    if high - low > 2.5:
        # Powers of ten, which plotly writes a quarter larger.
        dtick = math.ceil((high - low) / 10)
        return {**axis, "dtick": dtick, "exponentformat": "power", "tickfont": {"size": 10.5}}
    if high - low > 0.8:
        axis["dtick"] = "D2"  # 1, 2, 5, 10, ...
    return {**axis, "tickformat": "~g", "nticks": 6}


def _when(curve: Curve, at: int | None, over: Over) -> str:
    if at is None:
        return "not reached"
    if over == "steps":
        return f"after {count_text(curve.step[at])} steps"
    return f"after {seconds_text(float(curve.seconds[at]))}"


def _words(label: str, curve: Curve, value: str, over: Over, target: float | None) -> str:
    """Where a curve starts and ends, and when it reaches the target."""
    if not len(curve.value):
        return f"**{label}**: no {value} yet."
    first, last = curve.value[0], curve.value[-1]
    words = (
        f"**{label}**: {value} from {first:.3g} to {last:.3g} "
        f"in {count_text(curve.step[-1] + 1)} steps"
    )
    if curve.seconds.any():  # some have no clock
        words += f", {seconds_text(float(curve.seconds[-1]))}"
    if target is not None:
        words += f"; {target:g} {_when(curve, first_below(curve, target), over)}"
    return words + "."
