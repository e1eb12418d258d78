"""Squared distances among n gradients."""

from __future__ import annotations

import numpy as np


def squared_distances(rows: np.ndarray) -> np.ndarray:
    """The squared distance of each two gradients, (n, n) float64."""
    n = len(rows)
    squared = np.zeros((n, n))
    for i in range(n):
        for j in range(i):
            difference = rows[i].astype(np.float64) - rows[j]
            squared[i, j] = squared[j, i] = difference @ difference
    return squared
