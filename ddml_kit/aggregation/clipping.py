"""Gradients clipped to a ball: around the last result, or around the origin."""

from __future__ import annotations

from typing import Any

import numpy as np

from ddml_kit.aggregation import bounds
from ddml_kit.aggregation.gradients import examined


def centred_clipping(
    gradients: Any, f: int = 0, *, radius: float, steps: int = 1, start: Any = None
) -> Any:
    """start plus the mean of the gradients' differences from it, each clipped to radius, (d,)."""
    given = examined(gradients, f, bounds.CENTRED_CLIPPING).without_lies()
    rows = given.rows.astype(np.float64)
    v = np.zeros(rows.shape[1]) if start is None else np.asarray(start, np.float64).copy()
    for _ in range(steps):
        differences = rows - v
        norms = np.linalg.norm(differences, axis=1)
        v += (differences * np.minimum(1, radius / np.maximum(norms, 1e-300))[:, None]).mean(axis=0)
    return given.back(v.astype(given.rows.dtype))


def norm_clipping(gradients: Any, f: int = 0, *, radius: float) -> Any:
    """The mean of the gradients, each shortened to radius where it is longer, (d,)."""
    return centred_clipping(gradients, f, radius=radius)
