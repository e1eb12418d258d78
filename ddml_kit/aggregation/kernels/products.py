"""Inner products among n gradients less one of them, in float64, in one pass, compiled by numba.

WIDTH columns at a time are written next to each other as float64 differences, and 4 x 4 products
are summed at once, so that each number that is read from there is used four times: about twice as
fast as a general matrix product for as few rows as these, with as many digits.

`fastmath` is restricted to sums in another order and to fused operations. The interpreter's lock is
released meanwhile.
"""

from __future__ import annotations

import numba
import numpy as np

compiled = numba.njit(
    cache=True, nogil=True, fastmath={"reassoc", "contract", "nsz"}, error_model="numpy"
)

WIDTH = 512  # columns of a block: 512 x 100 float64 are 400 KB
TILE = 4


@compiled
def gram(rows, reference, products):
    """Write the inner products of the rows less the reference into products, (n, n) float64.

    rows: (n, d). reference: (d,).
    """
    n, d = rows.shape
    padded = (n + TILE - 1) // TILE * TILE
    block = np.zeros((padded, WIDTH), np.float64)
    sums = np.zeros((padded, padded), np.float64)
    for start in range(0, d, WIDTH):
        width = min(WIDTH, d - start)
        there = reference[start : start + width]
        for i in range(n):
            here, difference = rows[i, start : start + width], block[i]
            for c in range(width):
                difference[c] = np.float64(here[c]) - np.float64(there[c])
        for i in range(0, padded, TILE):
            for j in range(0, i + 1, TILE):
                add_tile(block, i, j, width, sums)
    for i in range(n):
        for j in range(i + 1):
            products[i, j] = products[j, i] = sums[i, j]


@compiled
def add_tile(block, i, j, width, sums):
    """Add the products of rows i to i + 3 with rows j to j + 3, in the first `width` columns."""
    a0, a1, a2, a3 = block[i], block[i + 1], block[i + 2], block[i + 3]
    b0, b1, b2, b3 = block[j], block[j + 1], block[j + 2], block[j + 3]
    s00 = s01 = s02 = s03 = s10 = s11 = s12 = s13 = 0.0
    s20 = s21 = s22 = s23 = s30 = s31 = s32 = s33 = 0.0
    for c in range(width):
        x0, x1, x2, x3 = a0[c], a1[c], a2[c], a3[c]
        y0, y1, y2, y3 = b0[c], b1[c], b2[c], b3[c]
        s00 += x0 * y0
        s01 += x0 * y1
        s02 += x0 * y2
        s03 += x0 * y3
        s10 += x1 * y0
        s11 += x1 * y1
        s12 += x1 * y2
        s13 += x1 * y3
        s20 += x2 * y0
        s21 += x2 * y1
        s22 += x2 * y2
        s23 += x2 * y3
        s30 += x3 * y0
        s31 += x3 * y1
        s32 += x3 * y2
        s33 += x3 * y3
    for row, (p, q, r, s) in enumerate(
        (
            (s00, s01, s02, s03),
            (s10, s11, s12, s13),
            (s20, s21, s22, s23),
            (s30, s31, s32, s33),
        )
    ):
        sums[i + row, j] += p
        sums[i + row, j + 1] += q
        sums[i + row, j + 2] += r
        sums[i + row, j + 3] += s
