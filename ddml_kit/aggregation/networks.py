"""Sorting networks, the pairs of places to compare. K. E. Batcher, AFIPS 1968: merge exchange.

D. E. Knuth, The Art of Computer Programming 3, algorithm 5.2.2M, which is Batcher's for any n.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np


@lru_cache
def network(n: int, first: int = 0, last: int | None = None) -> np.ndarray:
    """The pairs to compare so that n values end in ascending order, (k, 2) int64.

    first, last: only the places from first to last - 1 need be right; comparisons that have no part
    in them are left out.
    """
    last = n if last is None else last
    kept: list[tuple[int, int]] = []
    wanted = set(range(first, last))
    for pair in reversed(merge_exchange(n)):
        if not wanted.isdisjoint(pair):
            wanted.update(pair)
            kept.append(pair)
    pairs = np.array(kept[::-1], np.int64).reshape(-1, 2)
    pairs.setflags(write=False)
    return pairs


def merge_exchange(n: int) -> list[tuple[int, int]]:
    """All pairs of places to compare, in order: about n (log2 n)^2 / 4 of them."""
    pairs = []
    top = 1 << max(0, (n - 1).bit_length() - 1)
    p = top
    while p > 0:
        q, r, step = top, 0, p
        while step > 0:
            pairs += [(i, i + step) for i in range(n - step) if i & p == r]
            step, q, r = q - p, q >> 1, p
            if q < p:
                break
        p >>= 1
    return pairs
