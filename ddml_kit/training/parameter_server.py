"""A parameter server: the model lies on servers; workers pull it, compute a gradient, and push it.

Sources: J. Dean et al., "Large Scale Distributed Deep Networks", NIPS 2012 (Downpour SGD); Q. Ho et
al., NIPS 2013 (the bound on clocks); M. Li et al., OSDI 2014 (ranges, algorithm 1). When a worker
may go on is a policy, waiting.py; where the vector lies is parameters.py; what a server does with a
gradient is an optimiser.

Ranks 0 to N - 1 are workers, the last `servers` ranks are servers. Every worker has a shard of the
data. Gradients that are folded in together (by round) are averaged in the order of workers, so a
synchronous run gives the same bits everywhere. One that is folded in alone counts as 1/N of a step,
so that a pass of all workers moves the model as far under every policy. A worker that dies while it
pushes to several servers leaves a gradient on some of them only; each range has it once or not at
all.

Departures: between two fetches a worker of Downpour SGD also moves a model of its own; here it only
adds up gradients, so a clock of n batches is one batch n times as large (but for the last, shorter
batch of a pass, which counts as much as the others). Damping is of a whole round, by its stalest
gradient, where rounds are folded in.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import islice
from typing import NamedTuple

import numpy as np

from ddml_kit.cluster.comm import Comm, Message
from ddml_kit.cluster.errors import RankFailed, Timeout
from ddml_kit.problems.csr import Rows
from ddml_kit.problems.logistic import Logistic
from ddml_kit.problems.problem import Batch, Problem
from ddml_kit.problems.sparse import Sparse, total
from ddml_kit.training.optimisers import Optimiser, undamped
from ddml_kit.training.parameters import (
    CANCEL,
    DEATH,
    FINAL,
    JOIN,
    MODEL,
    PULL,
    PUSH,
    Store,
    check_layout,
    ranges,
)
from ddml_kit.training.waiting import BSP, Progress, Waiting


class Worked(NamedTuple):
    """What a worker returns.

    w: the model when all had finished, (dim,). clocks: gradients that it pushed. cancelled: pieces
    of work that it dropped. seconds: until its last clock had ended.
    """

    w: np.ndarray
    clocks: int
    cancelled: int
    seconds: float


class Served(NamedTuple):
    """What a server returns.

    w: its range of the model, (k,). steps: of its optimiser. staleness: of each gradient that was
    folded in, in versions, (gradients,). unused: gradients that came too late for their round.
    """

    w: np.ndarray
    steps: int
    staleness: np.ndarray
    unused: int


def parameter_server(
    comm: Comm,
    problem: Problem,
    optimiser: Optimiser,
    *,
    clocks: int,
    batch_size: int,
    waiting: Waiting = BSP(),  # noqa: B008 - it is frozen
    servers: int = 1,
    fetch: int = 1,
    sparse: bool = False,
    prefetch: bool = False,
    damping: Callable[[int], float] = undamped,
    late: Mapping[int, float] | None = None,
    patience: float | None = None,
) -> Worked | Served:
    """Train for so many clocks a worker.

    fetch: batches a clock; their gradients are averaged by the worker. sparse: pull only the
    coordinates that the batches have; the only snapshot is then the last model. prefetch: ask for
    the next model before computing, so that it travels meanwhile; it then lacks the worker's own
    gradient where the policy allows that.
    damping: what a gradient of some staleness counts. late: {worker: seconds after which it joins}.
    patience: seconds without a message after which a server looks for workers that have died; for
    clusters with on_failure="continue".
    Snapshots are the models that worker 0 pulls, and the last one.
    Raises ValueError for settings that can't be met.
    """
    late = late or {}
    workers = comm.size - servers
    check(workers, problem, servers, clocks, fetch, sparse, waiting, late, patience)
    if comm.rank < workers:
        store = Store(comm, range(workers, comm.size), problem.dim, problem.dtype)
        shard = problem.shard(comm.rank, workers)
        batches = shard.batches(comm.stream("batches"), batch_size, clocks * fetch)
        rounds = iter(lambda: list(islice(batches, fetch)), [])  # the batches of each clock
        start = late.get(comm.rank)
        touched = sparse_coordinates(problem) if sparse else whole
        return work(comm, problem, store, rounds, waiting, touched, clocks, prefetch, start)
    share = ranges(problem.dim, servers)[comm.rank - workers]
    w = problem.initial(seed=0)[share].copy()
    server = Server(comm, w, optimiser, waiting, damping, workers, set(late), mean)
    return server.serve(patience)


def work(
    comm: Comm,
    problem: Problem,
    store: Store,
    rounds: Iterator[list[Batch]],
    waiting: Waiting,
    touched: Callable[[list[Batch]], np.ndarray | None],
    clocks: int,
    prefetch: bool,
    late: float | None,
) -> Worked:
    """A worker: pull, compute, push, until its clock is `clocks`.

    rounds: the batches of each clock. touched: the coordinates to pull for them, None for all.
    late: seconds after which it joins, None for at once.
    """
    clock = pushed = cancelled = 0
    if late is not None:
        sleep(comm, late)
        clock = store.join()
    batches = next(rounds, [])
    if clock < clocks:
        store.request(clock, touched(batches))
    while clock < clocks:
        complete = store.pull()
        if waiting.by_round:
            clock = max(clock, complete)  # it may have been too late for some
        if clock == clocks:
            break
        if comm.rank == 0 and touched is whole:
            comm.snapshot(store.w)
        mine, batches = batches, next(rounds, [])
        if prefetch and clock + 1 < clocks:
            store.request(clock + 1, touched(batches))
        gradient = mean([problem.gradient(store.w, batch) for batch in mine])
        seconds = sum(problem.seconds(batch) for batch in mine)
        if comm.work(seconds, until=CANCEL + clock):
            store.push(clock, gradient)
            pushed += 1
        else:
            cancelled += 1
        clock += 1
        if not prefetch and clock < clocks:
            store.request(clock, touched(batches))
    seconds = comm.now()
    w = store.leave()
    if comm.rank == 0:
        comm.snapshot(w)
    return Worked(w, pushed, cancelled, seconds)


class Server:
    """A server of one range: folds gradients in, and answers those who may go on.

    together: what the gradients of a round, in the order of workers, are as one.
    """

    def __init__(
        self,
        comm: Comm,
        w: np.ndarray,
        optimiser: Optimiser,
        waiting: Waiting,
        damping: Callable[[int], float],
        workers: int,
        late: set[int],
        together: Callable[[Sequence[np.ndarray | Sparse]], np.ndarray | Sparse],
    ) -> None:
        self._comm, self._w, self._step = comm, w, optimiser(w)
        self._waiting, self._damping, self._workers = waiting, damping, workers
        self._together = together
        self._expected = late  # to join
        self._progress = Progress({k: 0 for k in range(workers) if k not in late})
        self._asked: dict[int, tuple[int, np.ndarray | None]] = {}
        self._answered: dict[int, float] = {}  # when
        self._rounds: dict[int, dict[int, tuple[int, np.ndarray | Sparse]]] = {}
        self._version = self._unused = 0
        self._before = (0, 0)
        self._staleness: list[int] = []

    def serve(self, patience: float | None) -> Served:
        """Serve until all workers have finished, then tell them the range as it is."""
        finished = []
        while self._progress.clocks or self._expected:
            message = self._next(patience)
            if message is None:
                self._bury()
            elif message.tag == PULL:
                self._asked[message.source] = message.value
                self._answer([message.source])
                continue
            elif message.tag == PUSH:
                self._take(message.source, *message.value)
            elif message.tag == JOIN:
                self._welcome(message.source, message.value)
            else:
                self._leaves(message.source)
                finished.append(message.source)
            while self._waiting.by_round and self._complete():
                self._fold()
            now = self._progress.rounds, self._progress.slowest
            if now != self._before or self._waiting.by_speed:  # else nobody new may go on
                self._before = now
                self._answer(sorted(self._asked))
        for worker in finished:
            self._comm.send(self._w, worker, FINAL)
        return Served(self._w, self._version, np.array(self._staleness, np.int64), self._unused)

    def _take(self, worker: int, clock: int, version: int, gradient: np.ndarray | Sparse) -> None:
        """A gradient: keep it for its round, or fold it in at once."""
        now = self._comm.now()
        if worker in self._progress.clocks:  # else it died after it had sent this
            self._progress.seconds[worker] = now - self._answered.get(worker, 0.0)
            self._progress.moves(worker, clock + 1)
        if not self._waiting.by_round:
            staleness = self._version - version
            self._step(gradient, self._damping(staleness) / self._workers)
            self._version += 1
            self._staleness.append(staleness)
        elif clock < self._progress.rounds:
            self._unused += 1
        else:
            self._rounds.setdefault(clock, {})[worker] = version, gradient

    def _complete(self) -> bool:
        """Whether the next round has all the gradients that it needs."""
        missing = len(self._outstanding())
        return self._progress.rounds in self._rounds and missing <= self._waiting.late

    def _outstanding(self) -> list[int]:
        """The workers who have not got beyond the next round."""
        progress = self._progress
        return [worker for worker, clock in progress.clocks.items() if clock <= progress.rounds]

    def _fold(self) -> None:
        """Fold the next round in, in the order of workers; cancel the work of those too late."""
        number = self._progress.rounds
        gathered = self._rounds.pop(number)
        versions, gradients = zip(*(gathered[k] for k in sorted(gathered)), strict=True)
        staleness = [self._version - version for version in versions]
        self._step(self._together(gradients), self._damping(max(staleness)))
        self._staleness += staleness
        self._version += 1
        if self._waiting.cancel:
            for worker in self._outstanding():
                self._comm.send(None, worker, CANCEL + number)
        self._progress.rounds += 1

    def _answer(self, workers: Sequence[int]) -> None:
        """Send the range to those of these who have asked for it and may go on."""
        for worker in workers:
            clock, where = self._asked[worker]
            if self._waiting.lets_go(worker, clock, self._progress):
                del self._asked[worker]
                values = self._w if where is None else self._w[where]
                self._comm.send((self._progress.rounds, self._version, values), worker, MODEL)
                self._answered[worker] = self._comm.now()

    def _welcome(self, worker: int, clock: int | None) -> None:
        """A worker comes late, and is told where this server is; then says where it begins."""
        progress = self._progress
        if clock is None:
            self._expected.discard(worker)
            here = progress.rounds if self._waiting.by_round else progress.slowest
            progress.moves(worker, here)
            self._comm.send(here, worker, JOIN)
        else:
            progress.moves(worker, clock)

    def _leaves(self, worker: int) -> None:
        """A worker has finished, or is dead: nobody waits for it."""
        self._expected.discard(worker)
        self._progress.leaves(worker)
        self._asked.pop(worker, None)

    def _next(self, patience: float | None) -> Message | None:
        """The next message; None after so many seconds without one."""
        try:
            return self._comm.recv(timeout=patience)
        except (Timeout, RankFailed):
            return None

    def _bury(self) -> None:
        """Let the workers go that have died; what they have pushed stays."""
        for worker in [*self._progress.clocks, *self._expected]:
            try:
                self._comm.recv(worker, tag=DEATH, timeout=0)
            except RankFailed:
                self._leaves(worker)
            except Timeout:
                continue


def mean(gradients: Sequence[np.ndarray | Sparse]) -> np.ndarray | Sparse:
    """Their mean, added up in order; a single one as it is."""
    if len(gradients) == 1:
        return gradients[0]
    dense = [gradient for gradient in gradients if not isinstance(gradient, Sparse)]
    if dense:
        return np.add.reduce(dense, axis=0) / len(dense)
    added = total([gradient for gradient in gradients if isinstance(gradient, Sparse)])
    return added._replace(values=added.values / len(gradients))


def whole(batches: Sequence[Batch]) -> None:
    """All coordinates of the model, whatever the batches have."""


def sparse_coordinates(problem: Problem) -> Callable[[list[Batch]], np.ndarray]:
    """What finds the coordinates that some batches of the problem have, in order, distinct."""
    assert isinstance(problem, Logistic)
    return lambda batches: problem.coordinates(batches) if batches else np.empty(0, np.int64)


def sleep(comm: Comm, seconds: float) -> None:
    """Let so many seconds pass, virtual or real."""
    with suppress(Timeout):
        comm.recv(comm.rank, timeout=seconds)


def check(
    workers: int,
    problem: Problem,
    servers: int,
    clocks: int,
    fetch: int,
    sparse: bool,
    waiting: Waiting,
    late: Mapping[int, float],
    patience: float | None,
) -> None:
    """Raises ValueError for settings that can't be met."""
    check_layout(workers, servers, problem.dim)
    waiting.check(workers)
    if clocks < 0:
        raise ValueError(f"clocks must be 0 or more, got {clocks}")
    if fetch < 1:
        raise ValueError(f"fetch must be 1 batch a clock or more, got {fetch}")
    if sparse and not (isinstance(problem, Logistic) and isinstance(problem.x, Rows)):
        raise ValueError(f"sparse needs a Logistic over Rows, got {type(problem).__name__}")
    if patience is not None and not patience > 0:
        raise ValueError(f"patience must be more than 0 seconds, or None, got {patience}")
    for worker, seconds in late.items():
        if worker not in range(workers) or not seconds >= 0:
            raise ValueError(
                f"late needs workers from 0 to {workers - 1} and seconds >= 0, got "
                f"{worker}: {seconds}"
            )
