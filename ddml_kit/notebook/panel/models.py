"""Which models of a run a dashboard looks at: those of rank 0, or those of all ranks as one."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from ddml_kit.cluster.run import Curve, Run, Snapshot

RANK = 0  # whose snapshots make the curve


def looked_at(run: Run, everybody: bool) -> list[Snapshot]:
    """The snapshots of rank 0, in their order.

    everybody: with the models of all ranks in w, (size, dim). Of each other rank that is its last
    one of the same step or before, which on simulated ranks is that of the same step.
    """
    if not everybody:
        return [snapshot for snapshot in run.snapshots if snapshot.rank == RANK]
    seen = []
    newest: dict[int, np.ndarray] = {}
    for snapshot in sorted(run.snapshots, key=lambda s: (s.step, s.rank == RANK)):
        newest[snapshot.rank] = snapshot.w
        if snapshot.rank == RANK:
            seen.append(snapshot._replace(w=stacked(newest)))
    return seen


def stacked(newest: Mapping[int, np.ndarray]) -> np.ndarray:
    """A row for each rank up to the last one heard of; NaN for one that was not heard of yet."""
    first = next(iter(newest.values()))
    nothing = np.full_like(first, np.nan)
    return np.stack([newest.get(rank, nothing) for rank in range(max(newest) + 1)])


def curve_of_all(run: Run, evaluate: Callable[[np.ndarray], float]) -> Curve:
    """evaluate(X) of the models of all ranks, (size, dim), at the snapshots of rank 0."""
    seen = looked_at(run, everybody=True)
    return Curve(
        np.array([s.step for s in seen], np.int64),
        np.array([s.seconds for s in seen], np.float64),
        np.array([evaluate(s.w) for s in seen], np.float64),
    )
