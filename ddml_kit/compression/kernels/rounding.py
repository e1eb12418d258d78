"""A vector rounded at random to whole levels, so that each is right on average. Compiled.

The uniform numbers come from a counter: number i is a hash of (seed, i), the output function of
SplitMix64 (G. Steele, D. Lea, C. Flood, "Fast splittable pseudorandom number generators", OOPSLA
2014). None depends on the one before, so that many are made at a time.
"""

from __future__ import annotations

import numba
import numpy as np

compiled = numba.njit(cache=True, nogil=True, error_model="numpy")

STEP = np.uint64(0x9E3779B97F4A7C15)
FIRST, SECOND = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
UNIT = 2.0**-32


@numba.njit(cache=True, nogil=True, fastmath={"reassoc", "contract"}, error_model="numpy")
def squares(x):
    """The sum of squares of x, (d,) float32, in float64."""
    total = 0.0
    for i in range(len(x)):
        total += np.float64(x[i]) * np.float64(x[i])
    return total


@compiled
def levels(x, ratio, seed, first, out):
    """Write sign(x_i) times floor(|x_i| ratio + u_i) into out, (d,) int16; u_i uniform in [0, 1).

    x: (d,) float32. ratio: float64; every |x_i| ratio is below 2^15. seed: uint64; first: the
    number of the first u. u has 32 bits, so that the sum in float64 is exact but for its last ones.
    """
    for i in range(len(x)):
        z = np.uint64(seed) + np.uint64(first + i) * STEP
        z = (z ^ (z >> np.uint64(30))) * FIRST
        z = (z ^ (z >> np.uint64(27))) * SECOND
        u = np.float64(np.int64(z >> np.uint64(32))) * UNIT
        size = np.int32(abs(np.float64(x[i])) * ratio + u)
        out[i] = np.int16(-size if x[i] < 0 else size)


@compiled
def values(numbers, unit, x):
    """Write numbers, (d,) int16, times unit, a float64, into x, (d,) float32."""
    for i in range(len(x)):
        x[i] = np.float32(np.float64(numbers[i]) * unit)
