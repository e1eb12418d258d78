"""Personalised models: against descent on what they minimise, and better than learning alone."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from ddml_kit.cluster import RankFailed, Simulated
from ddml_kit.cluster.endpoint import generator
from ddml_kit.problems import LeastSquares, Logistic
from ddml_kit.topologies import complete, metropolis, ring
from ddml_kit.training.personalised import (
    noise_scale,
    objective,
    personalised,
    personalised_rounds,
)
from tests.clusters import CLUSTERS, SIZES

PROGRAMS = [personalised, personalised_rounds]


def of_so_many(counts):
    """A split by which ranks hold so many samples, one after the other."""

    def split(labels, size):
        return np.split(np.arange(len(labels)), np.cumsum(counts)[:-1])

    return split


def lines(counts, dim=3, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((sum(counts), dim))
    return LeastSquares(x, x @ rng.standard_normal(dim) + rng.standard_normal(len(x)), l2=0.1)


@pytest.mark.parametrize("size", SIZES)
def test_the_same_bits_on_every_cluster(size):
    counts = [4, 9, 6, 3, 5][:size]
    problem, W = lines(counts), metropolis(ring(size))

    def program(comm):
        options = {"W": W, "steps": 8, "noise": 0.1, "split": of_so_many(counts)}
        return [each(comm, problem, **options) for each in PROGRAMS]

    runs = [cluster(size).run(program) for cluster in CLUSTERS]
    for a, b in itertools.pairwise(runs):
        np.testing.assert_array_equal(np.array(a.results), np.array(b.results), strict=True)
        assert a.bytes == b.bytes


COUNTS = [4, 10, 7, 2]
ALIKE = np.array([[0, 2, 0, 1], [2, 5, 1, 0], [0, 1, 0, 3], [1, 0, 3, 0]], float)


def stepped(problem, wakes, mu, smoothness):
    """All models, (n, dim), after the ranks of each group in `wakes` have stepped together."""
    n, split = len(COUNTS), of_so_many(COUNTS)
    shards = [problem.shard(rank, n, split) for rank in range(n)]
    [*batches] = [next(s.batches(None, len(s), 1)) for s in shards]
    alike = ALIKE * (1 - np.eye(n))
    confidence = np.array(COUNTS) / max(COUNTS)
    X = np.zeros((n, problem.dim))
    for group in wakes:
        around = alike @ X / alike.sum(axis=1, keepdims=True)
        after = X.copy()
        for i in group:
            alpha = 1 / (1 + mu * confidence[i] * smoothness)
            gradient = shards[i].gradient(X[i], batches[i])
            after[i] = (1 - alpha) * X[i] + alpha * (around[i] - mu * confidence[i] * gradient)
        X = after
    return X


def test_ranks_that_wake_one_by_one_are_coordinate_descent():
    problem, options = lines(COUNTS), {"mu": 0.7, "smoothness": 6.0}
    split = of_so_many(COUNTS)
    run = Simulated(4).run(personalised, problem, W=ALIKE, steps=60, split=split, **options)
    wakes = generator(0, 0, "wakes").integers(4, size=60)
    X = stepped(problem, [[i] for i in wakes], **options)
    np.testing.assert_allclose(np.array(run.results), X, rtol=0, atol=1e-12)
    links = [np.count_nonzero(ALIKE[i]) - (ALIKE[i, i] > 0) for i in range(4)]
    messages = sum(links) + sum(links[i] for i in wakes)
    assert run.messages == messages


def test_rounds_are_steps_of_all_at_once():
    problem, options = lines(COUNTS), {"mu": 0.7, "smoothness": 6.0}
    split = of_so_many(COUNTS)
    run = Simulated(4).run(personalised_rounds, problem, W=ALIKE, steps=20, split=split, **options)
    X = stepped(problem, [range(4)] * 20, **options)
    np.testing.assert_allclose(np.array(run.results), X, rtol=0, atol=1e-12)
    assert run.messages == 20 * 8


def minimum(problem, mu):
    """The models, (n, dim), at which the objective's gradient is 0: a linear system."""
    n, d = len(COUNTS), problem.dim
    shards = [problem.shard(rank, n, of_so_many(COUNTS)) for rank in range(n)]
    alike = ALIKE * (1 - np.eye(n))
    degree = alike.sum(axis=1)
    A = np.kron(np.diag(degree) - alike, np.eye(d))
    b = np.zeros(n * d)
    for i, shard in enumerate(shards):
        weight = mu * degree[i] * COUNTS[i] / max(COUNTS)
        block = slice(i * d, (i + 1) * d)
        A[block, block] += weight * (shard.x.T @ shard.x / len(shard) + 0.1 * np.eye(d))
        b[block] = weight * (shard.x.T @ shard.y / len(shard))
    return np.linalg.solve(A, b).reshape(n, d), shards


@pytest.mark.parametrize("program", PROGRAMS)
def test_it_converges_to_the_minimum_of_the_objective(program):
    problem, split = lines(COUNTS), of_so_many(COUNTS)
    best, shards = minimum(problem, 0.7)
    run = Simulated(4).run(
        program, problem, W=ALIKE, steps=2000, mu=0.7, smoothness=6.0, split=split
    )
    np.testing.assert_allclose(np.array(run.results), best, rtol=0, atol=1e-6)
    least = objective(best, shards, ALIKE, mu=0.7)
    assert objective(np.array(run.results), shards, ALIKE, mu=0.7) == pytest.approx(least)
    for change in np.random.default_rng(0).standard_normal((10, *best.shape)):
        assert objective(best + 0.1 * change, shards, ALIKE, mu=0.7) > least


@pytest.fixture(scope="module")
def two_minded():
    """12 people with 6 samples each, of two minds: what they hold, of whom each is, W, their truth.

    Rows of x and y are person after person; W says who is of one mind.
    """
    rng = np.random.default_rng(3)
    minds = 3 * rng.standard_normal((2, 8))
    mind = np.arange(12) % 2
    truth = minds[mind] + 0.1 * rng.standard_normal((12, 8))
    x = rng.standard_normal((12, 6, 8))
    y = (np.einsum("psd,pd->ps", x, truth) > 0).astype(np.int64)
    W = (mind[:, None] == mind).astype(float) + 0.01
    return Logistic(x.reshape(72, 8), y.reshape(72), l2=0.01, dtype=np.float64), W, truth


def accuracy(models, truth):
    """The mean share of new points that each classifies as its own truth does."""
    x = np.random.default_rng(9).standard_normal((2000, truth.shape[1]))
    models = np.array(models)[:, : truth.shape[1]]
    return np.mean((x @ models.T > 0) == (x @ truth.T > 0))


def test_like_minded_neighbours_help_and_others_do_not(two_minded):
    problem, W, truth = two_minded

    def trained(W, **change):
        options = {"steps": 1200, "mu": 0.5, "smoothness": 3.0} | change
        return accuracy(Simulated(12).run(personalised, problem, W=W, **options).results, truth)

    like_minded = trained(W)
    everyone = trained(metropolis(complete(12)))
    alone = trained(W, mu=100.0)
    assert like_minded > alone + 0.03
    assert like_minded > everyone + 0.05
    private = trained(W, noise=noise_scale(10.0, samples=6, lipschitz=2.0, wakes=100))
    assert private < like_minded


def test_the_noise_is_what_epsilon_asks_for():
    assert noise_scale(0.5, samples=20, lipschitz=3.0, wakes=4) == pytest.approx(
        2 * 3.0 / (0.5 / 4 * 20)
    )
    with pytest.raises(ValueError, match=r"epsilon > 0, .* got 0, 1, 1 and 1"):
        noise_scale(0, samples=1, lipschitz=1, wakes=1)
    problem = lines([3, 3])
    options = {"W": metropolis(ring(2)), "steps": 1, "mu": 1.0, "smoothness": 1.0}
    plain = Simulated(2).run(personalised_rounds, problem, **options)
    noisy = Simulated(2).run(personalised_rounds, problem, noise=0.3, **options)
    for rank in range(2):
        drawn = generator(0, rank, "noise").laplace(0, 0.3, problem.dim)
        np.testing.assert_allclose(noisy.results[rank], plain.results[rank] - 0.5 * drawn)


HALF_A_LINK = np.array([[1, 1, 1e-12], [1, 1, 1], [0, 1, 1]])  # one would send, nobody would wait


@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"steps": -1}, "steps must be 0 or more, got -1"),
        ({"steps": 1.5}, "steps must be a whole number, got 1.5"),
        ({"mu": "a"}, "mu must be a number, got 'a'"),
        ({"mu": 0.0}, "mu must be more than 0, got 0.0"),
        ({"smoothness": -1.0}, "smoothness must be more than 0, got -1.0"),
        ({"noise": -0.1}, "noise must be 0 or more, got -0.1"),
        ({"W": np.eye(3)}, "a similarity must connect all ranks, got 3 parts"),
        ({"W": np.triu(np.ones((3, 3)))}, "a similarity must be symmetric here"),
        ({"W": HALF_A_LINK}, r"must be symmetric here, got W\[0, 2\] = 1e-12 and W\[2, 0\] = 0"),
        ({"W": np.ones((2, 2))}, r"a similarity is \(n, n\) for n ranks, got \(2, 2\) for 3"),
    ],
)
def test_what_is_refused(program, change, sentence):
    call = {"W": np.ones((3, 3)), "steps": 1} | change
    with pytest.raises(RankFailed, match=sentence):
        Simulated(3).run(program, lines([2, 2, 2]), **call)
