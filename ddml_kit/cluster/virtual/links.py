"""The links of a simulated cluster, and when a message has passed them (see network.py)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from ddml_kit.cluster.network import Network

Arrive = Callable[[Any], Any]


class Passage(NamedTuple):
    """A message on its way: the links before it, each with the latency after it."""

    links: list[tuple[list[float], int, float]]
    dest: int
    seconds: float  # for which it keeps a link busy
    arrive: Arrive
    item: Any


class Links:
    """When each link will be free again.

    schedule(time, action, argument) has the loop call action(argument) at that time.
    """

    def __init__(
        self, network: Network, size: int, schedule: Callable[[float, Arrive, Any], None]
    ) -> None:
        self._latency, self._uplink_latency = network.latency, network.uplink_latency
        self._bandwidth = network.bandwidth
        self._slowest = min(network.bandwidth, network.uplink_bandwidth)
        self._rack = [network.rack(rank, size) for rank in range(size)]
        self._schedule = schedule
        self._out = [0.0] * size
        self._into = [0.0] * size
        self._up = [0.0] * network.racks
        self._down = [0.0] * network.racks
        # Messages under way to each rank whose first bit has not reached its link yet.
        self._coming = [0] * size

    def carry(
        self, now: float, source: int, dest: int, nbytes: int, arrive: Arrive, item: Any
    ) -> None:
        """Have arrive(item) called when the message is whole at `dest`."""
        if source == dest:
            self._schedule(now, arrive, item)
            return
        near = self._rack[source] == self._rack[dest]
        seconds = nbytes / (self._bandwidth if near else self._slowest)
        start = self._out[source]
        if near and start <= now and not self._coming[dest]:
            # Nothing that is sent from now on can be at the receiver's link before this message:
            # its place there is known, and the event of its first bit can be spared.
            self._out[source] = now + seconds
            first_bit = now + self._latency
            free = self._into[dest]
            stop = (first_bit if first_bit > free else free) + seconds
            self._into[dest] = stop
            self._schedule(stop, arrive, item)
            return
        start = max(start, now)
        self._out[source] = start + seconds
        links = [(self._into, dest, 0.0)]
        if not near:
            links.append((self._down, self._rack[dest], 0.0))
            links.append((self._up, self._rack[source], self._uplink_latency))
        self._coming[dest] += 1
        passage = Passage(links, dest, seconds, arrive, item)
        self._schedule(start + self._latency, self._first_bit, (start + self._latency, passage))

    def _first_bit(self, argument: tuple[float, Passage]) -> None:
        """The first bit is at the next link: it passes when those before it have."""
        now, passage = argument
        busy, which, latency = passage.links.pop()
        start = max(now, busy[which])
        busy[which] = start + passage.seconds
        if passage.links:
            first_bit = start + latency
            self._schedule(first_bit, self._first_bit, (first_bit, passage))
        else:
            self._coming[passage.dest] -= 1
            self._schedule(start + passage.seconds, passage.arrive, passage.item)


def unwrapped(event: tuple[Callable[[Any], Any], Any]) -> tuple[Callable[[Any], Any], Any]:
    """What is called with what in the end: for a message that is still at a link, its arrival."""
    action, argument = event
    if isinstance(argument, tuple) and isinstance(argument[-1], Passage):
        return argument[-1].arrive, argument[-1].item
    return action, argument
