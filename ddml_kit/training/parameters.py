"""A vector that lies on servers: which server holds what, and how workers reach it.

Source: M. Li et al., "Scaling Distributed Machine Learning with the Parameter Server", OSDI 2014,
section 3: ranges of keys, pushed and pulled. A message holds numbers only: 8 bytes for a clock, 8
for a version, and the values; a sparse one holds indices and values. Tags say what it is.

A version counts what has been folded into a server's range; the staleness of a gradient is how
many versions passed between the pull that it was computed from and its own folding.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from ddml_kit.cluster.comm import Comm
from ddml_kit.problems.sparse import Sparse

PUSH, PULL, MODEL, JOIN, DONE, FINAL, DEATH = range(7)  # nobody sends DEATH
CANCEL = 16  # + the clock whose work is no longer wanted


def ranges(dim: int, servers: int) -> list[slice]:
    """The servers' shares of a vector, (dim,): in order, none empty, at most one apart in length.

    Raises ValueError unless 1 <= servers <= dim.
    """
    if not 1 <= servers <= dim:
        raise ValueError(f"there must be 1 to {dim} servers, one a parameter, got {servers}")
    ends = [dim * k // servers for k in range(servers + 1)]
    return [slice(a, b) for a, b in pairwise(ends)]


def check_layout(workers: int, servers: int, dim: int) -> None:
    """Raises ValueError unless there are workers, and a server a parameter at most."""
    if workers < 1:
        raise ValueError(
            f"there must be a worker beside the servers, got {workers + servers} ranks and "
            f"{servers} servers"
        )
    ranges(dim, servers)


def part(gradient: np.ndarray | Sparse, share: slice) -> np.ndarray | Sparse:
    """What of a gradient, (dim,), falls to a share; a sparse one counts from the share's start."""
    if not isinstance(gradient, Sparse):
        return gradient[share]
    mine = (gradient.indices >= share.start) & (gradient.indices < share.stop)
    return Sparse(gradient.indices[mine] - share.start, gradient.values[mine])


class Store:
    """A worker's way to the vector, (dim,), on the servers of these ranks."""

    def __init__(self, comm: Comm, servers: Sequence[int], dim: int, dtype: np.dtype) -> None:
        self._comm = comm
        self._shares = dict(zip(servers, ranges(dim, len(servers)), strict=True))
        self.w = np.zeros(dim, dtype)  # as it was last pulled
        self.versions = dict.fromkeys(servers, 0)
        self._wanted: dict[int, Any] = {}

    def join(self) -> int:
        """Take part from now on; the clock at which to begin, the latest that a server is at."""
        for server in self._shares:
            self._comm.send(None, server, JOIN)
        clock = max(self._comm.recv(server, JOIN).value for server in self._shares)
        for server in self._shares:
            self._comm.send(clock, server, JOIN)  # one that is behind waits for nothing earlier
        return clock

    def request(self, clock: int, where: np.ndarray | None = None) -> None:
        """Ask for the model to begin this clock with; where: indices, for these values only."""
        for server, share in self._shares.items():
            wanted = None
            if where is not None:
                wanted = where[(where >= share.start) & (where < share.stop)] - share.start
            self._wanted[server] = slice(None) if wanted is None else wanted
            self._comm.send((clock, wanted), server, PULL)

    def pull(self) -> int:
        """Wait for what was requested, into `w`; how many rounds are in all of it."""
        rounds = []
        for server, share in self._shares.items():
            complete, version, values = self._comm.recv(server, MODEL).value
            if len(values) == len(self.w):
                self.w = values  # all of it, and it is ours: no need to copy it
            else:
                self.w[share][self._wanted[server]] = values
            self.versions[server] = version
            rounds.append(complete)
        return min(rounds)

    def push(self, clock: int, gradient: np.ndarray | Sparse) -> None:
        """Send each server its part of this clock's gradient."""
        for server, share in self._shares.items():
            self._comm.send((clock, self.versions[server], part(gradient, share)), server, PUSH)

    def leave(self) -> np.ndarray:
        """Take part no longer; the vector when all have finished, (dim,)."""
        for server in self._shares:
            self._comm.send(None, server, DONE)
        for server, share in self._shares.items():
            self.w[share] = self._comm.recv(server, FINAL).value
        return self.w
