"""Krum and multi-Krum: the gradients that lie closest to their neighbours.

P. Blanchard, E. M. El Mhamdi, R. Guerraoui, J. Stainer, "Machine learning with adversaries:
Byzantine tolerant gradient descent", NIPS 2017, arXiv 1703.02757. The score of a gradient is the
sum of its squared distances to its n - f - 2 nearest neighbours, itself not counted. ByzFL and
Garfield sum n - f - 1, Garfield without squaring: `neighbours` and `squared` make their rules.

Who is chosen doesn't depend on cancellation: where the bounds of two scores overlap, distances are
computed again from differences. So it is who exact arithmetic would choose, but where scores differ
by no more than the last bits of float64 sums. Nor does it depend on the order of the gradients: of
those whose scores come out equal the lowest is chosen, compared coordinate by coordinate.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ddml_kit.aggregation import bounds
from ddml_kit.aggregation.distances import Distances, among
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
    """The gradient closest to its n - f - 2 nearest neighbours, (d,), by squared distances.

    n >= 2f + 3 (Blanchard et al. 2017, proposition 1: 2f + 2 < n).
    neighbours: how many count, from n and f. squared: whether distances are squared.
    Raises what `examined` raises, and ValueError where more than f are not finite.
    """
    distances, given = among(examined(gradients, f, bounds.KRUM))
    everyone = np.arange(given.n)
    count = counted(neighbours, given.n, given.f)
    [best] = closest(distances, everyone, count, m=1, squared=squared)
    return given.back(given.rows[best].copy())


def multi_krum(
    gradients: Any,
    f: int,
    *,
    m: int | None = None,
    neighbours: Callable[[int, int], int] = in_the_paper,
    squared: bool = True,
) -> Any:
    """The mean of the m gradients closest to their n - f - 2 nearest neighbours, (d,).

    n >= 2f + 3, as Krum, which it is with m = 1. m: n - f unless given; it may not be more than
    there are finite gradients. neighbours, squared: as in `krum`.
    Raises what `examined` raises, and ValueError where m is less than 1 or too many, or where more
    than f are not finite.
    """
    distances, given = among(examined(gradients, f, bounds.MULTI_KRUM))
    m = given.n - given.f if m is None else m
    if not 1 <= m <= given.n:
        raise ValueError(f"m must be from 1 to the {given.n} gradients that are finite, got {m}")
    everyone = np.arange(given.n)
    count = counted(neighbours, given.n, given.f)
    weights = np.zeros(given.n)
    weights[closest(distances, everyone, count, m=m, squared=squared)] = 1 / m
    if m == 1:
        return given.back(given.rows[int(np.argmax(weights))].copy())
    return given.back(given.weighted(weights))


def counted(neighbours: Callable[[int, int], int], n: int, f: int) -> int:
    """How many neighbours count; raises ValueError where there are not as many."""
    count = neighbours(n, f)
    if not 1 <= count <= n - 1:
        raise ValueError(f"a gradient has 1 to {n - 1} neighbours, got {count} that count")
    return count


def closest(
    distances: Distances, candidates: np.ndarray, count: int, *, m: int, squared: bool = True
) -> np.ndarray:
    """The m candidates closest to their `count` nearest among the candidates, (m,), ascending.

    candidates: numbers of gradients. Asks the distances for more exactness where it must.
    """
    doubtful = undecided(distances, candidates, count, m, squared)[1]
    for i in candidates[doubtful]:
        distances.know(int(i))
    sure, doubtful = undecided(distances, candidates, count, m, squared)
    exact = scores(distances.high, candidates, count, squared)

    def rank(a: int) -> tuple[float, list[float]]:
        tied = np.count_nonzero(exact[doubtful] == exact[a]) > 1
        return exact[a], distances.rows[candidates[a]].tolist() if tied else []

    chosen = [*sure, *sorted(doubtful, key=rank)[: m - len(sure)]]
    return np.sort(candidates[np.array(chosen, int)])


def undecided(
    distances: Distances, candidates: np.ndarray, count: int, m: int, squared: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Which candidates are surely among the m with the lowest scores, and which may be or not."""
    low = scores(distances.low, candidates, count, squared)
    high = scores(distances.high, candidates, count, squared)
    if m == len(candidates):
        return np.arange(m), np.arange(0)
    sure = high < np.sort(low)[m]
    out = low > np.sort(high)[m - 1]
    return np.flatnonzero(sure), np.flatnonzero(~sure & ~out)


def scores(
    distances: np.ndarray, candidates: np.ndarray, count: int, squared: bool = True
) -> np.ndarray:
    """The sum of each candidate's `count` smallest distances to the others, (len(candidates),).

    distances: (n, n), squared. It grows with each distance, so bounds of these give bounds of it.
    """
    chosen = distances[np.ix_(candidates, candidates)]
    if not squared:
        chosen = np.sqrt(chosen)
    np.fill_diagonal(chosen, np.inf)
    return np.sort(chosen, axis=1)[:, :count].sum(axis=1)
