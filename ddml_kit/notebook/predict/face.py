"""The widget of a question: what Python tells the page; the page sends what was answered.

One widget with native inputs, as a dashboard is, which a keyboard and a screen reader understand.
The page sends an answer as it stands; whether it is one is decided in Python.
"""

from __future__ import annotations

from pathlib import Path

import anywidget
import traitlets

_HERE = Path(__file__).parent


class Face(anywidget.AnyWidget):
    """State of the page. answer: what is kept: a text, or the heights of a curve; None: nothing."""

    _esm = (_HERE / "question.js").read_text(encoding="utf8")
    _css = (_HERE / "question.css").read_text(encoding="utf8")

    spec = traitlets.Dict().tag(sync=True)  # kind, text, and what this kind needs: fixed
    answer = traitlets.Any(None).tag(sync=True)
    note = traitlets.Dict().tag(sync=True)  # text beside the button; wrong; turn: counts the notes
