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


def mixed(z):
    """Numbers of 64 bits, uint64, whose upper half hangs on all of z, a number or an array."""
    z = (z ^ (z >> np.uint64(30))) * FIRST
    return (z ^ (z >> np.uint64(27))) * SECOND


_mixed = numba.njit(mixed, inline="always")


@numba.njit(cache=True, nogil=True, fastmath={"reassoc", "contract"}, error_model="numpy")
def squares(x, bucket, totals):
    """Write into totals the sum of squares of every `bucket` entries of x, (d,) float32.

    totals: (d / bucket,) float64, rounded up.
    """
    for j in range(len(totals)):
        part = x[j * bucket : (j + 1) * bucket]
        total = 0.0
        for i in range(len(part)):
            total += np.float64(part[i]) * np.float64(part[i])
        totals[j] = total


@compiled
def levels(x, bucket, ratios, seed, out):
    """Write sign(x_i) times floor(|x_i| ratio + u_i) into out, (d,) int16; u_i uniform in [0, 1).

    x: (d,) float32. ratios: float64, one for every `bucket` entries; every |x_i| ratio is below
    2^15. seed: uint64. u_i has 32 bits, so that the sum in float64 is exact but for its last ones.
    """
    for j in range(len(ratios)):
        part, whole, ratio = x[j * bucket : (j + 1) * bucket], out[j * bucket :], ratios[j]
        for i in range(len(part)):
            z = _mixed(np.uint64(seed) + np.uint64(j * bucket + i) * STEP)
            u = np.float64(np.int64(z >> np.uint64(32))) * UNIT
            size = np.int32(abs(np.float64(part[i])) * ratio + u)
            whole[i] = np.int16(-size if part[i] < 0 else size)


@compiled
def values(numbers, bucket, units, x):
    """Write numbers, (d,) int16, times the unit of their bucket, float64, into x, (d,) float32."""
    for j in range(len(units)):
        part, whole, unit = x[j * bucket : (j + 1) * bucket], numbers[j * bucket :], units[j]
        for i in range(len(part)):
            part[i] = np.float32(np.float64(whole[i]) * unit)
