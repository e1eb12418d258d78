"""Numbers as 32-bit fixed point, so that a network switch, which knows whole numbers only, can add.

A. Sapio et al., "Scaling Distributed Machine Learning with In-Network Aggregation", NSDI 2021,
arXiv 1903.06701: a worker sends round(f x), the switch adds n of them, and the sum divided by f is
the result. f is the scaling factor.

*Error.* Rounding moves each f x_i by less than 1, so the result is off by less than n / f. (To the
nearest, as here, by about n / 2f.) It is decoded in float64: in float32 a sum near 2^31 would be
off by up to 64 / f more.

*Overflow.* If no |x_i| is above B, then |round(f x_i)| < f B + 1, and n of them add up to less than
n (f B + 1), which is at most 2^31 if f <= (2^31 - n) / (n B). So this condition, which is the
paper's as it is quoted (its text was not at hand), is enough for any rounding to a neighbour. The
authors' code (p4lang/p4app-switchML) takes (2^31 - 1) / (n 2^m) for values below 2^m, which is
enough for float32 and up to 256 workers, but not for float64: four workers with a value just below
2^m each round it up to 2^29.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable

import numpy as np

LIMIT = 1 << 31  # what a whole number of 32 bits stays below
LEAST = -960  # the exponent of a block of zeros, so that its scale is finite

# What to do with numbers beyond 32 bits: (whole numbers (k,), what is wrong with the i-th) -> int32
Overflow = Callable[[np.ndarray, Callable[[int], str]], np.ndarray]


def refuse(numbers: np.ndarray, wrong: Callable[[int], str]) -> np.ndarray:
    """The whole numbers, (k,), as int32; raises OverflowError for the first that does not fit."""
    beyond = (numbers < -LIMIT) | (numbers >= LIMIT)
    if beyond.any():
        raise OverflowError(f"{wrong(int(beyond.argmax()))}, which is beyond 32 bits")
    return numbers.astype(np.int32)


def saturate(numbers: np.ndarray, wrong: Callable[[int], str]) -> np.ndarray:
    """The whole numbers, (k,), as int32; those that do not fit as the nearest that does."""
    return np.clip(numbers, -LIMIT, LIMIT - 1).astype(np.int32)


def scale_for(n: int, bound: float) -> float:
    """(2^31 - n) / (n bound): the largest f with which n values up to `bound` don't overflow.

    Raises ValueError unless n >= 1 and bound > 0.
    """
    if n < 1 or not 0 < bound < math.inf:
        raise ValueError(f"a scale needs n >= 1 workers and a bound > 0, got {n} and {bound}")
    return min((LIMIT - n) / n / bound, sys.float_info.max)


def exponent(x: np.ndarray) -> int:
    """The least m with all |x| < 2^m, at least LEAST. x: finite, (k,)."""
    largest = float(np.abs(x).max(initial=0.0))
    return max(math.frexp(largest)[1], LEAST) if largest else LEAST


def block_scale(n: int, m: int) -> float:
    """The largest f with which n values below 2^m don't overflow: scale_for(n, 2^m)."""
    return math.ldexp((LIMIT - n) / n, -m)


def quantised(x: np.ndarray, f: float, rank: int, overflow: Overflow) -> np.ndarray:
    """round(f x) as int32, (k,), of x: finite float64, (k,). rank: whose it is."""
    with np.errstate(over="ignore"):  # infinity is beyond 32 bits, too
        numbers = np.rint(f * x)
    return overflow(
        numbers, lambda i: f"rank {rank}'s value {x[i]:g} at scale {f:g} is {numbers[i]:.4g}"
    )
