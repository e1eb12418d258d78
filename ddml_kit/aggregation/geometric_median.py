"""The geometric median: the point with the least sum of distances to all gradients."""

from __future__ import annotations

from typing import Any

import numpy as np

from ddml_kit.aggregation import bounds
from ddml_kit.aggregation.gradients import examined


def geometric_median(gradients: Any, f: int = 0, *, tolerance: float = 1e-6) -> Any:
    """The point with the least sum of distances to the gradients, (d,)."""
    given = examined(gradients, f, bounds.GEOMETRIC_MEDIAN).without_lies()
    rows = given.rows.astype(np.float64)
    z = rows.mean(axis=0)
    for _ in range(1000):
        weights = 1 / np.maximum(np.linalg.norm(rows - z, axis=1), 1e-12)
        before, z = z, weights @ rows / weights.sum()
        if np.linalg.norm(z - before) <= tolerance * 1e-3 * len(rows) / weights.sum():
            break
    return given.back(z.astype(given.rows.dtype))
