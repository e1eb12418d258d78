"""Kardam: asynchronous training in which some workers lie.

Source: G. Damaskinos, E. M. El Mhamdi, R. Guerraoui, R. Patra, M. Taziki, "Asynchronous Byzantine
Machine Learning (the case of SGD)", ICML 2018, arXiv 1802.07928. Gradients are judged one by one as
they arrive, since there is no round to compare them in; rank 0 serves, ranks 1 to n are workers.

- *Lipschitz filter.* A worker's empirical Lipschitz coefficient is |g - g before| / |model - model
  before|, of its own last two gradients and the models that it had for them. A gradient passes if
  its worker's coefficient is at most the (n - f)/n quantile of all workers': the (n - f)-th
  smallest. After n refusals in a row the next one is let through, or training might stand still.
- *Frequency filter.* Of any 2f + 1 gradients in a row that are folded in, f workers have at most f;
  hence a worker waits until 2f others have passed.
- *Dampening.* A gradient of staleness tau counts 1, 1/(tau + 1) or exp(-alpha tau).

What is from where: abstract and slowdown below f/n are the paper's; quantile, coefficient,
dampening and the n refusals are as in the authors' published code (LPD-EPFL/kardam), which has no
frequency filter; the frequency filter is written from memory of the paper, whose text was not at
hand. The code compares with 2/3, which is (n - f)/n at f = n/3, takes the largest of a worker's
last 26 coefficients, and sets the newcomer against the last gradient that was folded in, whoever
sent it; here each is set against its own worker's, as above, and the latest coefficient counts.
Another departure: a worker's first gradient, or one at the model of the one before, has no
coefficient and is judged by its length among the latest lengths; and nothing passes before 2f + 1
workers can be compared. (In the code all pass until someone has a coefficient.)

*Slowdown* SL is the share of the honest workers' gradients that the Lipschitz filter lets pass. The
lecture's bounds, (n - 2f)/(n - f) <= SL <= (n - f)/n: with nobody lying, all coefficients are alike
and f of n are refused; with f liars whose coefficients are always small, all f refusals hit the
n - f honest. So the abstract's loss of f/n is what the filter costs when nobody lies. The bounds
are for liars who hide: loud ones take refusals upon themselves, and SL is then above (n - f)/n.

What the filter can't see: a liar who always sends the same vector has the coefficient 0; one who
turns gradients round has an honest one.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from typing import NamedTuple, Protocol

import numpy as np

from ddml_kit.attacks import Attack, Poison
from ddml_kit.cluster.checks import whole
from ddml_kit.cluster.comm import Comm
from ddml_kit.problems.problem import Problem
from ddml_kit.problems.sharding import Split, contiguous
from ddml_kit.training.byzantine import Worker, check_liars, like
from ddml_kit.training.optimisers import Optimiser, undamped

PUSH, MODEL = range(2)  # tags


class Damping(Protocol):
    """What a gradient counts, by its staleness."""

    def __call__(self, staleness: int) -> float: ...


def exponential(alpha: float = 0.2) -> Damping:
    """exp(-alpha tau): a gradient counts less by the same share with each version that it missed.

    Raises ValueError unless alpha >= 0.
    """
    if not alpha >= 0:
        raise ValueError(f"exponential damping needs alpha >= 0, got {alpha}")
    return lambda staleness: math.exp(-alpha * staleness)


class Judged(NamedTuple):
    """What the server returns; each count is by worker, (n,), rank 1 first.

    w: the model, (dim,). passed: gradients that were folded in. refused: by the Lipschitz filter.
    held: by the frequency filter alone. staleness: of each that was folded in, in versions.
    """

    w: np.ndarray
    passed: np.ndarray
    refused: np.ndarray
    held: np.ndarray
    staleness: np.ndarray

    def slowdown(self, attackers: int = 0) -> float:
        """The share of honest gradients that the Lipschitz filter let pass; the last are liars.

        Raises ValueError where there were none, and where attackers leave no honest worker.
        """
        check_liars(0, attackers, len(self.passed))
        honest = slice(0, len(self.passed) - attackers)
        through = (self.passed + self.held)[honest].sum()
        judged = through + self.refused[honest].sum()
        if judged == 0:
            raise ValueError("a slowdown needs gradients that were judged, got none")
        return float(through / judged)


def slowdown_bounds(n: int, f: int) -> tuple[float, float]:
    """The least and the largest slowdown, (n - 2f)/(n - f) and (n - f)/n.

    Raises ValueError unless f >= 0 and 3f < n.
    """
    check(n, f)
    return (n - 2 * f) / (n - f), (n - f) / n


def kardam(
    comm: Comm,
    problem: Problem,
    optimiser: Optimiser,
    *,
    clocks: int,
    batch_size: int,
    f: int = 0,
    attack: Attack | None = None,
    attackers: int = 0,
    poison: Poison | None = None,
    damping: Callable[[int], float] = undamped,
    filters: bool = True,
    frequency: bool = True,
    split: Split = contiguous,
) -> np.ndarray | Judged:
    """The model, (dim,), when each worker has sent so many gradients; Judged from the server.

    f: liars that the filters assume. attack: what liars send, each seeing its own gradient only.
    attackers: how many liars there are, the last ranks. poison: what liars do to their samples.
    damping: what a gradient of some staleness counts. filters: whether gradients are judged at all.
    frequency: whether by the frequency filter, too. split: who holds which samples.
    Each gradient counts as 1/n of a step. One that is not of the model's length counts as NaN.
    Raises TypeError or ValueError for numbers that can't be.
    """
    n = comm.size - 1
    check(n, f, attackers)
    if whole("clocks must be a whole number", clocks) < 0:
        raise ValueError(f"clocks must be 0 or more, got {clocks}")
    w = problem.initial(seed=0)
    if comm.rank == 0:
        judge = Judge(n, f, w, frequency) if filters else None
        return serve(comm, w, optimiser, judge, n, clocks, damping)
    lies = comm.rank > n - attackers
    worker = Worker(comm, problem, poison if lies else None, 0)
    shard = problem.shard(comm.rank - 1, n, split)
    for batch in shard.batches(comm.stream("batches"), batch_size, clocks):
        gradient = worker.gradient(w, batch)
        if lies and attack is not None:
            gradient = attack(gradient[None], 1, comm.stream("attack"))[0]
        comm.send(gradient, 0, PUSH)
        w = comm.recv(0, MODEL).value
    return comm.recv(0, MODEL).value  # when all have finished


def serve(
    comm: Comm,
    w: np.ndarray,
    optimiser: Optimiser,
    judge: Judge | None,
    n: int,
    clocks: int,
    damping: Callable[[int], float],
) -> Judged:
    """The server: fold in what passes, as it arrives, and answer each at once."""
    step = optimiser(w)
    versions = [0] * n  # that each worker has
    version = 0
    counts = np.zeros((3, n), np.int64)  # passed, refused, held
    staleness = []
    comm.snapshot(w)
    for _ in range(n * clocks):
        gradient, source, _ = comm.recv(tag=PUSH)
        gradient, worker = like(gradient, w), source - 1
        verdict = PASSES if judge is None else judge.judge(worker, gradient)
        counts[verdict, worker] += 1
        if verdict == PASSES:
            staleness.append(version - versions[worker])
            step(gradient, damping(staleness[-1]) / n)
            version += 1
            comm.snapshot(w)
        versions[worker] = version
        if judge is not None:
            judge.answers(worker, w)
        comm.send(w, source, MODEL)
    for worker in range(n):
        comm.send(w, worker + 1, MODEL)
    return Judged(w, counts[0], counts[1], counts[2], np.array(staleness, np.int64))


PASSES, REFUSED, HELD = range(3)  # verdicts


class Judge:
    """Both filters: what each worker sent last, at which model, and who has passed lately.

    w: the model that all begin with, (dim,).
    """

    def __init__(self, n: int, f: int, w: np.ndarray, frequency: bool = True) -> None:
        check(n, f)
        self._n, self._f, self._frequency = n, f, frequency
        self._models = [w.copy()] * n  # that each worker has now
        self._before: list[tuple[np.ndarray, np.ndarray] | None] = [None] * n  # gradient, model
        self._coefficients = np.full(n, np.nan)
        self._lengths = np.full(n, np.nan)
        self._passed: deque[int] = deque(maxlen=2 * f)
        self._in_a_row = 0

    @property
    def coefficients(self) -> np.ndarray:
        """Each worker's latest, (n,); NaN where there is none yet, infinite after what is none."""
        return self._coefficients.copy()

    def judge(self, worker: int, gradient: np.ndarray) -> int:
        """PASSES, REFUSED by the Lipschitz filter, or HELD by the frequency filter.

        gradient: the worker's, (dim,). One with NaN or infinite values never passes, and is not
        compared with.
        """
        if not np.isfinite(gradient).all():
            self._coefficients[worker] = self._lengths[worker] = np.inf
            return REFUSED
        if not among_most(self._noted(worker, gradient), worker, self._f):
            self._in_a_row += 1
            if self._in_a_row <= self._n:
                return REFUSED
        self._in_a_row = 0
        if self._frequency and worker in self._passed:
            return HELD
        self._passed.append(worker)
        return PASSES

    def answers(self, worker: int, w: np.ndarray) -> None:
        """The worker gets this model, (dim,)."""
        self._models[worker] = w.copy()

    def _noted(self, worker: int, gradient: np.ndarray) -> np.ndarray:
        """What to compare it by, (n,), after taking note of it: coefficients, else lengths."""
        model, before = self._models[worker], self._before[worker]
        self._before[worker] = gradient, model
        self._lengths[worker] = norm(gradient)
        moved = 0.0 if before is None else norm(model, before[1])
        if before is None or moved == 0.0:
            return self._lengths
        self._coefficients[worker] = norm(gradient, before[0]) / moved
        return self._coefficients


def among_most(values: np.ndarray, worker: int, f: int) -> bool:
    """Whether a worker's value is at most the (m - f)-th smallest of the m that are known.

    values: (n,), NaN where unknown. False while 2f or fewer are known: liars might be the most.
    """
    known = np.sort(values[~np.isnan(values)])
    return bool(len(known) > 2 * f and values[worker] <= known[len(known) - f - 1])


def norm(x: np.ndarray, y: np.ndarray | float = 0.0) -> float:
    """The distance of two vectors, (d,), in float64."""
    return float(np.linalg.norm(np.subtract(x, y, dtype=np.float64)))


def check(n: int, f: int, attackers: int = 0) -> None:
    """Raises TypeError for what is no whole number, ValueError unless there are a worker, f >= 0,
    3f < n, and 0 <= attackers < n.
    """
    if n < 1:
        raise ValueError("Kardam needs a worker beside its server, got 1 rank")
    check_liars(f, attackers, n)
    if not 3 * f < n:
        raise ValueError(f"Kardam needs n > 3f workers, got n={n} with f={f}")
