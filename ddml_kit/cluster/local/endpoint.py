"""A rank's end among the processes of this machine."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ddml_kit.cluster.endpoint import Endpoint
from ddml_kit.cluster.faults import Slowdown
from ddml_kit.cluster.local.wiring import Wiring
from ddml_kit.cluster.run import Metric, Snapshot
from ddml_kit.cluster.trace import Recorder


class LocalEndpoint(Endpoint):
    """One a process. `recorder` collects the rank's trace.

    started: time.monotonic() at the start of the run. emit: gets metrics and snapshots, at once,
    in the thread that made them. peers: a pidfd a rank, by rank, -1 where there is none (oneself).
    """

    recorder: Recorder

    def __init__(
        self,
        wiring: Wiring,
        rank: int,
        *,
        seed: int,
        slowdowns: Sequence[Slowdown],
        paced: bool,
        started: float,
        emit: Callable[[Metric | Snapshot], None],
        peers: Sequence[int] = (),
    ) -> None:
        raise NotImplementedError
