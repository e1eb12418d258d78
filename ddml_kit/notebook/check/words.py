"""Values, counts and errors as a learner reads them, whatever the learner has made of them."""

from __future__ import annotations

import traceback
from pathlib import Path
from typing import Any

import numpy as np

import ddml_kit

KIT = Path(ddml_kit.__file__).parent


def counted(n: float, noun: str) -> str:
    """1 message, 2 messages, 3 coordinates written: the noun's first word takes the s."""
    first, space, rest = noun.partition(" ")
    return f"{n:,g} {first}{'s' * (n != 1)}{space}{rest}"


def show(value: Any) -> str:
    """A value: short, arrays with a few digits, NumPy's numbers as plain ones; never raises."""
    try:
        if isinstance(value, np.ndarray):
            return np.array2string(value, precision=4, threshold=20, edgeitems=3, separator=", ")
        text = repr(_plain(value))
    except Exception as error:
        return f"a {type(value).__name__} that can't be shown ({type(error).__name__})"
    return text if len(text) <= 300 else text[:297] + "..."


def error_text(error: BaseException) -> str:
    """An error, with the learner's line that raised it; never raises."""
    name = type(error).__name__
    try:
        text = str(error)
    except Exception:
        text = "its text can't be shown"
    return (f"{name}: {text}" if text else name) + line_of(error)


def line_of(error: BaseException) -> str:
    """The learner's last line before an error: "  (line 3: x / 0)"; nothing if there is none."""
    frames = traceback.extract_tb(error.__traceback__)
    last = next((f for f in reversed(frames) if KIT not in Path(f.filename).parents), None)
    return f"  (line {last.lineno}: {last.line})" if last and last.line else ""


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    if type(value) in (tuple, list):
        return type(value)(map(_plain, value))
    return value
