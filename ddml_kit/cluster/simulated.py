"""A cluster that exists in virtual time only: one thread, thousands of ranks, the same every run.

Computing costs no virtual time but what `comm.work(seconds)` says; messages cost what the network
says (network.py). Ranks take turns: one runs until it waits, so between two calls on its
communicator nothing else happens, and the order of events is a function of program, arguments and
seed. The machinery is in virtual/.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from ddml_kit.cluster.faults import NO_CRASHES, Slowdown, check_cluster
from ddml_kit.cluster.network import Network
from ddml_kit.cluster.run import Cluster, Metric, OnFailure, Run, Running, Snapshot
from ddml_kit.cluster.shipping import pack
from ddml_kit.cluster.virtual.simulation import Simulation


class Simulated(Cluster):
    """`size` ranks in virtual time.

    network: what messages cost. slowdowns: models of stragglers, whose factors multiply. crashes:
    {rank: seconds}, when a rank dies, wherever it is. seed: of all random numbers.
    on_failure: "stop": the first failed rank ends the run; "continue": the others go on.
    """

    def __init__(
        self,
        size: int,
        *,
        network: Network | None = None,
        slowdowns: Sequence[Slowdown] = (),
        crashes: Mapping[int, float] = NO_CRASHES,
        seed: int = 0,
        on_failure: OnFailure = "stop",
    ) -> None:
        check_cluster("Simulated", size, slowdowns, crashes, seed, on_failure)
        self.size, self.seed = int(size), int(seed)
        if network is not None and not isinstance(network, Network):
            raise TypeError(f"network must be a Network, got {network!r}")
        self.network = network or Network()
        self.slowdowns, self.crashes = tuple(slowdowns), dict(crashes)
        self.on_failure = on_failure

    def start(self, program: Callable[..., Any], *args: Any, **kwargs: Any) -> Running:
        """A run that goes on while it is iterated over, or while `result` waits for it.

        All in one thread, the first that does so; `stop` may come from any.
        """
        simulation = Simulation(
            pack(program, args, kwargs),
            self.size,
            network=self.network,
            slowdowns=self.slowdowns,
            crashes=self.crashes,
            seed=self.seed,
            goes_on=self.on_failure == "continue",
        )
        return SimulatedRunning(simulation)


class SimulatedRunning(Running):
    """Drives a simulation. When it is dropped before the end, the ranks are ended."""

    def __init__(self, simulation: Simulation) -> None:
        self._simulation = simulation
        self._thread: threading.Thread | None = None

    def __iter__(self) -> Iterator[Metric | Snapshot]:
        while points := self._advance(watch=True):
            yield from points

    def stop(self) -> None:
        self._simulation.stop()

    def result(self) -> Run:
        while not self._simulation.over:
            self._advance(watch=False)
        if self._simulation.error is not None:
            raise self._simulation.error
        assert self._simulation.run is not None
        return self._simulation.run

    def __del__(self) -> None:
        if self._thread is threading.current_thread() and not self._simulation.over:
            self.stop()
            self._advance(watch=False)

    def _advance(self, watch: bool) -> list[Metric | Snapshot]:
        thread = threading.current_thread()
        if self._thread is None:
            self._thread = thread
        elif self._thread is not thread:
            raise RuntimeError(
                "a simulated run goes on in one thread: it was begun in "
                f"{self._thread.name} and can't be driven from {thread.name}"
            )
        return self._simulation.advance(watch)
