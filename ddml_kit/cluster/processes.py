"""Real workers on this machine: a process a rank, each computing with one thread."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from typing import Any

from ddml_kit.cluster.faults import Slowdown, check_cluster
from ddml_kit.cluster.local.launch import warm_up
from ddml_kit.cluster.local.start import begin
from ddml_kit.cluster.local.wiring import MOST_RANKS, Wiring
from ddml_kit.cluster.local.worker import Task
from ddml_kit.cluster.run import Cluster, OnFailure, Running
from ddml_kit.cluster.shipping import pack

__all__ = ["MOST_RANKS", "Processes", "warm_up"]


@dataclass(frozen=True)
class Processes(Cluster):
    """`size` workers on this machine.

    paced: `work(seconds)` lasts that long even where the computing was done sooner, so that
    8 workers on 2 cores behave like 8. slowdowns: models of stragglers; their factors multiply.
    crashes: {rank: seconds since the start} of workers that die. on_failure: "stop" ends the run
    with the first failed rank, "continue" lets the others go on.

    On Linux making one starts, once, the server process that workers are forked from, so that it
    loads its libraries meanwhile; it ends with this process.
    """

    size: int
    _: KW_ONLY
    paced: bool = False
    slowdowns: Sequence[Slowdown] = ()
    crashes: Mapping[int, float] = field(default_factory=dict)
    seed: int = 0
    on_failure: OnFailure = "stop"

    def __post_init__(self) -> None:
        check_cluster(
            "Processes", self.size, self.slowdowns, self.crashes, self.seed, self.on_failure
        )
        if not isinstance(self.paced, bool):
            raise ValueError(f"paced must be True or False, got {self.paced!r}")
        if self.size > MOST_RANKS:
            raise ValueError(
                f"Processes has at most {MOST_RANKS} workers, got {self.size}: each is a process "
                "of its own and takes some 30 MB; Simulated has thousands of ranks"
            )
        warm_up()

    def start(self, program: Callable[..., Any], *args: Any, **kwargs: Any) -> Running:
        """The same, live; returns while the workers are starting.

        Raises TypeError if the program or an argument can't be sent to them.
        """
        return begin(
            pack(program, args, kwargs),
            self.size,
            Task,
            lambda _: Wiring.create(self.size),
            slowdowns=self.slowdowns,
            paced=self.paced,
            seed=self.seed,
            crashes=self.crashes,
            on_failure=self.on_failure,
        )
