"""What multiplies the learning rate at each step: functions of the step, from 0."""

from __future__ import annotations

from collections.abc import Callable

Schedule = Callable[[int], float]


def constant(step: int) -> float:
    """The rate stays as it is."""
    return 1.0
