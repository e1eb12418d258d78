"""Who holds which samples: pure functions (labels (n,), size) -> one index array a rank.

Every sample is held exactly once, and no rank is left without one. Sources: `by_label` is the
pathological split of McMahan et al., "Communication-Efficient Learning of Deep Networks from
Decentralized Data", AISTATS 2017, arXiv 1602.05629, with one part a rank; `dirichlet` is that of
Hsu, Qi & Brown, "Measuring the Effects of Non-Identical Data Distribution for Federated Visual
Classification", 2019, arXiv 1909.06335, drawn label by label rather than rank by rank (as in
Yurochkin et al., ICML 2019, arXiv 1905.12022), so that every sample finds a rank.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

Split = Callable[[np.ndarray, int], list[np.ndarray]]


def contiguous(labels: np.ndarray, size: int) -> list[np.ndarray]:
    """`size` runs of neighbouring samples, their lengths equal but for one."""
    return np.array_split(np.arange(_enough(labels, size)), size)


def shuffled(seed: int) -> Split:
    """A split into `size` equal parts of a random order of all samples, in that order."""

    def split(labels: np.ndarray, size: int) -> list[np.ndarray]:
        order = np.random.default_rng(seed).permutation(_enough(labels, size))
        return np.array_split(order, size)

    return split


def by_label(labels: np.ndarray, size: int) -> list[np.ndarray]:
    """`size` equal runs of the samples sorted by label: most ranks see one or two labels."""
    _enough(labels, size)
    return np.array_split(np.argsort(labels, kind="stable"), size)


def dirichlet(alpha: float, seed: int) -> Split:
    """A split that gives each label's samples to the ranks in shares drawn from Dirichlet(alpha).

    alpha: large gives every rank the same mixture of labels, near 0 gives a label to one rank.
    A rank that is left with nothing takes one sample from the rank that has most.
    """
    if not alpha > 0:
        raise ValueError(f"dirichlet needs alpha > 0, got {alpha}")

    def split(labels: np.ndarray, size: int) -> list[np.ndarray]:
        _enough(labels, size)
        if labels.dtype.kind not in "iub":
            raise ValueError(f"dirichlet needs classes as labels, got numbers of {labels.dtype}")
        rng = np.random.default_rng(seed)
        parts: list[list[np.ndarray]] = [[] for _ in range(size)]
        for label in np.unique(labels):
            members = rng.permutation(np.flatnonzero(labels == label))
            shares = rng.dirichlet(np.full(size, alpha))
            bounds = np.rint(np.cumsum(shares[:-1]) * len(members)).astype(np.int64)
            for part, piece in zip(parts, np.split(members, bounds), strict=True):
                part.append(piece)
        held = [rng.permutation(np.concatenate(part)) for part in parts]
        return _fed(held)

    return split


def _fed(held: list[np.ndarray]) -> list[np.ndarray]:
    for rank, part in enumerate(held):
        if len(part) == 0:
            richest = max(range(len(held)), key=lambda r: len(held[r]))
            held[rank], held[richest] = held[richest][-1:], held[richest][:-1]
    return held


def _enough(labels: np.ndarray, size: int) -> int:
    if not 1 <= size <= len(labels):
        raise ValueError(
            f"each rank needs a sample of its own: {len(labels)} samples can be shared by 1 to "
            f"{len(labels)} ranks, got {size}"
        )
    return len(labels)
