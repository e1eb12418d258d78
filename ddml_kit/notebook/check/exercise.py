"""What an exercise is, and what a check says of an answer.

An exercise is a declaration: the cases from the smallest up, the library's own function as the
reference, what an answer may cost, hints in steps, and the classic wrong answers as mutants, which
a test runs against the check. Answer and cost are judged by running the answer and the reference
on the same case and comparing what was observed.
"""

from __future__ import annotations

import html
import inspect
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

State = Literal["right", "wrong", "refused", "not attempted"]
MARKS = {"right": "✓", "wrong": "✗", "refused": "✗", "not attempted": "○"}


@dataclass(frozen=True)
class Case:
    """One input. `shown` is how the learner sees it; `arguments` is what `observe` needs."""

    shown: str
    arguments: tuple[Any, ...]


class Words(str):
    """What was observed, said in words: shown without quotes, and over several lines."""

    __repr__ = str.__str__


@dataclass(frozen=True)
class Observed:
    """What an answer did on a case: a value, and what it cost, by figure ("message": 2)."""

    value: Any
    cost: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Mutant:
    """A classic wrong answer, and words that the check must say of it."""

    answer: Callable[..., Any]
    says: str


@dataclass(frozen=True)
class Exercise:
    """One exercise.

    reference: what is expected, with the answer's parameters. key: the library's function that it
    rests on; its source is the last hint, after `key_says`, how it comes to answer this question,
    and with that of `helpers`, which it calls.
    An answer calls neither, nor anything else in ddml_kit.training or ddml_kit.collectives but what
    the exercise `offers` (to the answer, or to `observe`), nor what it has to do `without`:
    {function: what instead}.
    observe(answer, case): runs the answer and says what it did; the case is its own to change.
    hints: from the vaguest to the clearest.
    drawn: one more case, the largest, with values that nobody can know before.
    most: words of their own for figures of the cost of which an answer has more than the reference
    ({"byte": "the sum is right, but ..."}). least: figures of which less is wrong as well, and why
    ({"message": "nobody can know the sum"}). seconds: real, that an answer may take for a case.
    """

    name: str
    question: str
    reference: Callable[..., Any]
    key: Callable[..., Any]
    stub: Callable[..., Any]
    cases: Sequence[Case]
    observe: Callable[[Callable[..., Any], Case], Observed]
    hints: Sequence[str]
    mutants: Sequence[Mutant]
    key_says: str = ""
    helpers: Sequence[Callable[..., Any]] = ()
    drawn: Callable[[np.random.Generator], Case] | None = None
    most: Mapping[str, str] = field(default_factory=dict)
    least: Mapping[str, str] = field(default_factory=dict)
    without: Mapping[Callable[..., Any], str] = field(default_factory=dict)
    offers: Sequence[Callable[..., Any]] = ()
    seconds: float = 10.0

    def hint(self, step: int) -> str:
        """The step-th hint, from 1; the last one, again and again, is the library's source."""
        if step < 1:
            raise ValueError(f"hints are counted from 1, got {step}")
        last = len(self.hints) + 1
        if step < last:
            return f"Hint {step} of {last}: {self.hints[step - 1]}"
        shown = [self.key, *self.helpers]
        source = "\n\n".join(textwrap.dedent(inspect.getsource(f)) for f in shown)
        how = f" {self.key_says}" if self.key_says else ""
        return f"Hint {last} of {last}: the library's own.{how}\n\n{source}"


@dataclass(frozen=True)
class Verdict:
    """What a check says. Shown in a notebook with a mark; as text in its repr."""

    exercise: str
    state: State
    sentence: str
    details: Mapping[str, str] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return self.state == "right"

    def __repr__(self) -> str:
        lines = [f"{MARKS[self.state]} {self.exercise}: {self.sentence}"]
        width = max(map(len, self.details), default=0)
        for name, text in self.details.items():
            indented = text.replace("\n", "\n" + " " * (width + 4))
            lines.append(f"  {name:<{width}}  {indented}")
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        colour = {"right": "#009E73", "not attempted": "#6b6b6b"}.get(self.state, "#D55E00")
        rows = "".join(
            f'<tr><th style="text-align:left;vertical-align:top">{html.escape(name)}</th>'
            f'<td style="text-align:left"><pre style="margin:0">{html.escape(text)}</pre></td></tr>'
            for name, text in self.details.items()
        )
        table = f'<table style="margin:6px 0 0">{rows}</table>' if rows else ""
        return (
            f'<div role="status" style="border-left:4px solid {colour};padding:4px 12px">'
            f'<b style="color:{colour}">{MARKS[self.state]} {html.escape(self.exercise)}</b> '
            f"{html.escape(self.sentence)}{table}</div>"
        )
