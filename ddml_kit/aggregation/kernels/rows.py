"""Sums along the rows of n gradients, in float64, a block of columns at a time, compiled by numba.

`fastmath` is restricted to sums in another order and to fused operations, so that many columns are
summed at once; the order depends on the number of columns alone. The interpreter's lock is released
meanwhile. Slices are taken so that no index needs to be tested for counting from the end.
"""

from __future__ import annotations

import numba
import numpy as np

compiled = numba.njit(
    cache=True, nogil=True, fastmath={"reassoc", "contract", "nsz"}, error_model="numpy"
)
exactly = numba.njit(cache=True, nogil=True, error_model="numpy")

WIDTH = 1024  # columns of a block
LARGEST = 1e140  # so many squares of it can be summed in float64


@compiled
def squared_from(rows, point, out):
    """Write the squared distance of each row from the point into out, (n,) float64.

    rows: (n, d). point: (d,). Swapping a row and the point changes no bit.
    """
    d = len(point)
    out[:] = 0
    for start in range(0, d, WIDTH):
        end = min(start + WIDTH, d)
        there = point[start:end]
        for i in range(len(rows)):
            here = rows[i, start:end]
            total = 0.0
            for c in range(len(there)):
                difference = np.float64(here[c]) - np.float64(there[c])
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
            row = rows[i, start : start + width]
            for c in range(len(row)):
                total[c] += weight * row[c]
        there = out[start : start + width]
        for c in range(len(there)):
            there[c] = total[c]


@exactly
def finite(rows, out):
    """Write into out, (n,), which rows have no NaN, no infinity and nothing beyond LARGEST."""
    n, d = rows.shape
    for i in range(n):
        wrong = 0
        for c in range(d):
            wrong += not abs(rows[i, c]) <= LARGEST
        out[i] = wrong == 0
