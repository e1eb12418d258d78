"""Stochastic gradients of sparse logistic regression, many samples a call, compiled by numba.

Nothing is compiled on import: the first call does it, and leaves the machine code beside this
file, or in the user's cache directory where that can't be written. The interpreter's lock is
released meanwhile.

`fastmath` is restricted to "contract": a product and a sum may become one fused operation, but no
sum changes its order, so that the bits don't depend on how many samples a call is handed. Counts
and indices are unsigned, or numba would test each for counting from the end.
"""

from __future__ import annotations

import math

import numba
import numpy as np

compiled = numba.njit(cache=True, nogil=True, fastmath={"contract"}, error_model="numpy")

ONE, TWO, THREE, FOUR = np.uint64(1), np.uint64(2), np.uint64(3), np.uint64(4)


@compiled
def sgd(w, values, indices, indptr, y, lr):
    """One step of size lr for each row, in order and in place, by plain loads and stores.

    w: (dim,) float32, which others may write as well. values, indices, indptr: the rows, as in
    problems.csr. y: (n,) of 0 and 1. A step writes the coordinates of its row only.
    """
    lr = np.float32(lr)
    for row in range(len(y)):
        i = np.uint64(row)
        first, last = np.uint64(indptr[i]), np.uint64(indptr[i + ONE])
        a = b = c = d = np.float32(0)  # four sums, so that none waits for the one before
        j = first
        while j + FOUR <= last:
            a += w[np.uint32(indices[j])] * values[j]
            b += w[np.uint32(indices[j + ONE])] * values[j + ONE]
            c += w[np.uint32(indices[j + TWO])] * values[j + TWO]
            d += w[np.uint32(indices[j + THREE])] * values[j + THREE]
            j += FOUR
        while j < last:
            a += w[np.uint32(indices[j])] * values[j]
            j += ONE
        p = np.float32(1) / (np.float32(1) + math.exp(-((a + b) + (c + d))))
        step = lr * (np.float32(y[i]) - p)
        j = first
        while j < last:
            w[np.uint32(indices[j])] += step * values[j]
            j += ONE


@compiled
def sgd_written_back(w, values, indices, indptr, y, lr, start, base, delay, block):
    """The same on a copy of one's own of the model, whose changes are written back by turns.

    The model is w[: len(base)], and the copy, to which the rows refer, w[start : start +
    len(base)]. base: what the copy was when both last agreed. After every `delay` rows the first
    `block` coordinates are written back, after every second time 2 block, after every fourth
    4 block, and so on. All are at the beginning, so that the copy is fresh, and at the end.
    """
    ours, mine = w[: len(base)], w[start : start + len(base)]
    write_back(ours, mine, base, len(base))
    for turn, first in enumerate(range(0, len(y), delay), 1):
        last = min(first + delay, len(y))
        sgd(w, values, indices, indptr[first : last + 1], y[first:last], lr)
        write_back(ours, mine, base, min(len(base), block * (turn & -turn)))
    write_back(ours, mine, base, len(base))


@compiled
def write_back(ours, mine, base, count):
    """Add to the first `count` of `ours` what `mine` has changed since `base`; then all agree."""
    for h in range(count):
        agreed = ours[h] + (mine[h] - base[h])
        ours[h] = agreed
        mine[h] = agreed
        base[h] = agreed
