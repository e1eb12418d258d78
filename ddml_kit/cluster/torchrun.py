"""A real cluster: processes that talk through torch.distributed, on one host or many."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from typing import Any

from ddml_kit.cluster.distributed.beside import File, Pipes, TorchTask
from ddml_kit.cluster.faults import Slowdown, check_cluster
from ddml_kit.cluster.local.launch import warm_up
from ddml_kit.cluster.local.start import begin
from ddml_kit.cluster.run import Cluster, OnFailure, Running
from ddml_kit.cluster.shipping import pack


@dataclass(frozen=True)
class Torchrun(Cluster):
    """`size` processes that talk through torch.distributed."""

    size: int = 0
    _: KW_ONLY
    paced: bool = False
    slowdowns: Sequence[Slowdown] = ()
    crashes: Mapping[int, float] = field(default_factory=dict)
    seed: int = 0
    on_failure: OnFailure = "stop"

    def __post_init__(self) -> None:
        check_cluster(
            "Torchrun", self.size, self.slowdowns, self.crashes, self.seed, self.on_failure
        )
        if not isinstance(self.paced, bool):
            raise ValueError(f"paced must be True or False, got {self.paced!r}")
        warm_up()

    def start(self, program: Callable[..., Any], *args: Any, **kwargs: Any) -> Running:
        return begin(
            pack(program, args, kwargs),
            self.size,
            TorchTask,
            lambda connections: Pipes(File(self.size), connections),
            slowdowns=self.slowdowns,
            paced=self.paced,
            seed=self.seed,
            crashes=self.crashes,
            on_failure=self.on_failure,
        )
