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

State = Literal["right", "wrong", "refused", "not attempted"]
MARKS = {"right": "✓", "wrong": "✗", "refused": "✗", "not attempted": "○"}


@dataclass(frozen=True)
class Case:
    """One input. `shown` is how the learner sees it; `arguments` is what `observe` needs."""

    shown: str
    arguments: tuple[Any, ...]


@dataclass(frozen=True)
class Observed:
    """What an answer did on a case: a value, and what it cost, by the name of the figure.

    note: why a value is not even comparable ("w has to be changed in place"), or nothing.
    """

    value: Any
    cost: Mapping[str, float] = field(default_factory=dict)
    note: str = ""


@dataclass(frozen=True)
class Mutant:
    """A classic wrong answer, and words that the check must say of it."""

    answer: Callable[..., Any]
    says: str


@dataclass(frozen=True)
class Exercise:
    """One exercise.

    reference: what is expected, with the answer's parameters. key: the library's function that it
    rests on; an answer must call neither, and the key's source is the last hint.
    observe(answer, case): runs the answer on a copy of the case and says what it did.
    hints: from the vaguest to the clearest.
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

    def hint(self, step: int) -> str:
        """The step-th hint, from 1; past the last one, the library's own source."""
        if step < 1:
            raise ValueError(f"hints are counted from 1, got {step}")
        if step <= len(self.hints):
            return f"Hint {step} of {len(self.hints) + 1}: {self.hints[step - 1]}"
        return f"The library's own:\n\n{textwrap.dedent(inspect.getsource(self.key))}"


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
