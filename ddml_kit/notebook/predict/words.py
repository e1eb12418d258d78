"""How far a prediction was from what happened, in words."""

from __future__ import annotations

import math

import numpy as np

from ddml_kit.notebook.units import number_text

CLOSE = 0.05  # a number within 5 % counts as right


def with_unit(value: float, unit: str = "") -> str:
    """A number with its unit, which is singular for one: 3 messages, 1 message, 1 ms."""
    number = number_text(value)
    if not unit:
        return number
    noun, *rest = unit.split(" ")
    return " ".join([number, singular(noun) if number == "1" else noun, *rest])


def singular(noun: str) -> str:
    """One of them: message of messages, copy of copies, batch of batches; ms, loss stay."""
    if not noun.isalpha() or len(noun) < 4 or not noun.endswith("s") or noun.endswith("ss"):
        return noun
    if noun.endswith("ies"):
        return noun[:-3] + "y"
    if noun.endswith(("sses", "xes", "ches", "shes")):
        return noun[:-2]
    return noun[:-1]


def number_was(measured: float, unit: str = "") -> str:
    """What a number was: 3 messages."""
    if math.isnan(measured):
        return "it could not be measured"
    return "it was infinite" if math.isinf(measured) else f"it was {with_unit(measured, unit)}"


def number_in_words(said: float, measured: float, unit: str = "") -> str:
    """A sentence that compares two numbers: the ratio where that is large, else the percentage."""
    start = f"You said {with_unit(said, unit)}; {number_was(measured, unit)}"
    if not math.isfinite(measured):
        return f"{start}."
    side = "high" if said > measured else "low"
    if said == measured:
        return f"{start}: exactly."
    if measured == 0 or said * measured <= 0:
        return f"{start}: {with_unit(abs(said - measured), unit)} too {side}."
    ratio = said / measured
    if abs(ratio - 1) <= CLOSE:
        return f"{start}: within 5 %."
    size = max(abs(ratio), 1 / abs(ratio))
    if size >= 2:
        return f"{start}: too {side} by a factor of {number_text(float(f'{size:.2g}'))}."
    return f"{start}: {abs(ratio - 1):.0%} too {side}.".replace("%", " %")


def choice_in_words(said: str, measured: str) -> str:
    """A sentence that compares two options."""
    if said == measured:
        return f"You said {said}: so it was."
    return f"You said {said}; it was {measured}."


def curve_was(x: np.ndarray, measured: np.ndarray, unit: str = "") -> str:
    """A sentence on a curve: its ends, and where it was highest or lowest in between."""

    def at(k: int) -> str:
        return f"{with_unit(float(measured[k]), unit)} at {number_text(float(x[k]))}"

    words = f"It went from {at(0)} to {at(len(x) - 1)}"
    ends = (measured[0], measured[-1])
    if measured.max() > max(ends):
        words += f", and was highest with {at(int(measured.argmax()))}"
    if measured.min() < min(ends):
        words += f", and was lowest with {at(int(measured.argmin()))}"
    return f"{words}."


def curve_in_words(x: np.ndarray, said: np.ndarray, measured: np.ndarray, unit: str = "") -> str:
    """A sentence on two curves over the same x, (k,): the mean distance, and the largest."""
    distance = np.abs(said - measured)
    worst = int(np.argmax(distance))
    level = float(np.mean(np.abs(measured))) or 1.0
    if distance.max() <= CLOSE * level:
        return f"Your curve is within {with_unit(distance.max(), unit)} everywhere."
    side = "high" if said[worst] > measured[worst] else "low"
    away = with_unit(float(f"{distance.mean():.2g}"), unit)
    return (
        f"On average your curve is {away} away; furthest at {number_text(x[worst])}, where you "
        f"said {with_unit(said[worst], unit)} and it was {with_unit(measured[worst], unit)}: "
        f"too {side}."
    )
