"""Synchronous training in which some workers lie: with a robust server, or without any server.

Sources: P. Blanchard, E. M. El Mhamdi, R. Guerraoui, J. Stainer, "Machine Learning with
Adversaries: Byzantine Tolerant Gradient Descent", NIPS 2017, arXiv 1703.02757, section 2 (the
server, which is honest, and the f of n workers who may do anything); server-less as in R. Guerraoui
et al., "Garfield: System Support for Byzantine Machine Learning", DSN 2021, arXiv 2010.05888.

What the rule assumes, f, and how many attackers there are have nothing to do with each other; the
attackers are the last ranks. They hear what the honest send before they send their own, and agree
on their lies; that costs messages, which a trace shows and a real attacker would hide. An attack
may also leave the gradient as it is, and tamper with the samples (`poison`), or with the time: with
`stale` the liars' gradients are right, but of a model of so many steps ago, which is how an honest
worker of an asynchronous system looks to a rule. What is not of the model's length is a plain lie,
like NaN: a rule leaves it out and counts a liar. A rule may have memory, as `CentredClipping` does:
whoever applies it has a copy of his own, which knows nothing but this training.

Departure: without a server a liar tells everybody the same. One that tells each a different lie
drives the models apart, which no rule mends that looks at one's own mail only.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from copy import deepcopy

import numpy as np

from ddml_kit.aggregation import Rule, mean
from ddml_kit.attacks import Attack, Poison
from ddml_kit.cluster.checks import whole
from ddml_kit.cluster.comm import Comm
from ddml_kit.problems.problem import Batch, BatchSize, Problem
from ddml_kit.problems.sharding import Split, contiguous
from ddml_kit.problems.sparse import dense
from ddml_kit.training.optimisers import Optimiser
from ddml_kit.training.reducers import Reduce, Reducer
from ddml_kit.training.schedules import Schedule, constant

GRADIENT, OVERHEARD, MODEL = range(3)  # tags


def robust(rule: Rule, f: int, *, attack: Attack | None = None, attackers: int = 0) -> Reducer:
    """A reducer: all send all their gradients, and each applies the rule.

    f: how many liars the rule assumes. attack: what the last `attackers` ranks send; None: what
    they are given. Its randomness is the stream "attack" of each attacker, which sends its own row
    of the lies. Raises TypeError or ValueError for numbers that can't be, or for what the rule
    refuses.
    """

    def reducer(comm: Comm) -> Reduce:
        check_liars(f, attackers, comm.size)
        own_rule = deepcopy(rule)
        honest = comm.size - attackers
        lies = attack if attackers else None
        rng = comm.stream("attack")

        def reduce(gradient: np.ndarray) -> np.ndarray:
            liar = lies is not None and comm.rank >= honest
            sent = comm.all_gather(None if liar else gradient)
            if lies is not None:
                seen = np.stack(sent[:honest])
                mine = lies(seen, attackers, rng)[comm.rank - honest] if liar else None
                sent[honest:] = comm.all_gather(mine)[honest:]
            return own_rule(together(sent, gradient), f)

        return reduce

    return reducer


def server_less(
    comm: Comm,
    problem: Problem,
    optimiser: Optimiser,
    *,
    steps: int,
    batch_size: BatchSize,
    rule: Rule = mean,
    f: int = 0,
    attack: Attack | None = None,
    attackers: int = 0,
    poison: Poison | None = None,
    stale: int = 0,
    split: Split = contiguous,
    schedule: Schedule = constant,
) -> np.ndarray:
    """The model after so many steps, (dim,), the same on every rank: all to all, without a server.

    rule: makes one gradient of all. f: liars that it assumes. attack: what liars send. attackers:
    how many liars there are, the last ranks. poison: what liars do to their samples. stale: steps
    by which the liars' models are old. split: who holds which samples.
    Raises TypeError or ValueError for numbers that can't be, or for what the rule refuses.
    """
    check_stale(stale)
    check(rule, f, attackers, comm.size, problem.dim)
    reduce = robust(rule, f, attack=attack, attackers=attackers)(comm)
    lies = comm.rank >= comm.size - attackers
    worker = Worker(comm, problem, poison if lies else None, stale if lies else 0)
    w = problem.initial(seed=0)
    step = optimiser(w)
    shard = problem.shard(comm.rank, comm.size, split)
    comm.snapshot(w)
    for k, batch in enumerate(shard.batches(comm.stream("batches"), batch_size, steps)):
        step(reduce(worker.gradient(w, batch)), schedule(k))
        comm.snapshot(w)
    return w


def robust_server(
    comm: Comm,
    problem: Problem,
    optimiser: Optimiser,
    *,
    steps: int,
    batch_size: BatchSize,
    rule: Rule = mean,
    f: int = 0,
    attack: Attack | None = None,
    attackers: int = 0,
    poison: Poison | None = None,
    stale: int = 0,
    split: Split = contiguous,
    schedule: Schedule = constant,
) -> np.ndarray:
    """The model after so many steps, (dim,), the same on every rank: rank 0 serves, others work.

    rule: makes one gradient of all. f: liars that it assumes. attack: what liars send. attackers:
    how many liars there are, the last ranks. poison: what liars do to their samples. stale: steps
    by which the liars' models are old. split: who holds which samples.
    Raises TypeError or ValueError for numbers that can't be, or for what the rule refuses.
    """
    workers = comm.size - 1
    check_stale(stale)
    check(rule, f, attackers, workers, problem.dim)
    w = problem.initial(seed=0)
    if comm.rank == 0:
        rule, step = deepcopy(rule), optimiser(w)
        comm.snapshot(w)
        for k in range(steps):
            sent = [comm.recv(source, GRADIENT).value for source in range(1, comm.size)]
            step(rule(together(sent, w), f), schedule(k))
            comm.snapshot(w)
            for dest in range(1, comm.size):
                comm.send(w, dest, MODEL)
        return w
    liars = range(comm.size - attackers, comm.size)
    lies = comm.rank in liars
    worker = Worker(comm, problem, poison if lies else None, stale if lies else 0)
    shard = problem.shard(comm.rank - 1, workers, split)
    for batch in shard.batches(comm.stream("batches"), batch_size, steps):
        gradient = worker.gradient(w, batch)
        if attack is not None:
            gradient = overheard(comm, gradient, attack, liars)
        comm.send(gradient, 0, GRADIENT)
        w = comm.recv(0, MODEL).value
    return w


def overheard(comm: Comm, gradient: np.ndarray, attack: Attack, liars: range) -> np.ndarray:
    """What this worker sends, (d,): the honest tell the liars, too, and the liars then lie."""
    if comm.rank not in liars:
        for liar in liars:
            comm.send(gradient, liar, OVERHEARD)
        return gradient
    seen = [comm.recv(worker, OVERHEARD).value for worker in range(1, liars.start)]
    return attack(np.stack(seen), len(liars), comm.stream("attack"))[comm.rank - liars.start]


class Worker:
    """What a worker finds: honestly, on poisoned samples, or at the model of some steps ago."""

    def __init__(self, comm: Comm, problem: Problem, poison: Poison | None, stale: int) -> None:
        self._comm, self._problem, self._poison = comm, problem, poison
        self._models: deque[np.ndarray] = deque(maxlen=stale + 1)

    def gradient(self, w: np.ndarray, batch: Batch) -> np.ndarray:
        """The gradient, (dim,), which takes the time that it takes."""
        if self._poison is not None:
            batch = self._poison(batch, self._comm.stream("poison"))
        if self._models.maxlen != 1:
            self._models.append(w.copy())
            w = self._models[0]
        gradient = dense(self._problem.gradient(w, batch), self._problem.dim)
        self._comm.work(self._problem.seconds(batch))
        return gradient


def together(sent: Sequence[np.ndarray], model: np.ndarray) -> np.ndarray:
    """The gradients as rows, (n, d); NaN is in the place of those that are not like the model."""
    return np.stack([like(vector, model) for vector in sent])


def like(vector: np.ndarray, model: np.ndarray) -> np.ndarray:
    """The vector if its shape is the model's, (d,), else NaN, (d,)."""
    return vector if np.shape(vector) == model.shape else np.full_like(model, np.nan)


def check(rule: Rule, f: int, attackers: int, workers: int, dim: int) -> None:
    """Raises for numbers that can't be, and what the rule says to so few workers."""
    if workers < 1:
        raise ValueError("a robust server needs a worker beside it, got 1 rank")
    check_liars(f, attackers, workers)
    deepcopy(rule)(np.zeros((workers, dim)), f)


def check_liars(f: int, attackers: int, workers: int) -> None:
    """Raises TypeError for what is no whole number, ValueError unless f, attackers >= 0 and one
    worker is honest.
    """
    if whole("f must be a whole number of liars", f) < 0:
        raise ValueError(f"f must be 0 liars or more, got {f}")
    if not 0 <= whole("attackers must be a whole number", attackers) < workers:
        raise ValueError(
            f"attackers must be 0 or more and leave an honest worker, got {attackers} of "
            f"{workers} workers"
        )


def check_stale(stale: int) -> None:
    """Raises TypeError for what is no whole number, ValueError unless it is 0 or more."""
    if whole("stale must be a whole number of steps", stale) < 0:
        raise ValueError(f"stale must be 0 steps or more, got {stale}")
