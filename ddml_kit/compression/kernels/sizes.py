"""Entries found by their size, |x_i|. Compiled.

The bits of a float32 without its sign, read as a whole number, are in the order of its size, with
infinity above all numbers and NaN above that; whole numbers are compared many at a time.
"""

from __future__ import annotations

import numba
import numpy as np

compiled = numba.njit(cache=True, nogil=True, error_model="numpy")

SIZE = np.uint32(0x7FFFFFFF)  # all bits but the sign
BLOCK = 16


@compiled
def largest(words):
    """The largest size, uint32, of x as words, (d,) uint32; 0 of none."""
    top = np.uint32(0)
    for i in range(len(words)):
        top = max(top, np.uint32(words[i] & SIZE))
    return top


@compiled
def collect(words, least, indices):
    """Write the indices of the entries of size `least` or more, rising; returns their number.

    words: (d,) uint32. indices: (room,) uint32; where there are more than it has room for, the
    number is room + 1, and they are not all there.
    """
    least = np.uint32(least)
    room, found = len(indices), 0
    whole = len(words) // BLOCK
    for block in range(whole + 1):
        first = np.uint64(block * BLOCK)
        if block < whole:
            top = np.uint32(0)
            for i in range(BLOCK):
                top = max(top, np.uint32(words[first + np.uint64(i)] & SIZE))
            if top < least:  # so it is of most blocks
                continue
            end = BLOCK
        else:
            end = len(words) - whole * BLOCK
        if found + end > room:
            return room + 1
        for i in range(end):
            at = first + np.uint64(i)
            indices[np.uint64(found)] = at
            found += np.uint32(words[at] & SIZE) >= least
    return found


@compiled
def scatter(indices, values, x):
    """x[indices] = values; x: (d,). Returns False where an index is d or more."""
    for i in range(len(indices)):
        at = np.uint64(indices[i])
        if at >= np.uint64(len(x)):
            return False
        x[at] = values[i]
    return True
