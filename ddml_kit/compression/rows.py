"""A codec over a matrix, row by row: for programs that are written as matrices."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ddml_kit.compression.codec import Codec


def rows(codec: Codec, rng: np.random.Generator) -> Callable[[np.ndarray], np.ndarray]:
    """X, (n, d), to what is left of each of its rows, (n, d) float64, a new array.

    rng: what a random codec draws from, row after row. Raises what the codec raises.
    """

    def through(X: np.ndarray) -> np.ndarray:
        return np.array([codec.decode(codec.encode(x, rng)) for x in X], np.float64)

    return through
