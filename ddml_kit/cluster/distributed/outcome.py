"""What rank 0 tells the others of a run that has ended, so that all have the same of it."""

from __future__ import annotations

import pickle
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from ddml_kit.cluster.errors import ClusterError, Deadlock, RankFailed
from ddml_kit.cluster.local.books import explained
from ddml_kit.cluster.local.outbox import take_joined
from ddml_kit.cluster.local.watch import Watch
from ddml_kit.cluster.run import Badge, Metric, Run
from ddml_kit.cluster.trace import Trace


class Outcome(NamedTuple):
    """A run on its way to the other ranks, without traces and snapshots.

    contents: what programs returned or raised, as it came, each once; whose: which of them is a
    rank's, -1 if it has none. failed: the rank whose failure ended the run; deadlock: the text of
    the one that did; lost: why rank 0 has nothing of it.
    """

    badge: Badge
    size: int
    seed: int
    seconds: float = 0.0
    stopped: bool = False
    points: Sequence[Metric] = ()
    returned: Sequence[bool] = ()
    contents: Sequence[bytes] = ()
    whose: Sequence[int] = ()
    failures: Mapping[int, RankFailed] = {}
    failed: int | None = None
    deadlock: str | None = None
    lost: str | None = None


def pack(watch: Watch, values: Sequence[bytes]) -> bytes:
    """The outcome of a run that has ended.

    values: what each rank's program returned or raised, as it came; empty if it has not.
    """
    failed, deadlock = None, None
    try:
        run = watch.outcome()
    except RankFailed as error:
        failed, found = error.rank, error.run
        assert found is not None
        run = found
    except Deadlock as error:
        deadlock, found = str(error), error.run
        assert found is not None
        run = found
    contents = list(dict.fromkeys(value for value in values if value))
    outcome = Outcome(
        badge=run.badge,
        size=run.size,
        seed=run.seed,
        seconds=run.seconds,
        stopped=run.stopped,
        points=list(run.points),
        returned=[watch.books.has_returned(rank) for rank in range(run.size)],
        contents=contents,
        whose=[contents.index(value) if value else -1 for value in values],
        failures=dict(run.failures),
        failed=failed,
        deadlock=deadlock,
    )
    return pickle.dumps(outcome)


def unpack(told: bytes, trace: Trace) -> Run:
    """The run, with this rank's own trace; raises what ended it, as rank 0 does."""
    outcome: Outcome = pickle.loads(told)
    if outcome.lost is not None:
        raise ClusterError(outcome.lost)
    values = [_content(outcome.contents[i]) if i >= 0 else None for i in outcome.whose]
    for rank, failure in outcome.failures.items():
        cause = values[rank] if values else None
        explained(failure, cause if isinstance(cause, BaseException) else None)
    run = Run(
        badge=outcome.badge,
        size=outcome.size,
        seed=outcome.seed,
        seconds=outcome.seconds,
        results=[
            value if returned else None
            for value, returned in zip(values, outcome.returned, strict=True)
        ],
        trace=trace,
        points=outcome.points,
        failures=outcome.failures,
        stopped=outcome.stopped,
    )
    error: ClusterError | None = None
    if outcome.failed is not None:
        error = outcome.failures[outcome.failed]
    elif outcome.deadlock is not None:
        error = Deadlock(outcome.deadlock)
    if error is not None:
        error.run = run
        raise error
    return run


def _content(value: bytes) -> Any:
    """What a program returned or raised; None if that can't be read here."""
    try:
        return take_joined(value).content
    except Exception:
        return None
