"""Hogwild!: many workers descend on one vector in shared memory, and none locks it.

Source: B. Recht, C. Ré, S. J. Wright, F. Niu, "Hogwild!: A Lock-Free Approach to Parallelizing
Stochastic Gradient Descent", NIPS 2011, arXiv 1106.5730: algorithm 1 (`hogwild`), and what its
experiments compare it with: AIG (`locked`) and RR (`round_robin`), the latter from J. Langford,
A. J. Smola, M. Zinkevich, "Slow Learners are Fast", NIPS 2009, arXiv 0911.0491.

A step reads the model, works, and stores what it has computed. Between reading and storing others
write, so the gradient is stale; and what they store between the load and the store of one addition
is overwritten, so an update may be lost. On real processes both happen when the machine wants. In
virtual time they happen because `comm.work` stands between: `problem.seconds` between the reading
and the write, and the share `window` of it between the write's load and its store. (NumPy too loads
all coordinates of a sample, adds, and stores them all; that takes more than a tenth of the time.)

Three things to know of virtual time. Ranks that share memory are no network apart: give Simulated
a Network(latency=0.0). Ranks whose samples cost the same march in step there and meet at every
write; a slowdown that varies, such as Exponential, lets them drift apart, as real ones do. And it
has no caches: a write costs the same whether or not another rank has just written there, which is
what keeps dense problems from gaining on a real machine.

Departures: AIG has a lock for each coordinate, `locked` one for the vector; and each rank draws
its samples from a shard of its own.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ddml_kit.cluster.comm import Comm
from ddml_kit.problems.problem import Problem
from ddml_kit.problems.sparse import Sparse


class Raced(NamedTuple):
    """What a rank returns.

    w: the model that all ranks left, (dim,). updates: how many this rank made.
    staleness: of each, how many updates of others fell between its reading and its writing,
    (updates,). written: the coordinates that this rank wrote, over all updates.
    lost_proxy: coordinates written and lost in races, all ranks together, estimated by a shadow:
    counters beside the model, incremented by the same unlocked load and store. Exact in virtual
    time; on real processes the shadow has races of its own, as likely as the model's.
    seconds: from the first step to this rank's last.
    """

    w: np.ndarray
    updates: int
    staleness: np.ndarray
    written: int
    lost_proxy: int
    seconds: float


def hogwild(
    comm: Comm,
    problem: Problem,
    *,
    steps: int,
    lr: float,
    decay: float = 1.0,
    window: float = 0.1,
) -> Raced:
    """Descend without a lock, `steps` samples a rank: algorithm 1.

    lr: the step size, multiplied by `decay` after each pass over the rank's shard.
    window: the share of a gradient's time between the load and the store of a write; virtual.
    """
    check(lr, decay, window)
    w = comm.shared(problem.initial(seed=0))  # one vector, no lock
    shard = problem.shard(comm.rank, comm.size)
    tally = Tally(comm, problem.dim)
    for step, batch in enumerate(shard.batches(comm.stream("batches"), 1, steps)):
        tally.reading()
        gradient = problem.gradient(w, batch)  # of one sample: it has few coordinates
        seconds = problem.seconds(batch)
        comm.work(seconds)  # meanwhile the others write
        scale = -lr * decay ** (step // len(shard))
        add_unlocked(comm, w, gradient, scale, window * seconds, tally)
        offer(comm, w)
    return tally.result(w)


def locked(
    comm: Comm,
    problem: Problem,
    *,
    steps: int,
    lr: float,
    decay: float = 1.0,
    window: float = 0.1,
) -> Raced:
    """The same with each write under a lock (AIG): no update is lost, and writers wait in line.

    Gradients are computed without the lock, so they are as stale as before.
    """
    check(lr, decay, window)
    w = comm.shared(problem.initial(seed=0))
    lock = comm.lock()
    shard = problem.shard(comm.rank, comm.size)
    tally = Tally(comm, problem.dim)
    for step, batch in enumerate(shard.batches(comm.stream("batches"), 1, steps)):
        tally.reading()
        gradient = problem.gradient(w, batch)
        seconds = problem.seconds(batch)
        comm.work(seconds)
        scale = -lr * decay ** (step // len(shard))
        with lock:
            add_unlocked(comm, w, gradient, scale, window * seconds, tally)
        offer(comm, w)
    return tally.result(w)


def round_robin(
    comm: Comm,
    problem: Problem,
    *,
    steps: int,
    lr: float,
    decay: float = 1.0,
    window: float = 0.1,
) -> Raced:
    """The ranks compute at once and write in turn (RR), so each gradient is size - 1 updates old.

    A token goes round: who has it writes, reads anew, and passes it on. What was read is a copy,
    since the next rank writes while this one computes; so every run gives the same model.
    """
    check(lr, decay, window)
    w = comm.shared(problem.initial(seed=0))
    shard = problem.shard(comm.rank, comm.size)
    tally = Tally(comm, problem.dim)
    left, right = (comm.rank - 1) % comm.size, (comm.rank + 1) % comm.size
    read = w.copy()
    tally.reading()
    comm.barrier()  # nobody writes before all have read
    for step, batch in enumerate(shard.batches(comm.stream("batches"), 1, steps)):
        gradient = problem.gradient(read, batch)
        seconds = problem.seconds(batch)
        comm.work(seconds)
        if (comm.rank, step) != (0, 0):
            comm.recv(left)
        scale = -lr * decay ** (step // len(shard))
        add_unlocked(comm, w, gradient, scale, window * seconds, tally)
        read = w.copy()
        tally.reading()
        if (comm.rank, step) != (comm.size - 1, steps - 1):
            comm.send(None, right)
        offer(comm, w)
    return tally.result(w)


def add_unlocked(
    comm: Comm,
    w: np.ndarray,
    gradient: np.ndarray | Sparse,
    scale: float,
    seconds: float,
    tally: Tally,
) -> None:
    """w += scale * gradient as a machine does it: load, add, store; writes the support only.

    seconds: virtual, from the load to the store. What others store meanwhile is lost.
    """
    where: np.ndarray | slice
    if isinstance(gradient, Sparse):  # indices as NumPy wants them, once rather than four times
        where, values = gradient.indices.astype(np.intp, copy=False), gradient.values
    else:
        where, values = slice(None), gradient
    loaded, marks = w[where] + scale * values, tally.shadow[where] + 1
    comm.work(seconds)
    w[where], tally.shadow[where] = loaded, marks
    tally.wrote(len(values))


def staleness(before: np.ndarray, after: np.ndarray, rank: int) -> int:
    """How many updates of others fell between this rank's reading and its writing.

    before, after: (size,), updates of each rank, as read with the model and once this rank's own
    update is counted. Each rank counts its own alone, so no count is lost.
    """
    during = after - before
    return int(during.sum() - during[rank])


def offer(comm: Comm, w: np.ndarray) -> None:
    """Snapshot the model; rank 0 does it for all, since they have one vector."""
    if comm.rank == 0:
        comm.snapshot(w)


def check(lr: float, decay: float, window: float = 0.0) -> None:
    """Raises ValueError for a step size, a decay or a window that makes no sense."""
    if not lr > 0:
        raise ValueError(f"lr must be more than 0, got {lr}")
    if not 0 < decay <= 1:
        raise ValueError(f"decay must lie above 0 and be 1 at most, got {decay}")
    if not window >= 0:
        raise ValueError(f"window must be 0 or more, got {window}")


class Tally:
    """What is counted beside a shared vector of `dim` coordinates; collective to make.

    updates: (size,), shared, each written by its own rank alone, so that none is lost.
    shadow: (dim,), shared, how often each coordinate was written, less what was lost.
    """

    def __init__(self, comm: Comm, dim: int) -> None:
        self._comm = comm
        self._updates = comm.shared(np.zeros(comm.size, np.int64))
        self.shadow = comm.shared(np.zeros(dim, np.int64))
        self._staleness: list[int] = []
        self._written = 0
        self._read = self._updates.copy()
        self._start = comm.now()

    def reading(self) -> None:
        """Call it when the model is read."""
        self._read = self._updates.copy()

    def wrote(self, coordinates: int) -> None:
        """Call it when so many coordinates of it have been written."""
        self._updates[self._comm.rank] += 1
        self._staleness.append(staleness(self._read, self._updates, self._comm.rank))
        self._written += coordinates

    def result(self, w: np.ndarray) -> Raced:
        """What this rank returns, once all ranks have come here."""
        seconds = self._comm.now() - self._start
        written = self._comm.all_reduce(self._written)  # waits for all
        return Raced(
            w=w.copy(),
            updates=len(self._staleness),
            staleness=np.array(self._staleness, np.int64),
            written=self._written,
            lost_proxy=written - int(self.shadow.sum()),
            seconds=seconds,
        )
