"""A question that a learner answers before the run, and the answer beside what happened.

The answer is kept in a local file (store.py) as soon as it is given, by the widget or by `say`.
It can be changed at any time; the last one counts.
"""

from __future__ import annotations

import html
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ddml_kit.notebook.figures.curves import Over
from ddml_kit.notebook.predict import store
from ddml_kit.notebook.predict.face import Face

NOTHING = "You made no prediction; next time, commit to one first."


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
    """A question by its name, which is unique in the course, and its text.

    Show it as the last line of a cell. A file of predictions that can't be read counts as no
    prediction, so that it ends no cell; the widget and `compare` say what is wrong with it.
    """

    first: str  # what to do before Commit

    def __init__(self, name: str, text: str, file: Path = store.FILE) -> None:
        self.name, self.text, self._file = name, text, file
        self._face: Face | None = None
        self._turn = 0

    # ------------------------------------------------------------ what a lab calls

    @property
    def said(self) -> Any:
        """What was predicted, or None."""
        return self._kept()[0]

    def say(self, value: Any) -> None:
        """Commit to a value; the same as the widget, for headless use.

        Raises ValueError for what is no answer, OSError if the file can't be written.
        """
        store.write(self.name, self._checked(value), self._file)
        self._refresh("Kept.")

    def compare(self, measured: Any) -> Comparison:
        """The prediction laid over what was measured, in words."""
        said, trouble = self._kept()
        if said is None:
            return Comparison(f"{self._was(measured)} {trouble or NOTHING}", False)
        return Comparison(self._compared(said, measured), True)

    def in_words(self) -> str:
        """What was said, with its unit: 3 messages. Empty if nothing was, and for a curve."""
        return ""

    def line(self, over: Over) -> tuple[Sequence[float], Sequence[float]] | None:
        """A curve that was drawn over this axis, x and y; None without one."""
        return None

    # ------------------------------------------------------------ how it is shown

    def __repr__(self) -> str:
        return f"Predict: {self._asked()} Run this cell to answer, or call say(...)."

    def _repr_mimebundle_(self, **kwargs: Any) -> dict[str, Any]:
        """The widget, and words for where there is none, the same whatever was answered."""
        if self._face is None:
            self._face = Face(spec={"text": self.text, **self._spec()})
            self._face.on_msg(self._pressed)
        said, trouble = self._kept()
        self._refresh(trouble or ("" if said is None else "Kept from before."), bool(trouble))
        bundle = self._face._repr_mimebundle_()
        widget = bundle[0] if bundle else {}
        words = repr(self)
        return {**widget, "text/html": f"<p>{html.escape(words)}</p>", "text/plain": words}

    def _pressed(self, face: Face, message: Mapping[str, Any], buffers: Any) -> None:
        """Keep what was answered, or say why not."""
        answer = message["answer"]
        if answer is None or (isinstance(answer, str) and not answer.strip()):
            return self._refresh(self.first, wrong=True)
        try:
            self.say(answer)
        except ValueError as error:
            self._refresh(f"Not kept: {error}.", wrong=True)
        except OSError as error:
            reason = error.strerror or str(error)
            self._refresh(f"Not kept: {self._file} can't be written ({reason}).", wrong=True)

    def _refresh(self, note: str, wrong: bool = False) -> None:
        """Show what is kept, with a note beside the button, if the question is on a page."""
        if self._face is None:
            return
        said = self.said
        self._turn += 1
        self._face.answer = None if said is None else self._answer(said)
        self._face.note = {"text": note, "wrong": wrong, "turn": self._turn}

    def _kept(self) -> tuple[Any, str]:
        """What was predicted, or None; and a sentence if there is something, but no answer."""
        try:
            value = store.read(self._file).get(self.name)
        except ValueError as error:
            return None, f"{str(error)[:1].upper()}{str(error)[1:]}."
        except OSError as error:
            return None, f"{self._file} can't be read ({error.strerror or error})."
        try:
            return None if value is None else self._checked(value), ""
        except ValueError as error:
            return None, f"What {self._file} has does not answer this question: {error}."

    # ------------------------------------------------------------ what each kind says

    @abstractmethod
    def _checked(self, value: Any) -> Any:
        """The answer as it is kept; also takes what is kept. Raises ValueError."""

    @abstractmethod
    def _compared(self, said: Any, measured: Any) -> str:
        """The prediction beside what was measured, a sentence."""

    @abstractmethod
    def _was(self, measured: Any) -> str:
        """What was measured, a sentence."""

    @abstractmethod
    def _asked(self) -> str:
        """The question and what can be answered, a sentence."""

    @abstractmethod
    def _spec(self) -> dict[str, Any]:
        """What the page has to know."""

    def _answer(self, said: Any) -> Any:
        """What is kept, as the page shows it."""
        return said
