"""How far a prediction was from what happened, in words."""

from __future__ import annotations

import numpy as np

CLOSE = 0.05  # a number within 5 % counts as right


def number_in_words(said: float, measured: float, unit: str = "") -> str:
    """A sentence that compares two numbers: the ratio where that is large, else the percentage."""
    unit = f" {unit}" if unit else ""
    start = f"You said {said:.3g}{unit}; it was {measured:.3g}{unit}"
    side = "high" if said > measured else "low"
    if said == measured:
        return f"{start}: exactly."
    if measured == 0 or said * measured <= 0:
        return f"{start}: {abs(said - measured):.3g}{unit} too {side}."
    ratio = said / measured
    if abs(ratio - 1) <= CLOSE:
        return f"{start}: within 5 %."
    size = max(abs(ratio), 1 / abs(ratio))
    if size >= 2:
        return f"{start}: too {side} by a factor of {size:.2g}."
    return f"{start}: {abs(ratio - 1):.0%} too {side}.".replace("%", " %")


def choice_in_words(said: str, measured: str) -> str:
    """A sentence that compares two options."""
    if said == measured:
        return f"You said {said}: so it was."
    return f"You said {said}; it was {measured}."


def curve_in_words(x: np.ndarray, said: np.ndarray, measured: np.ndarray, unit: str = "") -> str:
    """A sentence on two curves over the same x, (k,): the mean distance, and the largest."""
    distance = np.abs(said - measured)
    worst = int(np.argmax(distance))
    unit = f" {unit}" if unit else ""
    level = float(np.mean(np.abs(measured))) or 1.0
    if distance.max() <= CLOSE * level:
        return f"Your curve is within {distance.max():.2g}{unit} everywhere."
    side = "high" if said[worst] > measured[worst] else "low"
    return (
        f"On average your curve is {distance.mean():.2g}{unit} away; furthest at {x[worst]:.3g}, "
        f"where you said {said[worst]:.3g}{unit} and it was {measured[worst]:.3g}{unit}: "
        f"too {side}."
    )
