"""Conjugate gradients: directions that do not undo each other.

On a quadratic of dim numbers they are at the minimum after dim steps, with a memory of one vector.
M. R. Hestenes, E. Stiefel, "Methods of Conjugate Gradients for Solving Linear Systems", Journal of
Research of the National Bureau of Standards 49(6), 1952; for other functions E. Polak, G. Ribiere,
1969, in the form of J. Nocedal, S. J. Wright, "Numerical Optimization", 2nd edition, Springer 2006,
algorithm 5.4 with equation 5.45.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np

from ddml_kit.training.line_search import Search, strong_wolfe
from ddml_kit.training.objective import Objective, Point
from ddml_kit.training.quasi_newton import first_length

FLAT = partial(strong_wolfe, c2=0.1)  # directions are conjugate where searches end near a minimum


def conjugate_gradient(f: Objective, w: np.ndarray, *, search: Search = FLAT) -> Iterator[Point]:
    """d = -g + beta d, with Polak and Ribiere's beta = max(0, g (g - g before) / |g before|^2).

    A direction that does not lead down is replaced by -g. With exact searches
    (`exact_on_quadratics`) it is the method of Hestenes and Stiefel.
    """
    at = f.at(w)
    yield at
    direction, length = -at.gradient, first_length(at)
    while True:
        slope = float(at.gradient @ direction)
        new = search(f, at, direction, length)
        if new is None:
            return
        change = new.gradient - at.gradient
        beta = max(0.0, float(new.gradient @ change) / float(at.gradient @ at.gradient))
        went = float((new.w - at.w) @ direction) / float(direction @ direction)
        direction = beta * direction - new.gradient
        if not new.gradient @ direction < 0:
            direction = -new.gradient
        # As if the slope promised as much as it did before (Nocedal and Wright, p. 59).
        next_slope = float(new.gradient @ direction)
        length = went * slope / next_slope if next_slope < 0 else 1.0
        at = new
        yield at
