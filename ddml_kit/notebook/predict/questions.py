"""A question that a learner answers before the run: a number, a choice, or a curve.

The answer is kept in a local file (store.py) as soon as it is given, by the widget or by `say`,
and laid over what happened by `compare`.
"""

from __future__ import annotations

import html
import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import ipywidgets as widgets
import numpy as np
import plotly.graph_objects as go

from ddml_kit.notebook.figures import Figure, style
from ddml_kit.notebook.predict import store
from ddml_kit.notebook.predict.curve import CurveWidget
from ddml_kit.notebook.predict.words import choice_in_words, curve_in_words, number_in_words


@dataclass(frozen=True)
class Comparison:
    """A prediction beside what happened, as a sentence. False if nothing was predicted."""

    sentence: str
    said: bool

    def __bool__(self) -> bool:
        return self.said

    def __repr__(self) -> str:
        return self.sentence

    def _repr_html_(self) -> str:
        return f'<p role="status" style="font-size:1.1em">{html.escape(self.sentence)}</p>'


class Question(ABC):
    """A question by its name, which is unique in the course, and its text."""

    def __init__(self, name: str, text: str, file: Path = store.FILE) -> None:
        self.name, self.text, self._file = name, text, file

    @property
    def said(self) -> Any:
        """What was predicted, or None."""
        return store.read(self._file).get(self.name)

    def say(self, value: Any) -> None:
        """Commit to a value; the same as the widget, for headless use. Raises ValueError."""
        store.write(self.name, self._checked(value), self._file)

    def compare(self, measured: Any) -> Comparison:
        """The prediction laid over what was measured, in words."""
        said = self.said
        if said is None:
            return Comparison("You made no prediction. Next time, commit to one first.", False)
        return Comparison(self._in_words(said, measured), True)

    def __repr__(self) -> str:
        return f"{self.text} (Predict above, or call say(...).)"

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        return self._widget()._repr_mimebundle_(**kwargs)

    def _frame(self, control: widgets.Widget, read: Any) -> widgets.VBox:
        """The text, the control, and a button that commits to what `read()` gives."""
        said = self.said
        button = widgets.Button(description="Commit", icon="check", tooltip="Keep this prediction")
        kept = widgets.HTML("" if said is None else "Kept from before.")
        kept.add_class("ddml-kept")

        def commit(_: object) -> None:
            self.say(read())
            kept.value = "Kept. You can change it until you run."

        button.on_click(commit)
        question = widgets.HTML(f"<b>Predict.</b> {html.escape(self.text)}")
        return widgets.VBox([question, control, widgets.HBox([button, kept])])

    @abstractmethod
    def _checked(self, value: Any) -> Any: ...

    @abstractmethod
    def _in_words(self, said: Any, measured: Any) -> str: ...

    @abstractmethod
    def _widget(self) -> widgets.Widget: ...


class Number(Question):
    """A number from `low` to `high`."""

    def __init__(
        self, name: str, text: str, *, low: float, high: float, unit: str = "", **kwargs: Any
    ) -> None:
        super().__init__(name, text, **kwargs)
        self.low, self.high, self.unit = low, high, unit

    def _checked(self, value: Any) -> float:
        number = float(value)
        if not self.low <= number <= self.high:
            raise ValueError(f"a prediction lies from {self.low} to {self.high}, got {value}")
        return number

    def _in_words(self, said: float, measured: float) -> str:
        return number_in_words(said, float(measured), self.unit)

    def _widget(self) -> widgets.Widget:
        middle = (self.low + self.high) / 2
        field = widgets.BoundedFloatText(
            value=middle if self.said is None else self.said,
            min=self.low,
            max=self.high,
            step=10 ** math.floor(math.log10((self.high - self.low) / 20)),
            description=self.unit or "value",
        )
        return self._frame(field, lambda: field.value)


class Choice(Question):
    """One of some options, texts."""

    def __init__(self, name: str, text: str, options: Sequence[str], **kwargs: Any) -> None:
        super().__init__(name, text, **kwargs)
        self.options = tuple(options)

    def _checked(self, value: Any) -> str:
        if value not in self.options:
            raise ValueError(f"choose one of {', '.join(self.options)}; got {value!r}")
        return str(value)

    def _in_words(self, said: str, measured: str) -> str:
        return choice_in_words(said, measured)

    def _widget(self) -> widgets.Widget:
        buttons = widgets.RadioButtons(options=self.options, value=self.said or self.options[0])
        return self._frame(buttons, lambda: buttons.value)


class Curve(Question):
    """A value at each point of `x`, drawn by dragging points or with the arrow keys."""

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
        **kwargs: Any,
    ) -> None:
        super().__init__(name, text, **kwargs)
        self.x, self.low, self.high, self.unit = [float(v) for v in x], low, high, unit
        self.x_title, self.y_title, self.log_x = x_title, y_title, log_x

    def _checked(self, value: Any) -> dict[str, list[float]]:
        y = [float(v) for v in value]
        if len(y) != len(self.x):
            raise ValueError(f"the curve has {len(self.x)} points, got {len(y)}")
        if not all(self.low <= v <= self.high for v in y):
            raise ValueError(f"the curve lies from {self.low} to {self.high}, got {y}")
        return {"x": self.x, "y": y}

    def _in_words(self, said: dict[str, list[float]], measured: Any) -> str:
        y = np.asarray(measured, float)
        return curve_in_words(np.array(said["x"]), np.array(said["y"]), y, self.unit)

    def over(self, figure: Figure) -> Figure:
        """The figure with the prediction dotted over it, if there is one."""
        said = self.said
        if said is None:
            return figure
        plot = go.Figure(figure.plot)
        plot.add_scatter(
            x=said["x"],
            y=said["y"],
            mode="lines",
            name="your prediction",
            line={"dash": "dot", "color": style.BLACK, "width": 2.5},
        )
        plot.update_layout(showlegend=True)
        return replace(figure, plot=plot)

    def _widget(self) -> widgets.Widget:
        said = self.said
        middle = [(self.low + self.high) / 2] * len(self.x)
        drawing = CurveWidget(
            title=self.text,
            x=self.x,
            y=middle if said is None else said["y"],
            low=self.low,
            high=self.high,
            log_x=self.log_x,
            x_title=self.x_title,
            y_title=self.y_title,
        )
        return self._frame(drawing, lambda: drawing.y)
