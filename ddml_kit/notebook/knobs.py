"""What a learner can set on a dashboard: sliders, choices and toggles, as declarations."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

MOST_STEPS = 1000  # a slider with more positions than pixels can't be set


@dataclass(frozen=True)
class Slider:
    """A number from low to high. Whole if low, high and value are.

    step: what one press of a key adds, or multiplies with where log. Without it: 1; 2 for whole
    numbers with log; the hundredth part of the range; 1, 2, 5, 10, 20, 50 ... for others with log.
    """

    name: str
    low: float
    high: float
    value: float
    step: float | None = None
    log: bool = False
    label: str = ""
    group: str = ""
    unit: str = ""

    def __post_init__(self) -> None:
        _check_name(self.name)
        if not self.low < self.high:
            raise ValueError(f"{self.name}: low must be below high, got {self.low}, {self.high}")
        if self.log and not self.low > 0:
            raise ValueError(f"{self.name}: log needs low > 0, got {self.low}")
        if self.step is not None and not self.step > (1 if self.log else 0):
            rule = "multiplies, so it must be above 1" if self.log else "must be above 0"
            raise ValueError(f"{self.name}: step {rule}, got {self.step}")
        if len(self.grid()) > MOST_STEPS:
            raise ValueError(
                f"{self.name}: a slider has at most {MOST_STEPS} steps, got {len(self.grid())}: "
                "set step or log"
            )
        self.accept(self.value)

    @property
    def whole(self) -> bool:
        """Whether its values are whole numbers."""
        return all(isinstance(x, int) for x in (self.low, self.high, self.value, self.step or 0))

    def grid(self) -> list[float]:
        """The values at which the slider stops, from low up to at most high."""
        if not self.log:
            step = self.step or (1 if self.whole else (self.high - self.low) / 100)
            count = math.floor((self.high - self.low) / step + 1e-9) + 1
            values = [self.low + k * step for k in range(count)]
        elif self.step is None and not self.whole:
            decades = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
            values = [digit * 10.0**k for k in decades for digit in (1, 2, 5)]
            values = [v for v in values if self.low <= v * (1 + 1e-9) and v <= self.high * 1.000001]
        else:
            factor = self.step or 2
            count = math.floor(math.log(self.high / self.low) / math.log(factor) + 1e-9) + 1
            values = [self.low * factor**k for k in range(count)]
        if self.whole:
            return [round(v) for v in values]
        return [float(f"{v:.10g}") for v in values]

    def accept(self, value: Any) -> float:
        """The value as a setting; raises ValueError for what is no number from low to high."""
        if isinstance(value, bool) or not isinstance(value, int | float | np.number):
            raise ValueError(f"{self.name} must be a number, got {value!r}")
        if not self.low <= value <= self.high:
            raise ValueError(f"{self.name} must be from {self.low} to {self.high}, got {value}")
        if self.whole and value != int(value):
            raise ValueError(f"{self.name} must be a whole number, got {value}")
        return int(value) if self.whole else float(value)

    def text(self, value: float) -> str:
        """The value with its unit: 8, 0.05, 10 ms."""
        number = f"{value:,}" if self.whole else f"{value:.4g}"
        return f"{number} {self.unit}" if self.unit else number

    def phrase(self, value: float) -> str:
        """The value in a legend: workers 8."""
        return f"{self.label or self.name} {self.text(value)}"


@dataclass(frozen=True)
class Choice:
    """One of some texts or numbers."""

    name: str
    options: Sequence[str | int | float]
    value: str | int | float
    label: str = ""
    group: str = ""

    def __post_init__(self) -> None:
        _check_name(self.name)
        if isinstance(self.options, str) or len(set(self.options)) < max(2, len(self.options)):
            raise ValueError(
                f"{self.name}: a choice needs two or more distinct options, got {self.options!r}"
            )
        self.accept(self.value)

    def accept(self, value: Any) -> str | int | float:
        """The option that equals the value; raises ValueError for any other."""
        for option in self.options:
            if option == value:
                return option
        listed = ", ".join(map(str, self.options))
        raise ValueError(f"{self.name} must be one of {listed}; got {value!r}")

    def text(self, value: str | int | float) -> str:
        return str(value)

    def phrase(self, value: str | int | float) -> str:
        """The value in a legend: SSP; with the label for a number."""
        return value if isinstance(value, str) else f"{self.label or self.name} {value}"


@dataclass(frozen=True)
class Toggle:
    """Yes or no."""

    name: str
    value: bool
    label: str = ""
    group: str = ""

    def __post_init__(self) -> None:
        _check_name(self.name)
        self.accept(self.value)

    def accept(self, value: Any) -> bool:
        """The value; raises ValueError for what is neither True nor False."""
        if not isinstance(value, bool | np.bool_):
            raise ValueError(f"{self.name} must be True or False, got {value!r}")
        return bool(value)

    def text(self, value: bool) -> str:
        return "yes" if value else "no"

    def phrase(self, value: bool) -> str:
        """The value in a legend: lock, no lock."""
        return f"{'' if value else 'no '}{self.label or self.name}"


Knob = Slider | Choice | Toggle


def settle(knobs: Iterable[Knob], given: Mapping[str, Any]) -> dict[str, Any]:
    """A setting for each knob, in the order of the knobs: what is given, else its first value.

    Raises ValueError for a name that no knob has and for a value that its knob refuses.
    """
    by_name = {knob.name: knob for knob in knobs}
    for name in given:
        if name not in by_name:
            raise ValueError(f"no knob is named {name!r}; there are {', '.join(by_name)}")
    return {name: knob.accept(given.get(name, knob.value)) for name, knob in by_name.items()}


def differing(knobs: Sequence[Knob], settings: Sequence[Mapping[str, Any]]) -> list[str]:
    """A label for each of some settings: the knobs in which they differ, or the first knob."""
    apart = [k for k in knobs if len({setting[k.name] for setting in settings}) > 1]
    chosen = apart or list(knobs[:1])
    return [", ".join(k.phrase(setting[k.name]) for k in chosen) for setting in settings]


def _check_name(name: str) -> None:
    if not name.isidentifier():
        raise ValueError(f"a knob's name must be that of a parameter of launch, got {name!r}")
