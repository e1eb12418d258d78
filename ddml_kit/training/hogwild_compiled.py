"""Hogwild! at the speed of the machine: sparse logistic regression, many samples a call.

The program is `hogwild.hogwild`, its inner loop compiled (kernels/logistic.py) and working on the
shared vector itself. Three things make it fast; each leaves the algorithm what it was.

- The rows of a shard are laid in memory in the order in which they will be read. Rows in random
  order cost a cache miss each, which is most of what other implementations spend.
- Features are numbered by falling frequency, so that the hot ones share cache lines. Of the lines
  that a sample of 75 among 47,236 Zipf features touches, two workers have to fetch 23 from each
  other, and 37 where features are numbered at random.
- Each worker keeps a copy of the model and writes its changes back by turns. With plain stores two
  workers are 0.25 to 0.6 times as fast as one, as the two cores lie far apart or near: fetching
  lines is most of what they do. With copies they are 1.6 to 1.8 times as fast. The coordinate that
  is r-th in frequency is written back about every r/2 samples, which under Zipf's law is after
  about as many changes whichever it is. (Writing all back every few hundred samples costs as
  little, but four workers then overshoot together, and diverge.) The write-back is as unlocked as
  any other store: what another stores between its load and its store is lost. The copies lie behind
  the model in the shared vector, so that the inner loop is the same with them and without.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ddml_kit.cluster.comm import Comm
from ddml_kit.problems.csr import Rows
from ddml_kit.problems.logistic import Logistic
from ddml_kit.problems.problem import Batch, check_finite
from ddml_kit.training.hogwild import check
from ddml_kit.training.kernels import logistic, rows

LINE = 16  # float32 in a cache line of 64 bytes


class RacedCompiled(NamedTuple):
    """What a rank returns.

    w: the model that all ranks left, (dim,). updates: how many this rank made.
    staleness: of each call, how many updates of others fell into it, (calls,).
    seconds: from the first call to the end of this rank's last, rows and machine code being ready.
    """

    w: np.ndarray
    updates: int
    staleness: np.ndarray
    seconds: float


def hogwild_compiled(
    comm: Comm,
    problem: Logistic,
    *,
    passes: int,
    lr: float,
    decay: float = 1.0,
    shuffle: bool = True,
    chunk: int = 65536,
    delay: int = 256,
) -> RacedCompiled:
    """`passes` over each rank's shard without a lock, in float32 and with no regulariser.

    lr: multiplied by `decay` after each pass. shuffle: visit the rows in an order drawn once from
    the stream "batches"; else as they are stored. chunk: samples a call of the machine code.
    delay: samples of all workers together after which the hottest coordinates are written back;
    with 0, or one rank, there are no copies and every store goes to the model itself.
    In virtual time a call happens in an instant and then lasts as long as its gradients.
    Raises FloatingPointError where the model is not finite after a pass.
    """
    check(lr, decay)
    ready = Ready(comm, problem, shuffle=shuffle, delay=delay)
    comm.barrier()
    return descend(comm, ready, passes=passes, lr=lr, decay=decay, chunk=chunk)


def descend(
    comm: Comm, ready: Ready, *, passes: int, lr: float, decay: float, chunk: int
) -> RacedCompiled:
    """What `hogwild_compiled` returns, from rows and machine code that are ready."""
    if chunk < 1:
        raise ValueError(f"chunk must be 1 or more, got {chunk}")
    updates = comm.shared(np.zeros((comm.size, LINE), np.int64))  # a rank writes its own line
    staleness: list[int] = []
    start = comm.now()
    for number in range(passes):
        for first in range(0, len(ready.rows), chunk):
            batch = ready.batch(first, first + chunk)
            before = updates.sum() - updates[comm.rank, 0]
            ready.step(batch, lr * decay**number)
            staleness.append(int(updates.sum() - updates[comm.rank, 0] - before))
            updates[comm.rank, 0] += len(batch)
            comm.work(ready.problem.seconds(batch))  # in virtual time: it was done in an instant
            if comm.rank == 0:
                comm.snapshot(ready.model())
        check_finite(ready.model(), "the model")
    seconds = comm.now() - start
    comm.barrier()
    return RacedCompiled(
        ready.model(), passes * len(ready.rows), np.array(staleness, np.int64), seconds
    )


class Ready:
    """One rank's rows as the machine code wants them, and the shared vector; collective to make.

    The vector holds the model, by falling frequency of the features, and then each rank's copy of
    it, unless there are none; every part begins on a cache line.
    """

    def __init__(self, comm: Comm, problem: Logistic, *, shuffle: bool, delay: int) -> None:
        _check(problem, delay)
        self.problem = problem
        shard = problem.shard(comm.rank, comm.size)
        order = np.arange(len(shard))
        if shuffle:
            order = comm.stream("batches").permutation(order)
        self._y = shard.y[order].astype(np.int64)
        copies = comm.size if delay and comm.size > 1 else 0
        part = -(-problem.dim // LINE) * LINE
        self._w = comm.shared(np.zeros(part * (1 + copies), np.float32))
        self._copy = part * (1 + comm.rank) if copies else 0  # where the rank's own begins
        self._agreed = np.zeros(problem.dim, np.float32)
        self._delay = max(1, delay // comm.size)
        self._block = max(LINE, 2 * self._delay)
        self._place = _by_frequency(comm, shard.x)  # of each coordinate in the model
        self.rows = _laid(shard.x, order, self._place + np.int32(self._copy), len(self._w))
        self.step(self.batch(0, 0), 0.0)  # compiles

    def batch(self, first: int, last: int) -> Batch:
        """The rank's samples from first to last, as many of them as there are."""
        return Batch(self.rows[first:last], self._y[first:last])

    def step(self, batch: Batch, lr: float) -> None:
        """A step for each sample of the batch; at its end all is written back."""
        arrays = batch.x.values, batch.x.indices, batch.x.indptr, batch.y
        if self._copy:
            own = self._copy, self._agreed, self._delay, self._block
            logistic.sgd_written_back(self._w, *arrays, lr, *own)
        else:
            logistic.sgd(self._w, *arrays, lr)

    def model(self) -> np.ndarray:
        """The model in the problem's own order, (dim,), as it was last written back."""
        return self._w[self._place]


def _by_frequency(comm: Comm, x: Rows) -> np.ndarray:
    """Each feature's rank by its frequency in all ranks' rows, from 0, (features,) int32."""
    frequency = np.zeros(x.features, np.int64)
    rows.count(_read_only(x.indices), frequency)
    frequency = comm.all_reduce(frequency)
    place = np.empty(x.features, np.int32)
    place[np.argsort(-frequency, kind="stable")] = np.arange(x.features, dtype=np.int32)
    return place


def _laid(x: Rows, order: np.ndarray, place: np.ndarray, features: int) -> Rows:
    """A copy of these rows in this order, with index j turned into place[j]."""
    length = int(np.diff(x.indptr)[order].sum())
    laid = Rows(
        np.empty(length, np.float32),
        np.empty(length, np.int32),
        np.empty(len(order) + 1, np.int64),
        features,
    )
    values, indices, indptr = map(_read_only, (x.values, x.indices, x.indptr))
    rows.lay(values, indices, indptr, order, place, laid.values, laid.indices, laid.indptr)
    return laid


def _read_only(array: np.ndarray) -> np.ndarray:
    """A read-only view, whatever the array is, so that numba compiles for one type only."""
    view = array.view()
    view.flags.writeable = False
    return view


def _check(problem: Logistic, delay: int) -> None:
    if not isinstance(problem, Logistic) or not isinstance(problem.x, Rows):
        raise TypeError(
            f"hogwild_compiled needs a Logistic problem over Rows, got {type(problem).__name__}"
        )
    if problem.classes != 2 or problem.l2 or problem.dtype != np.float32:
        raise ValueError(
            "hogwild_compiled needs 2 classes, l2=0 and float32, got "
            f"classes={problem.classes}, l2={problem.l2}, {problem.dtype}"
        )
    if delay < 0:
        raise ValueError(f"delay must be 0 or more, got {delay}")
