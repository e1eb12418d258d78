"""Scaling up against scaling out: what a training takes in time and money, and nothing else.

A step is computing, shared out evenly, and an exchange of updates, after which all go on. The
program sends placeholders, which weigh what an update weighs and hold nothing, so a gigabyte costs
the simulation no more than a byte. Computing takes

    core_seconds / (machines cores) + unread / disk    seconds a step

where `unread` is what of a machine's share of the data does not fit in its memory: it is read from
disk in every step. What a machine costs an hour is a sum of parts, each with its price. All of it
is a model to think with; the prices are the reader's.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from ddml_kit.cluster.comm import Comm

DISK = 1e9  # bytes a second that a machine reads; a solid-state disk on the network


class Placeholder(NamedTuple):
    """A payload of so many bytes that holds nothing, for runs of which only the cost matters."""

    nbytes: float


@dataclass(frozen=True, kw_only=True)
class Job:
    """A training: steps, each of so many seconds on one core, over so many bytes of data.

    update: bytes that a worker has to say after a step; 4 a parameter.
    """

    steps: int
    core_seconds: float
    data: float
    update: float


@dataclass(frozen=True, kw_only=True)
class Machine:
    """One of a number of equal machines. memory: bytes."""

    cores: int
    memory: float

    def seconds(self, job: Job, machines: int) -> float:
        """How long this machine, one of so many, computes and reads in a step of the job."""
        unread = max(0.0, job.data / machines - self.memory)
        return job.core_seconds / (machines * self.cores) + unread / DISK


@dataclass(frozen=True, kw_only=True)
class Prices:
    """Dollars an hour: a core, a gigabyte of memory, and a machine for being there.

    growth: cores cost core x cores ** growth. At 1 a core costs the same in every machine, as in a
    cloud's price list; above 1 the large machine is the dearer one, as when it is bought.
    """

    core: float
    gigabyte: float
    machine: float
    growth: float = 1.0

    def hour(self, machine: Machine) -> float:
        """Dollars that one machine costs an hour."""
        cores = self.core * machine.cores**self.growth
        return cores + self.gigabyte * machine.memory / 1e9 + self.machine

    def bill(self, seconds: float, machine: Machine, machines: int) -> float:
        """Dollars for so many machines over so many seconds."""
        return seconds / 3600 * machines * self.hour(machine)


Exchange = Callable[[Comm, float], None]


def through_one(comm: Comm, nbytes: float) -> None:
    """All send their update to rank 0, which adds them up and sends each the sum."""
    update = Placeholder(nbytes)
    if comm.rank > 0:
        comm.send(update, 0)
        comm.recv(0)
        return
    for _ in range(comm.size - 1):
        comm.recv()
    for other in range(1, comm.size):
        comm.send(update, other)


def round_a_ring(comm: Comm, nbytes: float) -> None:
    """Each sends an n-th of an update to its right-hand neighbour, 2 (n - 1) times."""
    part = Placeholder(nbytes / comm.size)
    for _ in range(2 * (comm.size - 1)):
        comm.send(part, (comm.rank + 1) % comm.size)
        comm.recv((comm.rank - 1) % comm.size)


def synchronous(comm: Comm, job: Job, machine: Machine, exchange: Exchange) -> None:
    """Train, as far as it costs something: compute, exchange, again. Each rank is a machine.

    Snapshots hold one number, the share of the work that is left.
    """
    comm.snapshot(np.ones(1))
    for step in range(job.steps):
        comm.work(machine.seconds(job, comm.size))
        exchange(comm, job.update)
        comm.snapshot(np.array([1 - (step + 1) / job.steps]))
