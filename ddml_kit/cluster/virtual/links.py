"""The links of a simulated cluster, and when a message has passed them (see network.py)."""

from __future__ import annotations

from collections.abc import Iterator

from ddml_kit.cluster.network import Network
from ddml_kit.cluster.virtual.loop import Event, Loop


class Passage:
    """A message on its way through links that are still before it."""

    def __init__(
        self, links: list[tuple[list[float], int, float]], dest: int, seconds: float, event: Event
    ) -> None:
        self.links = links  # the last is the next; with each, the latency after it
        self.dest = dest
        self.seconds = seconds  # for which it keeps a link busy
        self.event = event  # its arrival


class Links:
    """When each link will be free again."""

    def __init__(self, network: Network, size: int, loop: Loop) -> None:
        self._latency, self._uplink_latency = network.latency, network.uplink_latency
        self._bandwidth = network.bandwidth
        self._slowest = min(network.bandwidth, network.uplink_bandwidth)
        self._rack = [network.rack(rank, size) for rank in range(size)]
        self._switch = size - 1 if network.switch else None
        self._loop = loop
        self._out = [0.0] * size
        self._into = [0.0] * size
        self._up = [0.0] * network.racks
        self._down = [0.0] * network.racks
        # Messages under way to each rank whose first bit has not reached its link yet.
        self._coming = [0] * size

    def carry(self, now: float, source: int, dest: int, nbytes: int, event: Event) -> None:
        """Have the event happen when the message is whole at `dest`."""
        out, into = self._out, self._into
        if source == dest:
            self._loop.arrive_at(now, event)
        elif (
            self._coming[dest]
            or out[source] > now
            or self._rack[source] != self._rack[dest]
            or self._switch is not None  # latencies differ
        ):
            self._queue(now, source, dest, nbytes, event)
        else:
            # The message leaves at once, and nothing that is sent from now on can be at the
            # receiver's link before it: its place there is certain, and the event of its first bit
            # can be spared.
            seconds = nbytes / self._bandwidth
            out[source] = now + seconds
            first_bit = now + self._latency
            free = into[dest]
            into[dest] = stop = (first_bit if first_bit > free else free) + seconds
            self._loop.arrive_at(stop, event)

    def _queue(self, now: float, source: int, dest: int, nbytes: int, event: Event) -> None:
        near = self._rack[source] == self._rack[dest]
        seconds = nbytes / (self._bandwidth if near else self._slowest)
        start = max(self._out[source], now)
        self._out[source] = start + seconds
        links = [(self._into, dest, 0.0)]
        if not near:
            links.append((self._down, self._rack[dest], 0.0))
            links.append((self._up, self._rack[source], self._uplink_latency))
        self._coming[dest] += 1
        passage = Passage(links, dest, seconds, event)
        latency = self._latency / 2 if self._switch in (source, dest) else self._latency
        self._loop.arrive_at(start + latency, (self._first_bit, passage))
        self._free_ports()

    def _first_bit(self, event: Event) -> None:
        """The first bit is at the next link: it passes when those before it have."""
        now, passage = self._loop.now, event[1]
        busy, which, latency = passage.links.pop()
        start = max(now, busy[which])
        busy[which] = start + passage.seconds
        if passage.links:
            self._loop.arrive_at(start + latency, (self._first_bit, passage))
        else:
            self._coming[passage.dest] -= 1
            self._loop.arrive_at(start + passage.seconds, passage.event)
        self._free_ports()

    def _free_ports(self) -> None:
        """The links of a switch are never busy: it has a port for each rank."""
        if self._switch is not None:
            self._out[self._switch] = self._into[self._switch] = 0.0

    def under_way(self) -> Iterator[Event]:
        """The arrivals of the messages that have not come, and what else is due."""
        for event in self._loop.arrivals():
            yield event[1].event if isinstance(event[1], Passage) else event
