"""Workers that are slower than others: what multiplies the duration of a rank's work."""

from __future__ import annotations

from typing import Protocol

import numpy as np


class Slowdown(Protocol):
    """A model of stragglers. Several multiply."""

    def factor(self, rank: int, seconds: float, rng: np.random.Generator) -> float:
        """How many times longer than normal this rank's work lasts that starts at `seconds`.

        rng: the rank's own stream "slowdown", one draw a call at most.
        """
        ...
