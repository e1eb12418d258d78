"""Sums along the rows of n gradients, in float64, a block of columns at a time, compiled by numba.

`fastmath` is restricted to sums in another order and to fused operations, so that many columns are
summed at once; the order depends on the number of columns alone. The interpreter's lock is released
meanwhile.
"""

from __future__ import annotations

import numba
import numpy as np

compiled = numba.njit(
    cache=True, nogil=True, fastmath={"reassoc", "contract", "nsz"}, error_model="numpy"
)
exactly = numba.njit(cache=True, nogil=True, error_model="numpy")

WIDTH = 1024  # columns of a block
LARGEST = 1e150  # whose square is still far from the largest float64


@compiled
def squared_from(rows, point, out):
    """Write the squared distance of each row from the point into out, (n,) float64.

    rows: (n, d). point: (d,). Swapping a row and the point changes no bit.
    """
    d = len(point)
    out[:] = 0
    for start in range(0, d, WIDTH):
        end = min(start + WIDTH, d)
        for i in range(len(rows)):
            total = 0.0
            for c in range(start, end):
                difference = np.float64(rows[i, c]) - np.float64(point[c])
                total += difference * difference
            out[i] += total


@exactly
def weighted(rows, weights, out):
    """Write the sum of weights[i] times row i into out, (d,), folded in the order of the rows."""
    n, d = rows.shape
    total = np.empty(WIDTH, np.float64)
    for start in range(0, d, WIDTH):
        width = min(WIDTH, d - start)
        total[:] = 0
        for i in range(n):
            weight = weights[i]
            for c in range(width):
                total[c] += weight * rows[i, start + c]
        for c in range(width):
            out[start + c] = total[c]


@exactly
def finite(rows, out):
    """Write into out, (n,), which rows have no NaN, no infinity and nothing beyond LARGEST."""
    n, d = rows.shape
    for i in range(n):
        wrong = 0
        for c in range(d):
            wrong += not abs(rows[i, c]) <= LARGEST
        out[i] = wrong == 0
