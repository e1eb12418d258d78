"""What came of a run, as a short table: where it ran, what the model is worth, what it cost."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ddml_kit.cluster.run import Badge, Run, human_bytes
from ddml_kit.cluster.trace import COLLECTIVES

COUNTED = ("steps", "clocks", "rounds", "sweeps", "passes")  # what programs call their steps
TIMES: dict[Badge, str] = {
    "simulated": "s, virtual",
    "paced": "s, paced",
    "measured": "s, measured",
}


def model(run: Run) -> np.ndarray | None:
    """The model that rank 0 returned, alone or as the first of several; else its last snapshot."""
    result = run.results[0]
    if isinstance(result, tuple) and result:
        result = result[0]
    if isinstance(result, np.ndarray):
        return result
    kept = [snapshot.w for snapshot in run.snapshots if snapshot.rank == 0]
    return kept[-1] if kept else None


def steps(run: Run) -> str:
    """The steps of a run in words, "200"; of one that ended before, "at least 120 of 200"; nothing
    where they aren't counted.
    """
    settings: Mapping[str, Any] = run.about.get("settings", {})
    wanted = next((settings[name] for name in COUNTED if name in settings), None)
    if wanted is None:
        return ""
    seen = max((s.step for s in run.snapshots if s.rank == 0), default=0)
    return f"{wanted:,}" if run.results[0] is not None else f"at least {seen:,} of {wanted:,}"


def account(run: Run, figures: Mapping[str, Callable[[np.ndarray], float]]) -> dict[str, str]:
    """What there is to say of a run, by name. figures: of a model, by name."""
    told = {}
    if "program" in run.about:
        told["program"] = f"{run.about['program']} on {run.about['problem']}"
    where = run.about.get("cluster", {}).get("where", run.badge)
    told["cluster"] = f"{where}, {run.size:,} rank{'s' * (run.size > 1)}, seed {run.seed}"
    told["time"] = f"{run.seconds:.4g} {TIMES[run.badge]}"
    w = model(run)
    for name, figure in figures.items():
        if w is not None:
            told[name] = f"{figure(w):.4g}"
    if counted := steps(run):
        told["steps"] = counted
    own = run.trace.of(*COLLECTIVES, rank=0)
    told["messages"] = f"{run.messages:,}"
    if len(own):
        told["messages"] += f", and {len(own):,} collectives on each rank"
    told["sent"] = human_bytes(run.bytes)
    if run.stopped:
        told["ended"] = "stopped"
    for rank, failure in run.failures.items():
        told[f"rank {rank}"] = str(failure).removeprefix(f"rank {rank} ")
    return told


def table(rows: Mapping[str, str]) -> str:
    """The rows as lines of two columns."""
    width = max(map(len, rows))
    return "\n".join(f"{name:<{width}}  {text}" for name, text in rows.items())
