"""The links of a simulated cluster where messages share them (Network(fair=True); see network.py).

The fluid model of TCP: between two ranks there is one connection, in which messages follow one
another; connections that carry something at one time divide the links by max-min fairness, until
one of them has carried its message (D. Bertsekas, R. Gallager, "Data Networks", 2nd ed., Prentice
Hall 1992, section 6.5.2, the algorithm; P. Velho, L. M. Schnorr, H. Casanova, A. Legrand, "On the
Validity of Flow-level TCP Network Models for Grid and Cloud Simulations", ACM TOMACS 23(4), 2013,
how near it comes). Every change is a pass over all that is under way, so this takes longer than
links that serve one message after the other.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator, Sequence

from ddml_kit.cluster.network import Network
from ddml_kit.cluster.virtual.loop import Event, Loop


class Flow:
    """A connection that carries a message: over which links, what is left of it, how fast."""

    __slots__ = ("event", "left", "links", "rate", "waiting")

    def __init__(self, links: Sequence[int], nbytes: int, event: Event) -> None:
        self.links = links
        self.left = float(nbytes)  # bytes
        self.rate = 0.0  # bytes a second
        self.event = event  # the message's arrival
        self.waiting: deque[tuple[int, Event]] = deque()  # the messages after it


class Flows:
    """What is under way between the ranks."""

    def __init__(self, network: Network, size: int, loop: Loop) -> None:
        self._latency, self._uplink_latency = network.latency, network.uplink_latency
        self._rack = [network.rack(rank, size) for rank in range(size)]
        self._loop = loop
        # Links: out of each rank, into each rank, up from each rack, down to each rack.
        self._capacity = [network.bandwidth] * (2 * size)
        self._capacity += [network.uplink_bandwidth] * (2 * network.racks)
        self._switch = size - 1 if network.switch else None
        if network.switch:
            self._capacity[size - 1] = self._capacity[2 * size - 1] = math.inf
        self._into, self._up, self._down = size, 2 * size, 2 * size + network.racks
        self._flows: dict[tuple[int, int], Flow] = {}
        self._since = 0.0  # when the flows had so much left
        self._next: tuple[float, Event] | None = None  # when the next is to be looked at

    def carry(self, now: float, source: int, dest: int, nbytes: int, event: Event) -> None:
        """Have the event happen when the message is whole at `dest`."""
        flow = self._flows.get((source, dest))
        if source == dest:
            self._loop.arrive_at(now, event)
        elif flow is not None:
            flow.waiting.append((nbytes, event))
        else:
            self._flows[source, dest] = Flow(self._links(source, dest), nbytes, event)
            self._look_at(now, ())

    def under_way(self) -> Iterator[Event]:
        """The arrivals of the messages that have not come."""
        yield from self._loop.arrivals()
        for flow in self._flows.values():
            yield flow.event
            yield from (event for _, event in flow.waiting)

    def _delay(self, source: int, dest: int) -> float:
        latency = self._latency / 2 if self._switch in (source, dest) else self._latency
        near = self._rack[source] == self._rack[dest]
        return latency if near else latency + self._uplink_latency

    def _links(self, source: int, dest: int) -> Sequence[int]:
        """Those that a message passes."""
        up, down = self._rack[source], self._rack[dest]
        ends = (source, self._into + dest)
        return ends if up == down else (*ends, self._up + up, self._down + down)

    def _look_at(self, time: float, through: Sequence[tuple[int, int]]) -> None:
        """Settle at this time, before which nothing changes; these are through by then."""
        if self._next is not None:
            if self._next[0] == time:
                return  # a later look at this time finds them, too
            self._loop.take_back(*self._next)
        event = (self._settle, through)
        self._next = (time, event)
        self._loop.arrive_at(time, event)

    def _settle(self, event: Event) -> None:
        """Move everything on to now; then those that are left share the links anew."""
        now, self._next = self._loop.now, None
        if now > self._since:
            for flow in self._flows.values():
                flow.left -= flow.rate * (now - self._since)
        self._since = now
        for ends in event[1]:
            self._pass_on(now, ends)
        if not self._flows:
            return
        rates = fair([flow.links for flow in self._flows.values()], self._capacity)
        stops = {}
        for (ends, flow), flow.rate in zip(self._flows.items(), rates, strict=True):
            stops[ends] = now + max(flow.left, 0.0) / flow.rate
        first = min(stops.values())
        self._look_at(first, [ends for ends, stop in stops.items() if stop == first])

    def _pass_on(self, now: float, ends: tuple[int, int]) -> None:
        """A message is through: it arrives, and the next one has the connection."""
        flow = self._flows[ends]
        self._loop.arrive_at(now + self._delay(*ends), flow.event)
        if flow.waiting:
            nbytes, flow.event = flow.waiting.popleft()
            flow.left = float(nbytes)
        else:
            del self._flows[ends]


def fair(flows: Sequence[Sequence[int]], capacity: Sequence[float]) -> list[float]:
    """The max-min fair rate of each flow, given the links that it passes; in the unit of capacity.

    No flow can have more but at the cost of one that has no more than it. The links with the least
    for each of their flows give them that; so on with what is left to the others.
    """
    left = {link: capacity[link] for links in flows for link in links}
    users: dict[int, set[int]] = {link: set() for link in left}
    for flow, links in enumerate(flows):
        for link in links:
            users[link].add(flow)
    rates = [math.inf] * len(flows)
    while users:
        share = min(left[link] / len(users[link]) for link in users)
        if share == math.inf:
            break
        full = [link for link in users if left[link] / len(users[link]) == share]
        for flow in sorted(set().union(*(users[link] for link in full))):
            rates[flow] = share
            for link in flows[flow]:
                left[link] -= share
                users[link].discard(flow)
        users = {link: of for link, of in users.items() if of}
    return rates
