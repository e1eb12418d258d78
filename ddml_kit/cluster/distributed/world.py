"""The processes that torchrun has started: what they are told, and how they meet for a run.

torchrun (https://docs.pytorch.org/docs/stable/elastic/run.html), or a script that does the same,
tells each process RANK, WORLD_SIZE, and where the store of all is: MASTER_ADDR, MASTER_PORT. For
each run the ranks announce themselves there, with what they are about to run; gloo finds its
addresses there, too.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, ClassVar

from ddml_kit.cluster.errors import ClusterError

NAMES = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
PATIENCE = 300.0  # seconds that ranks wait for each other at the beginning of a run
LOOK = 0.05  # seconds between two looks at who is there, at most


@dataclass(frozen=True)
class World:
    """What this process has been told. address, port: of the store."""

    rank: int
    size: int
    address: str
    port: int
    keeps_store: bool  # this process does, and not an agent of torchrun's

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> World | None:
        """What these variables say; None if they say nothing. Raises ValueError if it can't be."""
        if any(name not in environment for name in NAMES):
            return None
        try:
            rank, size, port = (int(environment[n]) for n in ("RANK", "WORLD_SIZE", "MASTER_PORT"))
        except ValueError as error:
            raise ValueError(f"RANK, WORLD_SIZE, MASTER_PORT must be numbers: {error}") from None
        if not 0 <= rank < size:
            raise ValueError(f"RANK must be from 0 to WORLD_SIZE - 1 = {size - 1}, got {rank}")
        agent = environment.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
        return cls(rank, size, environment["MASTER_ADDR"], port, rank == 0 and not agent)


class Place:
    """Where the ranks meet for their runs. store: torch.distributed's, which all can read.

    One a process, which stays: where rank 0 keeps the store, others may still read there when it
    begins the next run.
    """

    _one: ClassVar[Place | None] = None

    @classmethod
    def of(cls, world: World) -> Place:
        """The one of this process; connects at first use. Raises ClusterError if it can't."""
        if cls._one is None or (cls._one.world, cls._one.process) != (world, os.getpid()):
            cls._one = cls(world, _connected(world))
        return cls._one

    def __init__(self, world: World, store: Any) -> None:
        self.world, self.process, self.runs = world, os.getpid(), 0
        self._store = store

    def meet(self, what: str) -> Any:
        """Wait until all ranks are here for their next run; a part of the store for this run.

        what: they are about to run, in words. Raises ClusterError if one does not come, ValueError
        if one is about to run something else.
        """
        from torch.distributed import PrefixStore

        self.runs += 1
        store = PrefixStore(f"ddml_kit/run {self.runs}", self._store)
        names = [f"rank {rank}" for rank in range(self.world.size)]
        store.set(names[self.world.rank], what)
        deadline, pause = time.monotonic() + PATIENCE, 0.001
        while not store.check(names):  # a wait of the store's could not be interrupted
            if time.monotonic() > deadline:
                absent = [name for name in names if not store.check([name])]
                raise ClusterError(
                    f"{', '.join(absent)} did not come to run {self.runs} within {PATIENCE:g} s: "
                    "every process that torchrun starts must call run, as often as the others"
                )
            time.sleep(pause)
            pause = min(2 * pause, LOOK)
        said = [text.decode() for text in store.multi_get(names)]
        for other, text in enumerate(said):
            if text != what:
                raise ValueError(
                    f"all ranks must begin the same run: rank {self.world.rank} begins {what}, "
                    f"rank {other} {text}"
                )
        return store


def _connected(world: World) -> Any:
    from torch.distributed import TCPStore

    patience = timedelta(seconds=PATIENCE)
    try:
        return TCPStore(
            world.address,
            world.port,
            world.size,
            world.keeps_store,
            patience,
            wait_for_workers=False,
            multi_tenant=True,
        )
    except RuntimeError as error:
        raise ClusterError(
            f"rank {world.rank} can't reach the store at {world.address}:{world.port} "
            f"(MASTER_ADDR, MASTER_PORT): {error}"
        ) from error
