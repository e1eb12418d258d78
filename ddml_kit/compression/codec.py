"""What every codec offers, and what it asks of a vector.

A codec is a frozen dataclass of its settings with two pure methods. Values travel as float32 where
a codec doesn't say otherwise, whatever the vector's dtype. A random one draws from the generator
that it is handed, in a program `comm.stream("codec")`.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

from ddml_kit.compression.kernels import sizes
from ddml_kit.compression.payload import Payload


class Codec(Protocol):
    """encode turns a vector into a payload, decode a payload into what is left of the vector."""

    def encode(self, x: np.ndarray, rng: np.random.Generator | None = None) -> Payload:
        """What travels instead of x, (d,) of float32 or float64.

        Raises ValueError if x is no vector, or the codec is random and rng is None;
        FloatingPointError if x is not finite as float32.
        """
        ...

    def decode(self, payload: Payload) -> np.ndarray:
        """The vector that the payload stands for, (d,) float32, a new array.

        Raises ValueError if the payload is truncated or of another length.
        """
        ...


def vector(x: Any) -> np.ndarray:
    """x as float32, (d,), contiguous: a copy only where it has to be. Not yet known to be finite.

    Raises ValueError if x is not a vector, TypeError if it is not of float32 or float64.
    """
    x = np.asarray(x)
    if x.ndim != 1:
        raise ValueError(f"a codec encodes a vector, (d,), got shape {x.shape}")
    if x.dtype not in (np.float32, np.float64):
        raise TypeError(f"a codec encodes float32 or float64, got {x.dtype}")
    with np.errstate(over="ignore"):  # what is too large for float32 is told by check_finite
        return np.ascontiguousarray(x, np.float32)


def check_finite(values: np.ndarray, total: float | None = None) -> None:
    """Raises FloatingPointError if some of the values, (d,) float32, are NaN or infinite.

    total: their largest size, or the sum of all in float64, where it is known: if it is finite,
    they are.
    """
    if total is not None and np.isfinite(total):
        return
    finite = np.isfinite(values)
    if not finite.all():
        raise FloatingPointError(
            f"a codec needs finite values, got {finite.size - np.count_nonzero(finite)} of "
            f"{finite.size} that are NaN, infinite or too large for float32: the data have such "
            "values, or the step size is too large"
        )


def finite_vector(x: Any) -> np.ndarray:
    """x as float32, (d,), contiguous and finite. Raises what `vector` and `check_finite` raise."""
    values = vector(x)
    largest_size(values)
    return values


def largest_size(values: np.ndarray) -> float:
    """The largest |x_i| of (d,) float32; 0 of an empty one. Raises what `check_finite` raises."""
    top = np.array(sizes.largest(values.view(np.uint32)), np.uint32).view(np.float32)
    check_finite(values, float(top))
    return float(top)


def drawn(rng: np.random.Generator | None, what: str) -> np.random.Generator:
    """The generator. Raises ValueError if there is none. what: the codec, for the text."""
    if rng is None:
        raise ValueError(f"{what} is random: encode(x, rng) needs a numpy Generator, got None")
    return rng


def check_k(k: int | float) -> None:
    """Raises ValueError or TypeError unless k is a count from 1, or a fraction up to 1.

    The one rule for all codecs: an int is a number of entries, a float a fraction of them.
    """
    if isinstance(k, bool) or not isinstance(k, int | float | np.integer | np.floating):
        raise TypeError(f"k is a count (int) or a fraction (float), got {type(k).__name__}")
    if isinstance(k, float | np.floating):
        if not 0 < k <= 1:
            raise ValueError(f"k as a fraction lies above 0 and at most at 1, got k={float(k)}")
    elif k < 1:
        raise ValueError(f"k as a count is at least 1, got k={k}")


def count(k: int | float, d: int) -> int:
    """How many of d entries k means: k itself, or of a fraction the nearest count, at least 1.

    Raises ValueError if it is more than d.
    """
    many = max(1, round(float(k) * d)) if isinstance(k, float | np.floating) else int(k)
    if many > d:
        raise ValueError(f"k must be at most the length of the vector, got k={k} with d={d}")
    return many
