"""Krum and multi-Krum: the gradients that lie closest to their neighbours."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ddml_kit.aggregation import bounds
from ddml_kit.aggregation.distances import squared_distances
from ddml_kit.aggregation.gradients import examined


def in_the_paper(n: int, f: int) -> int:
    """How many nearest neighbours count: n - f - 2."""
    return n - f - 2


def one_more(n: int, f: int) -> int:
    """How many nearest neighbours count in ByzFL and in Garfield: n - f - 1."""
    return n - f - 1


def krum(
    gradients: Any,
    f: int,
    *,
    neighbours: Callable[[int, int], int] = in_the_paper,
    squared: bool = True,
) -> Any:
    """The gradient closest to its n - f - 2 nearest neighbours, (d,)."""
    given = examined(gradients, f, bounds.KRUM).without_lies()
    scores = scored(given.rows, neighbours(given.n, given.f), squared)
    return given.back(given.rows[int(np.argmin(scores))].copy())


def multi_krum(
    gradients: Any,
    f: int,
    *,
    m: int | None = None,
    neighbours: Callable[[int, int], int] = in_the_paper,
    squared: bool = True,
) -> Any:
    """The mean of the m gradients closest to their n - f - 2 nearest neighbours, (d,)."""
    given = examined(gradients, f, bounds.MULTI_KRUM).without_lies()
    m = given.n - given.f if m is None else m
    scores = scored(given.rows, neighbours(given.n, given.f), squared)
    chosen = given.rows[np.sort(np.argsort(scores, kind="stable")[:m])]
    return given.back(chosen.mean(axis=0, dtype=np.float64).astype(given.rows.dtype))


def scored(rows: np.ndarray, count: int, squared: bool) -> np.ndarray:
    """The sum of each gradient's (squared) distances to its `count` nearest, (n,)."""
    distances = squared_distances(rows)
    if not squared:
        distances = np.sqrt(distances)
    return np.sort(distances, axis=1)[:, 1 : 1 + count].sum(axis=1)
