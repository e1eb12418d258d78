"""A real cluster: processes that talk through torch.distributed, on one host or on many.

Under torchrun, or whatever sets RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT, each process is a
rank, and all call the same:

    run = Torchrun().run(program, *args)

Rank 0 returns the whole run. The others return one with the same results, points, failures and
length, with the events of their own rank and no snapshots; what a run raises, it raises on all.
Points, as they come, are rank 0's to iterate over. Elsewhere, Torchrun(4) starts four processes of
this machine, which share nothing and talk in the same way: for notebooks, and to try a program.

Messages go over gloo (PyTorch, https://docs.pytorch.org/docs/stable/distributed.html).

Ranks trust each other as torch.distributed's do: what arrives is unpickled, and so may run
anything. Let them talk over an interface that is private (GLOO_SOCKET_IFNAME, MASTER_ADDR), never
over a network that others can reach. See docs/torchrun.md.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from typing import Any

from ddml_kit.cluster.distributed.beside import File, Pipes, TorchTask
from ddml_kit.cluster.distributed.world import World
from ddml_kit.cluster.faults import Slowdown, check_cluster
from ddml_kit.cluster.local.launch import warm_up
from ddml_kit.cluster.local.start import begin
from ddml_kit.cluster.run import Cluster, OnFailure, Running
from ddml_kit.cluster.shipping import pack


@dataclass(frozen=True)
class Torchrun(Cluster):
    """As many ranks as torchrun has started processes; or `size` processes of this machine.

    paced, slowdowns, crashes, seed, on_failure: as of Processes. Under torchrun a crash ends a
    rank's program, not its process: torchrun would end all others.
    """

    size: int = None  # type: ignore[assignment]  # once it is made, a number
    _: KW_ONLY
    paced: bool = False
    slowdowns: Sequence[Slowdown] = ()
    crashes: Mapping[int, float] = field(default_factory=dict)
    seed: int = 0
    on_failure: OnFailure = "stop"

    def __post_init__(self) -> None:
        world = World.of(os.environ)
        if self.size is None:
            if world is None:
                raise ValueError(
                    "Torchrun needs a size, or processes that torchrun has started: "
                    "torchrun --nproc-per-node 4 script.py"
                )
            object.__setattr__(self, "size", world.size)
        check_cluster(
            "Torchrun", self.size, self.slowdowns, self.crashes, self.seed, self.on_failure
        )
        if world is not None and world.size != self.size:
            raise ValueError(
                f"Torchrun({self.size}) needs {self.size} processes, but torchrun has started "
                f"{world.size}: torchrun --nproc-per-node {self.size}, or Torchrun()"
            )
        if not isinstance(self.paced, bool):
            raise ValueError(f"paced must be True or False, got {self.paced!r}")
        if world is None:
            warm_up()

    def start(self, program: Callable[..., Any], *args: Any, **kwargs: Any) -> Running:
        """The same, live. Under torchrun it waits until all ranks are here.

        Raises TypeError if the program or an argument can't be sent; under torchrun ClusterError if
        a rank does not come, ValueError if it begins another run.
        """
        parcel = pack(program, args, kwargs)
        options: dict[str, Any] = {
            "slowdowns": self.slowdowns,
            "paced": self.paced,
            "seed": self.seed,
            "crashes": self.crashes,
            "on_failure": self.on_failure,
        }
        world = World.of(os.environ)
        if world is not None:
            from ddml_kit.cluster.distributed import launched  # imports torch

            name = getattr(program, "__qualname__", type(program).__name__)
            return launched.begin(world, parcel, name, **options)
        return begin(
            parcel,
            self.size,
            TorchTask,
            lambda connections: Pipes(File(self.size), connections),
            **options,
        )
