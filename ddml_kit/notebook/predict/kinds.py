"""The kinds of questions: a number, one of some options, a curve."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import plotly.graph_objects as go

from ddml_kit.notebook.figures import Figure
from ddml_kit.notebook.figures.curves import Over, prediction, prediction_in_words
from ddml_kit.notebook.predict.question import Question
from ddml_kit.notebook.predict.words import (
    choice_in_words,
    curve_in_words,
    curve_was,
    number_in_words,
    number_was,
    with_unit,
)
from ddml_kit.notebook.units import number_text

THOUSANDS = re.compile(r"\s*[-+]?\d{1,3}(,\d{3})+(\.\d*)?\s*")  # 1,500 or 1,500.5


class Number(Question):
    """A number from `low` to `high`. unit: a plural, "messages"; 1 is said as "1 message".

    whole: it is a whole number.
    """

    first = "Type a number first."

    def __init__(
        self,
        name: str,
        text: str,
        *,
        low: float,
        high: float,
        unit: str = "",
        whole: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(name, text, **kwargs)
        _check_range(low, high)
        self.low, self.high, self.unit, self.whole = low, high, unit, whole

    def in_words(self) -> str:
        said = self.said
        return "" if said is None else with_unit(said, self.unit)

    def _checked(self, value: Any) -> float:
        number = _number(value)
        if not self.low <= number <= self.high:
            raise ValueError(f"a prediction lies {self._range()}, got {value}")
        if self.whole and number != int(number):
            raise ValueError(f"a prediction is a whole number here, got {value}")
        return int(number) if self.whole else number

    def _compared(self, said: float, measured: float) -> str:
        return number_in_words(said, float(measured), self.unit)

    def _was(self, measured: float) -> str:
        was = number_was(float(measured), self.unit)
        return f"{was[:1].upper()}{was[1:]}."

    def _range(self) -> str:
        return f"from {number_text(self.low)} to {number_text(self.high)}"

    def _asked(self) -> str:
        number = "A whole number" if self.whole else "A number"
        unit = f" {self.unit}" if self.unit else ""
        return f"{self.text} {number} {self._range()}{unit}."

    def _spec(self) -> dict[str, Any]:
        return {"kind": "number", "range": self._range(), "unit": self.unit, "whole": self.whole}

    def _answer(self, said: float) -> str:
        return f"{said:.10g}"


class Choice(Question):
    """One of some options, texts."""

    first = "Choose first."

    def __init__(self, name: str, text: str, options: Sequence[str], **kwargs: Any) -> None:
        super().__init__(name, text, **kwargs)
        if isinstance(options, str) or len(set(options)) < max(2, len(options)):
            raise ValueError(f"a choice needs two or more distinct options, got {options!r}")
        self.options = tuple(options)

    def in_words(self) -> str:
        return self.said or ""

    def _checked(self, value: Any) -> str:
        if value not in self.options:
            raise ValueError(f"choose one of {', '.join(self.options)}; got {value!r}")
        return str(value)

    def _compared(self, said: str, measured: str) -> str:
        return choice_in_words(said, measured)

    def _was(self, measured: str) -> str:
        return f"It was {measured}."

    def _asked(self) -> str:
        mark = "" if self.text.endswith((".", "?", ":", "!")) else ":"
        return f"{self.text}{mark} {'; '.join(self.options)}."

    def _spec(self) -> dict[str, Any]:
        return {"kind": "choice", "options": list(self.options)}


class Curve(Question):
    """A value at each point of `x`, drawn by dragging points or with the arrow keys.

    axis: "seconds" or "steps" if x is that, so that a dashboard can draw it over its curves.
    """

    first = "Move a point first."

    def __init__(
        self,
        name: str,
        text: str,
        *,
        x: Sequence[float],
        low: float,
        high: float,
        x_title: str,
        y_title: str,
        log_x: bool = False,
        unit: str = "",
        axis: Over | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(name, text, **kwargs)
        _check_range(low, high)
        self.x = [float(v) for v in x]
        if len(self.x) < 2 or sorted(set(self.x)) != self.x or (log_x and self.x[0] <= 0):
            rule = "two or more rising x" + (", all above 0" if log_x else "")
            raise ValueError(f"a curve needs {rule}, got {list(x)}")
        if axis not in (None, "seconds", "steps"):
            raise ValueError(f'axis must be "seconds", "steps" or None, got {axis!r}')
        self.low, self.high, self.unit, self.axis = low, high, unit, axis
        self.x_title, self.y_title, self.log_x = x_title, y_title, log_x

    def over(self, figure: Figure) -> Figure:
        """The figure with the prediction dotted over it, if there is one; its words say so."""
        said = self.said
        if said is None:
            return figure
        plot = go.Figure(figure.plot)
        plot.add_trace(prediction(said["x"], said["y"]))
        plot.update_layout(showlegend=True)
        words = f"{figure.words} {prediction_in_words(said['x'], said['y'])}"
        return replace(figure, plot=plot, words=words)

    def line(self, over: Over) -> tuple[Sequence[float], Sequence[float]] | None:
        said = self.said if over == self.axis else None
        return None if said is None else (said["x"], said["y"])

    def _checked(self, value: Any) -> dict[str, list[float]]:
        if isinstance(value, Mapping):  # as it is kept
            if value.get("x") != self.x:
                raise ValueError(f"the curve is drawn at {self.x}, got {value.get('x')}")
            value = value.get("y")
        if not np.iterable(value):
            raise ValueError(f"the curve has {len(self.x)} points, got {value!r}")
        y = [_number(v) for v in value]
        if len(y) != len(self.x):
            raise ValueError(f"the curve has {len(self.x)} points, got {len(y)}")
        for v in y:
            if not self.low <= v <= self.high:
                raise ValueError(f"the curve lies from {self.low:g} to {self.high:g}, got {v:g}")
        return {"x": self.x, "y": y}

    def _measured(self, measured: Any) -> np.ndarray:
        y = np.asarray(measured, float)
        if y.shape != (len(self.x),):
            raise ValueError(f"the curve has {len(self.x)} points, measured are {y.size}")
        return y

    def _compared(self, said: dict[str, list[float]], measured: Any) -> str:
        y = self._measured(measured)
        return curve_in_words(np.array(said["x"]), np.array(said["y"]), y, self.unit)

    def _was(self, measured: Any) -> str:
        return curve_was(np.array(self.x), self._measured(measured), self.unit)

    def _asked(self) -> str:
        ends = f"from {number_text(self.x[0])} to {number_text(self.x[-1])}"
        return f"{self.text} A curve: {self.y_title}, over {self.x_title} {ends}."

    def _spec(self) -> dict[str, Any]:
        names = ("x", "low", "high", "unit", "log_x", "x_title", "y_title")
        return {"kind": "curve", **{name: getattr(self, name) for name in names}}

    def _answer(self, said: dict[str, list[float]]) -> list[float]:
        return said["y"]


def _number(value: Any) -> float:
    """The value, or the text of one, as a number; 1,500 is one as well."""
    if isinstance(value, str) and THOUSANDS.fullmatch(value):
        value = value.replace(",", "")
    try:
        return float(value)
    except (TypeError, ValueError):
        raise ValueError(f"a prediction is a number such as 20 or 0.5, got {value!r}") from None


def _check_range(low: float, high: float) -> None:
    if not low < high:
        raise ValueError(f"low must be below high, got {low}, {high}")
