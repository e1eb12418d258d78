"""Personalised models: each rank has its own, pulled towards those of like-minded neighbours.

A. Bellet, R. Guerraoui, M. Taziki, M. Tommasi, "Personalized and Private Peer-to-Peer Machine
Learning", AISTATS 2018, arXiv 1705.08435. Nobody wants one model for all: what is minimised, over
the models w_i of all ranks, is

    1/2 sum_(i<j) W_ij |w_i - w_j|^2  +  mu sum_i D_i c_i L_i(w_i),      D_i = sum_(j != i) W_ij

with L_i the loss on the rank's own samples, and c_i, from 0 to 1, how confident it is: how many
samples it has, over the most that any has. W[i, j] says how much alike i and j are; rows need not
add up to 1, and the diagonal counts for nothing. A rank that wakes takes a step in its own block,

    w_i = (1 - alpha_i) w_i + alpha_i (sum_j W_ij / D_i w_j - mu c_i gradient of L_i),

alpha_i = 1 / (1 + mu c_i smoothness), and sends what came out to its neighbours. The fewer samples
a rank has, the more it listens.

Departures: all start from the problem's initial model, not from one trained alone. The ranks of the
paper have Poisson clocks and need nobody; here rank 0 draws the order in which those clocks ring,
so that a run repeats, and a rank waits for no message but those that were sent before it woke.
`personalised_rounds` has no clock: all step at once. Noise is of one scale in all steps, and what
they cost in privacy is added up (the paper's budgets may vary, and add up a little less).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ddml_kit.cluster.checks import real
from ddml_kit.cluster.comm import Comm
from ddml_kit.problems.problem import Batch, Problem
from ddml_kit.problems.sharding import Split, contiguous
from ddml_kit.problems.sparse import dense
from ddml_kit.topologies.mixing import check_similarity
from ddml_kit.training.gossip import check_steps, exchange


def personalised(
    comm: Comm,
    problem: Problem,
    *,
    W: np.ndarray,
    steps: int,
    mu: float = 1.0,
    smoothness: float = 10.0,
    noise: float = 0.0,
    split: Split = contiguous,
) -> np.ndarray:
    """A rank's personal model, (dim,), near its neighbours': one rank wakes at a time.

    W: how much alike ranks are, (n, n), symmetric. steps: how often any rank wakes, all counted
    together. mu: what the own data count beside the neighbours. smoothness: a bound on the
    curvature of a rank's loss; below it, steps are too long. noise: the scale of Laplace noise on
    every number of a gradient, for privacy, as `noise_scale` has it. split: who holds which
    samples. Snapshots are the rank's own model, one each time that it wakes.
    Raises ValueError for a W or settings that won't do.
    """
    check_steps(steps)
    me = Person(comm, problem, W, mu, smoothness, noise, split)
    draws = comm.stream("wakes").integers(comm.size, size=steps)
    wakes = comm.broadcast(draws).tolist()
    w = problem.initial(seed=0)
    models = exchange(comm, w, W)
    comm.snapshot(w)
    for i in wakes:
        if i == comm.rank:
            w = me.step(w, models)
            for j in models:
                comm.send(w, j)
            comm.snapshot(w)
        elif i in models:
            models[i] = comm.recv(i).value
    return w


def personalised_rounds(
    comm: Comm,
    problem: Problem,
    *,
    W: np.ndarray,
    steps: int,
    mu: float = 1.0,
    smoothness: float = 10.0,
    noise: float = 0.0,
    split: Split = contiguous,
) -> np.ndarray:
    """A rank's personal model, (dim,), near its neighbours': all ranks step at once, in rounds.

    W: how much alike ranks are, (n, n), symmetric. steps: of every rank. mu: what the own data
    count beside the neighbours. smoothness: a bound on the curvature of a rank's loss. noise: the
    scale of Laplace noise on every number of a gradient. split: who holds which samples. Snapshots
    are the rank's own model. Raises ValueError for a W or settings that won't do.
    """
    check_steps(steps)
    me = Person(comm, problem, W, mu, smoothness, noise, split)
    w = problem.initial(seed=0)
    comm.snapshot(w)
    for _ in range(steps):
        models = exchange(comm, w, W)
        w = me.step(w, models)
        comm.snapshot(w)
    return w


class Person:
    """What a rank knows: its samples, whom it is like, and how much it trusts itself."""

    def __init__(
        self,
        comm: Comm,
        problem: Problem,
        W: np.ndarray,
        mu: float,
        smoothness: float,
        noise: float,
        split: Split,
    ) -> None:
        check(comm, W, mu, smoothness, noise)
        self._comm, self._noise = comm, noise
        self._shard = problem.shard(comm.rank, comm.size, split)
        [self._samples] = self._shard.batches(None, len(self._shard), 1)
        confidence = len(self._shard) / comm.all_reduce(len(self._shard), "max")
        self._pull = mu * confidence
        self._alpha = 1 / (1 + mu * confidence * smoothness)
        others = W[comm.rank] * (np.arange(comm.size) != comm.rank)
        self._like = (others / max(others.sum(), np.finfo(float).tiny)).tolist()

    def step(self, w: np.ndarray, models: dict[int, np.ndarray]) -> np.ndarray:
        """The rank's model after a step, (dim,), a new array. models: the neighbours', by rank."""
        gradient = self._gradient(w, self._samples)
        self._comm.work(self._shard.seconds(self._samples))
        around = sum(self._like[j] * models[j] for j in models) if models else w
        return (1 - self._alpha) * w + self._alpha * (around - self._pull * gradient)

    def _gradient(self, w: np.ndarray, samples: Batch) -> np.ndarray:
        """Of the loss on all samples of the rank, noisy if asked for, (dim,)."""
        gradient = dense(self._shard.gradient(w, samples), self._shard.dim)
        if self._noise:
            drawn = self._comm.stream("noise").laplace(0, self._noise, len(gradient))
            gradient = gradient + drawn.astype(gradient.dtype)
        return gradient


def noise_scale(epsilon: float, *, samples: int, lipschitz: float, wakes: int) -> float:
    """The scale of Laplace noise with which all steps of a rank are epsilon-private together.

    samples: that the rank has. lipschitz: the largest 1-norm that the gradient of one sample can
    have. wakes: how often the rank steps; each step costs epsilon / wakes.
    Raises ValueError unless all are positive.
    """
    if not (epsilon > 0 and lipschitz > 0 and samples >= 1 and wakes >= 1):
        raise ValueError(
            "noise_scale needs epsilon > 0, lipschitz > 0, samples >= 1 and wakes >= 1, got "
            f"{epsilon}, {lipschitz}, {samples} and {wakes}"
        )
    return 2 * lipschitz * wakes / (epsilon * samples)


def objective(
    models: np.ndarray, shards: Sequence[Problem], W: np.ndarray, *, mu: float = 1.0
) -> float:
    """What is minimised, for the models of all ranks, (n, dim), and their parts of the data."""
    W = W * ~np.eye(len(W), dtype=bool)
    apart = np.sum((models[:, None] - models[None]) ** 2, axis=2)
    most = max(map(len, shards))
    losses = [len(s) / most * s.loss(w) for w, s in zip(models, shards, strict=True)]
    return float(np.sum(W * apart) / 4 + mu * W.sum(axis=1) @ losses)


def check(comm: Comm, W: np.ndarray, mu: float, smoothness: float, noise: float) -> None:
    """Raises ValueError for settings that can't be met, TypeError for what are no numbers."""
    check_similarity(W, size=comm.size)
    if not real("mu must be a number", mu) > 0:
        raise ValueError(f"mu must be more than 0, got {mu}")
    if not real("smoothness must be a number", smoothness) > 0:
        raise ValueError(f"smoothness must be more than 0, got {smoothness}")
    if not real("noise must be a number", noise) >= 0:
        raise ValueError(f"noise must be 0 or more, got {noise}")
