"""Mimic: all attackers send what one honest worker sends, so that it counts for many.

Source: S. P. Karimireddy, L. He, M. Jaggi, "Byzantine-Robust Learning on Heterogeneous Datasets via
Bucketing", ICLR 2022, arXiv 2006.09365. No rule can call it a lie, since an honest
worker sends the same. Where all have data of the same kind it does little; where data differ, rules
that look for a crowd find one, and the rest of the data is lost.

Departure: the authors find the worker in a warm-up, by a running estimate of the direction in which
gradients vary most, and copy it from then on. An attack here has no memory: without a worker named
it takes the one that is furthest out along that direction in this very step, which changes from
step to step; give a worker to copy the same one always.
"""

from __future__ import annotations

import numpy as np

from ddml_kit.attacks.checks import check_honest, repeated


def mimic(
    honest: np.ndarray, a: int, rng: np.random.Generator, *, worker: int | None = None
) -> np.ndarray:
    """A copy of one honest gradient, from all attackers, (a, d).

    honest: (n - a, d). worker: whose, its row in honest; None: the one furthest out in the
    direction in which this step's gradients vary most. Raises ValueError for a row there is not.
    """
    check_honest("mimic", honest, a)
    if worker is not None and not 0 <= worker < len(honest):
        raise ValueError(f"mimic needs a worker from 0 to {len(honest) - 1}, got {worker}")
    chosen = furthest(honest) if worker is None else worker
    return repeated(honest[chosen], a, honest.dtype)


def furthest(honest: np.ndarray) -> int:
    """The row furthest from the mean along the direction of most variance; the first of equals."""
    centred = honest.astype(np.float64) - honest.mean(axis=0, dtype=np.float64)
    if not np.isfinite(centred).all():
        return 0
    values, vectors = np.linalg.eigh(centred @ centred.T)  # (n - a, n - a): d may be millions
    along = np.abs(vectors[:, -1]) * np.sqrt(max(values[-1], 0.0))
    return int(np.argmax(along >= along.max() * (1 - 1e-9)))
