"""The network of a simulated cluster: latency, bandwidth, racks, and what a message costs.

A message of m bytes costs alpha + m / beta between two ranks that have the network to themselves:
latency alpha, then the bytes at bandwidth beta (R. W. Hockney, "The communication challenge for
MPP: Intel Paragon and Meiko CS-2", Parallel Computing 20(3), 1994, equation 1). Here links are
also busy, at both ends:

- A rank has one outgoing link. `send` returns at once; the message leaves when those sent before
  it have left.
- A rank has one incoming link. It is busy while a message arrives, and serves messages in the
  order in which their first bits arrive. This is what makes a parameter server a bottleneck.
- A rank reaches itself in no time, through no link.
- With `racks`, ranks sit in that many racks of (nearly) equal size, in order. Each rack has one
  uplink, shared by its ranks and busy like a rank's link, each direction for itself. A message to
  another rack passes out of the rank, up, down, and into the rank, and costs
  latency + uplink_latency + m / min(bandwidth, uplink_bandwidth) when all are free. A message
  moves at the bandwidth of the slowest link on its way and keeps each busy for that time; it does
  not wait to be whole before it moves on (cut-through).
- With `fair`, links do not serve messages one after the other: what is under way at one time
  shares them, as connections of TCP do (max-min fairness, see virtual/flows.py); of the messages
  from one rank to another, on one connection, each follows the one before. So a server's answers
  to four workers all come when one after the other only the last would, and the workers' pushes
  begin later.
- With `switch`, the last rank is the switch through which the others reach one another. It has a
  port for each of them, so its links are never busy, and it is half way: a message to it, or from
  it, has half the latency.

Collectives last as long as the textbook algorithm does on links of its own, from the arrival of
the last rank (R. Thakur, R. Rabenseifner, W. Gropp, "Optimization of Collective Communication
Operations in MPICH", IJHPCA 19(1), 2005, section 4). alpha and beta are those of the slowest pair
of members. They neither wait for nor delay messages that are on their way.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ddml_kit.cluster.checks import real, whole


@dataclass(frozen=True, kw_only=True)
class Network:
    """Links between ranks. Latencies in seconds, bandwidths in bytes a second.

    The defaults are those of a plain cluster: TCP over 10 gigabit Ethernet moves about 1 GB/s with
    some 50 microseconds from program to program; switches between racks add about as much.
    fair: messages share links, instead of being served in order. switch: the last rank is one.
    """

    latency: float = 50e-6
    bandwidth: float = 1e9
    racks: int = 1
    uplink_latency: float = 50e-6
    uplink_bandwidth: float = 1e9
    fair: bool = False
    switch: bool = False

    def __post_init__(self) -> None:
        for name in ("latency", "uplink_latency"):
            seconds = real(f"{name} must be 0 or more seconds", getattr(self, name))
            if not 0 <= seconds < math.inf:
                raise ValueError(f"{name} must be 0 or more seconds, got {seconds:g}")
        for name in ("bandwidth", "uplink_bandwidth"):
            rule = f"{name} must be more than 0 bytes a second"
            if not real(rule, getattr(self, name)) > 0:
                raise ValueError(f"{rule}, got {getattr(self, name)}")
        for name in ("fair", "switch"):
            if not isinstance(getattr(self, name), bool):
                raise TypeError(f"{name} must be True or False, got {getattr(self, name)!r}")
        if whole("racks must be a whole number", self.racks) < 1:
            raise ValueError(f"a network needs 1 or more racks, got {self.racks}")

    def rack(self, rank: int, size: int) -> int:
        """The rack in which this one of `size` ranks sits."""
        return rank * self.racks // size

    def slowest(self, members: Sequence[int], size: int) -> tuple[float, float]:
        """Latency and seconds a byte between the two of these ranks that are farthest apart."""
        # Racks hold consecutive ranks, so the extremes tell whether there is more than one.
        if self.rack(min(members), size) == self.rack(max(members), size):
            return self.latency, 1 / self.bandwidth
        return (
            self.latency + self.uplink_latency,
            1 / min(self.bandwidth, self.uplink_bandwidth),
        )

    def barrier_seconds(self, members: Sequence[int], size: int) -> float:
        """ceil(log2 n) alpha: a dissemination barrier."""
        latency, _ = self.slowest(members, size)
        return _rounds(len(members)) * latency

    def broadcast_seconds(self, nbytes: int, members: Sequence[int], size: int) -> float:
        """ceil(log2 n) (alpha + S / beta): down a binomial tree. S: bytes of the value."""
        latency, per_byte = self.slowest(members, size)
        return _rounds(len(members)) * (latency + nbytes * per_byte)

    def all_gather_seconds(self, nbytes: int, members: Sequence[int], size: int) -> float:
        """(n - 1) (alpha + S / beta): round a ring. S: bytes of the largest rank's value."""
        latency, per_byte = self.slowest(members, size)
        return (len(members) - 1) * (latency + nbytes * per_byte)

    def all_reduce_seconds(
        self, length: int, itemsize: int, members: Sequence[int], size: int
    ) -> float:
        """2 (n - 1) (alpha + chunk / beta): reduce-scatter and all-gather round a ring.

        chunk: bytes of the longest of n chunks of a vector of `length`.
        """
        latency, per_byte = self.slowest(members, size)
        chunk = -(-length // len(members)) * itemsize
        return 2 * (len(members) - 1) * (latency + chunk * per_byte)


def _rounds(n: int) -> int:
    """ceil(log2 n)."""
    return (n - 1).bit_length()
