"""What is taken of each column of n gradients once it is in order, compiled by numba.

WIDTH columns at a time are copied next to each other and put in order by a sorting network (K. E.
Batcher, "Sorting networks and their applications", AFIPS 1968): the same comparisons whatever the
values, so that one instruction compares many columns. The interpreter's lock is released meanwhile.

Sums are float64, in ascending order of the values, so that the bits don't depend on the order of
the gradients. Whether a value was not finite is returned and not acted upon.
"""

from __future__ import annotations

import numba
import numpy as np

compiled = numba.njit(cache=True, nogil=True, error_model="numpy")

WIDTH = 128  # columns of a block: 128 x 100 float32 are 50 KB


@compiled
def middle(rows, network, first, last, out):
    """Write the mean of the values number `first` to `last` - 1 of each column into out, (d,).

    rows: (n, d), C-contiguous. network: (k, 2) int64, the pairs to compare, lower place first.
    Returns whether all values were finite.
    """
    n, d = rows.shape
    block = np.empty((n, WIDTH), rows.dtype)
    total = np.empty(WIDTH, np.float64)
    finite = True
    for start in range(0, d, WIDTH):
        width = min(WIDTH, d - start)
        finite &= load(rows, start, width, block)
        order(block, network)
        total[:] = 0
        for i in range(first, last):
            for c in range(WIDTH):
                total[c] += block[i, c]
        there = out[start : start + width]
        for c in range(width):
            there[c] = total[c] / (last - first)
    return finite


@compiled
def around_median(rows, network, keep, out):
    """Write the mean of the `keep` values next to the median of each column into out, (d,).

    Of all runs of `keep` values in order, it is the one whose farther end is nearest to the median;
    of two as near, the lower. rows, network: as in `middle`. Returns whether all were finite.
    """
    n, d = rows.shape
    block = np.empty((n, WIDTH), rows.dtype)
    finite = True
    for start in range(0, d, WIDTH):
        width = min(WIDTH, d - start)
        finite &= load(rows, start, width, block)
        order(block, network)
        for c in range(width):
            median = (np.float64(block[(n - 1) // 2, c]) + np.float64(block[n // 2, c])) / 2
            first = 0
            while first + keep < n and np.float64(
                block[first + keep, c]
            ) - median < median - np.float64(block[first, c]):
                first += 1
            total = 0.0
            for i in range(first, first + keep):
                total += block[i, c]
            out[start + c] = total / keep
    return finite


@compiled
def load(rows, start, width, block):
    """Copy `width` columns from `start` on into the block; whether all are finite."""
    wrong = 0
    for i in range(len(rows)):
        row, copy = rows[i, start : start + width], block[i]
        for c in range(len(row)):
            x = row[c]
            copy[c] = x
            wrong += x - x != 0
        copy[width:] = 0
    return wrong == 0


@compiled
def order(block, network):
    """Put each column of the block in ascending order, in place."""
    for k in range(len(network)):
        low, high = block[network[k, 0]], block[network[k, 1]]
        for c in range(WIDTH):
            a, b = low[c], high[c]
            low[c] = a if a < b else b
            high[c] = b if a < b else a
