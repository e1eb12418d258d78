"""A cluster that exists in virtual time only: one thread, thousands of ranks, the same every run.

Computing costs no virtual time but what `comm.work(seconds)` says; messages cost what the network
says (network.py). Ranks take turns: one runs until it waits, so between two calls on its
communicator nothing else happens, and the order of events is a function of program, arguments and
seed. The machinery is in virtual/.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from typing import Any

from ddml_kit.cluster.faults import Slowdown, check_cluster
from ddml_kit.cluster.network import Network
from ddml_kit.cluster.run import Cluster, Metric, OnFailure, Run, Running, Snapshot
from ddml_kit.cluster.shipping import pack
from ddml_kit.cluster.virtual.simulation import Simulation


@dataclass(frozen=True)
class Simulated(Cluster):
    """`size` ranks in virtual time.

    network: what messages cost. slowdowns: models of stragglers, whose factors multiply. crashes:
    {rank: seconds}, when a rank dies, wherever it is. seed: of all random numbers.
    on_failure: "stop" ends the run with the first failed rank, "continue" lets the others go on.
    """

    size: int
    _: KW_ONLY
    network: Network = field(default_factory=Network)
    slowdowns: Sequence[Slowdown] = ()
    crashes: Mapping[int, float] = field(default_factory=dict)
    seed: int = 0
    on_failure: OnFailure = "stop"

    def __post_init__(self) -> None:
        check_cluster(
            "Simulated", self.size, self.slowdowns, self.crashes, self.seed, self.on_failure
        )
        if not isinstance(self.network, Network):
            raise TypeError(f"network must be a Network, got {self.network!r}")

    def start(self, program: Callable[..., Any], *args: Any, **kwargs: Any) -> Running:
        """A run that goes on while it is iterated over, or while `result` waits for it.

        All in one thread, the first that does so; `stop` may come from any.
        """
        simulation = Simulation(
            pack(program, args, kwargs),
            self.size,
            network=self.network,
            slowdowns=tuple(self.slowdowns),
            crashes=dict(self.crashes),
            seed=self.seed,
            goes_on=self.on_failure == "continue",
        )
        return SimulatedRunning(simulation)


class SimulatedRunning(Running):
    """Drives a simulation. When it is dropped before the end, the ranks are ended."""

    def __init__(self, simulation: Simulation) -> None:
        self._simulation = simulation
        weakref.finalize(self, simulation.abandon)

    def __iter__(self) -> Iterator[Metric | Snapshot]:
        while points := self._simulation.advance(watch=True):
            yield from points

    def stop(self) -> None:
        self._simulation.stop()

    def result(self) -> Run:
        simulation = self._simulation
        while not simulation.over:
            simulation.advance(watch=False)
        if simulation.error is not None:
            raise simulation.error
        assert simulation.run is not None
        return simulation.run
