"""When a worker may go on: the policies of a parameter server.

Sources: L. G. Valiant, "A Bridging Model for Parallel Computation", CACM 33(8), 1990 (BSP);
J. Dean et al., "Large Scale Distributed Deep Networks", NIPS 2012 (ASP); Q. Ho et al., "More
Effective Distributed ML via a Stale Synchronous Parallel Parameter Server", NIPS 2013, section 3
(SSP); J. Zhang et al., "An Adaptive Synchronous Parallel Strategy for Distributed Machine
Learning", IEEE Access 6, 2018 (AdaptiveSSP); J. Chen, X. Pan, R. Monga, S. Bengio,
R. Jozefowicz, "Revisiting Distributed Synchronous SGD", arXiv 1604.00981 (BackupWorkers).

A worker's clock is the number of its gradients that have been pushed. Clock c may start when the
policy lets it: the server holds back the model that the worker has asked for. Departure of
AdaptiveSSP: the paper measures how busy a machine is from outside; here it is the time from the
server's answer to the arrival of the gradient.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field


class Progress:
    """What a server knows of the workers that take part.

    clocks: of each, by its number. slowest: the least of them; when all have left, what it was.
    seconds: what a worker's last clock took, without its waiting, where that is known. rounds:
    complete ones, which are in the model.
    """

    def __init__(self, clocks: Mapping[int, int]) -> None:
        self.clocks = dict(clocks)
        self.seconds: dict[int, float] = {}
        self.rounds = 0
        self.slowest = min(self.clocks.values(), default=0)

    def moves(self, worker: int, clock: int) -> None:
        """A worker takes part from now on, or is at another clock."""
        before = self.clocks.get(worker)
        self.clocks[worker] = clock
        if before is None or before == self.slowest:
            self.slowest = min(self.clocks.values())

    def leaves(self, worker: int) -> None:
        """A worker takes part no longer."""
        self.clocks.pop(worker, None)
        self.seconds.pop(worker, None)
        self.slowest = min(self.clocks.values(), default=self.slowest)

    def ahead(self, clock: int) -> int:
        """How far this clock is ahead of the slowest worker's."""
        return clock - self.slowest


class Waiting(ABC):
    """A policy.

    by_round: gradients of a clock are folded in together, in the order of workers; otherwise each
    as it arrives. late: how many gradients of a round may be missing. cancel: whoever is late is
    told to drop its work. by_speed: `lets_go` looks at `progress.seconds`.
    """

    by_round = False
    late = 0
    cancel = False
    by_speed = False

    @abstractmethod
    def lets_go(self, worker: int, clock: int, progress: Progress) -> bool:
        """Whether this worker may have the model and begin this clock, by what is known."""

    def check(self, workers: int) -> None:
        """Raises ValueError if the policy can't be met by so many workers."""
        if not 0 <= self.late < workers:
            raise ValueError(
                f"fewer workers may be late than there are, got late={self.late} of {workers}"
            )


@dataclass(frozen=True)
class BSP(Waiting):
    """Bulk-synchronous: a clock begins when the gradients of all workers before it are in."""

    by_round = True

    def lets_go(self, worker: int, clock: int, progress: Progress) -> bool:
        return progress.rounds >= clock


@dataclass(frozen=True)
class ASP(Waiting):
    """Asynchronous: nobody waits."""

    def lets_go(self, worker: int, clock: int, progress: Progress) -> bool:
        return True


@dataclass(frozen=True)
class SSP(Waiting):
    """Stale-synchronous: nobody is more than `staleness` clocks ahead of the slowest. Raises
    ValueError unless staleness >= 0.

    by_round: fold by clock and worker rather than as gradients arrive; SSP(0) is then BSP to the
    bit. With staleness math.inf it is ASP.
    """

    staleness: float
    by_round: bool = field(default=False, repr=False)

    def __post_init__(self) -> None:
        if not self.staleness >= 0:
            raise ValueError(f"SSP needs staleness >= 0, got {self.staleness}")

    def lets_go(self, worker: int, clock: int, progress: Progress) -> bool:
        return progress.ahead(clock) <= self.staleness


@dataclass(frozen=True)
class AdaptiveSSP(Waiting):
    """Each worker's bound follows its speed: it may be ahead of the slowest by as many clocks as it
    makes while the slowest makes `least`, and by `most` at the utmost. Raises ValueError unless
    1 <= least <= most.
    """

    by_speed = True

    least: int = 1
    most: int = 16

    def __post_init__(self) -> None:
        if not 1 <= self.least <= self.most:
            raise ValueError(
                f"AdaptiveSSP needs 1 <= least <= most, got least={self.least}, most={self.most}"
            )

    def lets_go(self, worker: int, clock: int, progress: Progress) -> bool:
        return progress.ahead(clock) <= self.bound(worker, progress.seconds)

    def bound(self, worker: int, seconds: Mapping[int, float]) -> int:
        """How far this worker may be ahead, given what everyone's last clock took."""
        if seconds.get(worker, 0.0) <= 0:
            return self.least
        ratio = max(seconds.values()) / seconds[worker]
        return min(self.most, math.floor(self.least * ratio))


@dataclass(frozen=True)
class BackupWorkers(Waiting):
    """Synchronous with `late` workers to spare: a round is complete without its last gradients.

    cancel: the late ones are told to drop their work; otherwise they finish it, and it is not
    used. Raises ValueError unless late >= 0. Once workers have died, `late` are left out of those
    that live.
    """

    late: int
    cancel: bool = True

    by_round = True

    def __post_init__(self) -> None:
        if self.late < 0:
            raise ValueError(f"BackupWorkers needs late >= 0, got {self.late}")

    def lets_go(self, worker: int, clock: int, progress: Progress) -> bool:
        return progress.rounds >= clock
