"""Bulyan: Krum until n - 2f are selected, then each coordinate's values around its median."""

from __future__ import annotations

from typing import Any

import numpy as np

from ddml_kit.aggregation import bounds
from ddml_kit.aggregation.distances import squared_distances
from ddml_kit.aggregation.gradients import examined
from ddml_kit.aggregation.kernels import columns
from ddml_kit.aggregation.networks import network


def bulyan(gradients: Any, f: int) -> Any:
    """The mean of each coordinate's n - 4f values around its median in n - 2f selected, (d,)."""
    given = examined(gradients, f, bounds.BULYAN).without_lies()
    n, f = given.n, given.f
    distances = squared_distances(given.rows)
    left = list(range(n))
    selected: list[int] = []
    while len(selected) < n - 2 * f:
        count = max(1, len(left) - f - 2)
        scores = np.sort(distances[np.ix_(left, left)], axis=1)[:, 1 : 1 + count].sum(axis=1)
        selected.append(left.pop(int(np.argmin(scores))))
    chosen = given.rows[np.sort(selected)]
    out = np.empty(chosen.shape[1], chosen.dtype)
    columns.around_median(chosen, network(len(chosen)), n - 4 * f, out)
    return given.back(out)
