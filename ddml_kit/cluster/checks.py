"""What a caller hands in, as the type that it stands for; else an error with rule and value."""

from __future__ import annotations

import operator
from typing import Any


def whole(rule: str, value: Any) -> int:
    """A whole number of any type as an int. Raises TypeError: "<rule>, got <value>"."""
    try:
        return operator.index(value)
    except TypeError:
        raise TypeError(f"{rule}, got {value!r}") from None


def real(rule: str, value: Any) -> float:
    """A real number of any type as a float. Raises TypeError: "<rule>, got <value>"."""
    if not isinstance(value, str | bytes | bytearray):  # which float() would read
        try:
            return float(value)
        except (TypeError, ValueError, OverflowError, RuntimeError):
            pass
    raise TypeError(f"{rule}, got {value!r}")
