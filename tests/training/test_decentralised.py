"""D-SGD and CHOCO-SGD: their matrix forms, linear speed-up, a classifier, a sequence model."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from ddml_kit.cluster import RankFailed, Simulated
from ddml_kit.cluster.endpoint import generator
from ddml_kit.compression import QSGD, Sign, TopK
from ddml_kit.problems import (
    Data,
    Logistic,
    Quadratic,
    TorchModule,
    by_label,
    digits,
    dirichlet,
    shuffled,
)
from ddml_kit.problems.series import energy_demand, lagged
from ddml_kit.topologies import complete, metropolis, ring, social_network, star, torus
from ddml_kit.topologies.consensus import choco_step, distance, exact_step
from ddml_kit.training.data_parallel import data_parallel
from ddml_kit.training.decentralised import choco_sgd, d_sgd
from ddml_kit.training.momentum import momentum
from ddml_kit.training.optimisers import sgd
from tests.clusters import CLUSTERS, SIZES
from tests.codecs import by_row


@pytest.fixture(scope="module")
def of_digits():
    data = digits()
    return Logistic(data.x, data.y)


def parabolas(samples, dim=5, noise=1.0):
    """Quadratics whose minima lie about 1, each of them noise away from it."""
    rng = np.random.default_rng(0)
    minima = 1 + noise * rng.standard_normal((samples, dim))
    return Quadratic(np.broadcast_to(np.eye(dim), (samples, dim, dim)), minima)


@pytest.mark.parametrize("size", SIZES)
def test_the_same_bits_on_every_cluster(size, of_digits):
    W = metropolis(ring(size))

    def program(comm):
        options = {"W": W, "steps": 3, "batch_size": 7, "split": by_label}
        return [
            d_sgd(comm, of_digits, momentum(0.1), **options),
            choco_sgd(comm, of_digits, sgd(0.1), **options),
            choco_sgd(comm, of_digits, sgd(0.1), codec=QSGD(4), gamma=0.2, **options),
        ]

    runs = [cluster(size).run(program) for cluster in CLUSTERS]
    for a, b in itertools.pairwise(runs):
        np.testing.assert_array_equal(np.array(a.results), np.array(b.results), strict=True)
        assert a.bytes == b.bytes
    assert runs[0].results[0][0].dtype == np.float32


def gradients(problem, size, batch_size, steps, split):
    """Step for step, what makes of all models the gradients of the batches that ranks draw."""
    shards = [problem.shard(rank, size, split) for rank in range(size)]
    streams = [
        shard.batches(generator(0, rank, "batches"), batch_size, steps)
        for rank, shard in enumerate(shards)
    ]
    for batches in zip(*streams, strict=True):
        yield lambda X, batches=batches: np.array(
            [s.gradient(x, b) for s, x, b in zip(shards, X, batches, strict=True)]
        )


@pytest.mark.parametrize("codec", [Sign(), TopK(2), QSGD(4)], ids=repr)
def test_choco_sgd_is_its_matrix_form(codec):
    n, problem, W = 5, parabolas(40), metropolis(star(5))
    options = {"steps": 30, "batch_size": 3, "split": shuffled(1)}
    run = Simulated(n).run(choco_sgd, problem, sgd(0.1), W=W, codec=codec, gamma=0.3, **options)
    state, compress = (np.zeros((n, 5)), np.zeros((n, 5))), by_row(codec, n)
    for gradient in gradients(problem, n, 3, 30, options["split"]):
        half = state[0] - 0.1 * gradient(state[0])
        state = choco_step((half, state[1]), W, compress, 0.3)
    np.testing.assert_allclose(np.array(run.results), state[0], rtol=0, atol=1e-12)


def test_d_sgd_is_its_matrix_form_also_where_weights_differ_by_direction():
    n, problem = 5, parabolas(40)
    nothing_of_its_own = (np.roll(np.eye(n), 1, axis=1) + np.roll(np.eye(n), -1, axis=1)) / 2
    one_way = (np.eye(n) + np.roll(np.eye(n), 1, axis=1)) / 2
    for W in (metropolis(star(n)), one_way, nothing_of_its_own):
        run = Simulated(n).run(
            d_sgd, problem, sgd(0.1), W=W, steps=30, batch_size=3, schedule=lambda k: 1 / (1 + k)
        )
        X = np.zeros((n, 5))
        split = lambda labels, size: np.array_split(np.arange(len(labels)), size)  # noqa: E731
        for k, gradient in enumerate(gradients(problem, n, 3, 30, split)):
            X = exact_step(X - 0.1 / (1 + k) * gradient(X), W)
        np.testing.assert_allclose(np.array(run.results), X, rtol=0, atol=1e-12)


def test_with_all_linked_to_all_d_sgd_is_data_parallel_training():
    problem, options = parabolas(48), {"steps": 20, "batch_size": 4}
    alone = Simulated(4).run(d_sgd, problem, sgd(0.1), W=metropolis(complete(4)), **options)
    centre = Simulated(4).run(data_parallel, problem, sgd(0.1), **options)
    np.testing.assert_allclose(
        np.array(alone.results), np.array(centre.results), rtol=0, atol=1e-13
    )


def test_bytes_are_those_of_the_payloads_between_neighbours():
    problem, W, links = parabolas(60, dim=32), metropolis(star(6)), 2 * 5
    options = {"W": W, "steps": 4, "batch_size": 2}
    exact = Simulated(6).run(d_sgd, problem, sgd(0.1), **options)
    assert (exact.bytes, exact.messages) == (4 * links * 32 * 8, 4 * links)
    signs = Simulated(6).run(choco_sgd, problem, sgd(0.1), codec=Sign(), **options)
    assert signs.bytes == 4 * links * (32 // 8 + 4)


def test_choco_sgds_error_falls_as_1_over_the_number_of_workers():
    problem = parabolas(6400, dim=10)  # so many that no rank sees one twice
    best = problem.y.mean(axis=0)

    def error(n):
        """The mean squared distance from the best, late in training: all that is left is noise."""
        run = Simulated(n).run(
            choco_sgd,
            problem,
            sgd(0.1),
            W=metropolis(ring(n)),
            codec=TopK(0.3),
            gamma=0.5,
            steps=400,
            batch_size=1,
            split=shuffled(0),
        )
        late = {}
        for snapshot in run.snapshots:
            if snapshot.step > 100:
                late.setdefault(snapshot.step, []).append(snapshot.w)
        means = np.array([np.mean(models, axis=0) for models in late.values()])
        return np.mean(np.sum((means - best) ** 2, axis=1))

    errors = [error(n) for n in (1, 4, 16)]
    for fewer, more in itertools.pairwise(errors):
        assert 2.8 < fewer / more < 5.7  # 4 times the workers


def test_signs_on_the_social_network_teach_a_classifier(of_digits):
    options = {"W": metropolis(social_network()), "steps": 100, "batch_size": 16}
    exact = Simulated(32).run(d_sgd, of_digits, sgd(0.3), **options)
    signs = Simulated(32).run(choco_sgd, of_digits, sgd(0.3), codec=Sign(), gamma=0.5, **options)
    assert exact.bytes > 25 * signs.bytes
    for run in (exact, signs):
        assert min(of_digits.accuracy(w) for w in run.results) > 0.87
        assert of_digits.accuracy(np.mean(run.results, axis=0)) > 0.91


def test_where_neighbours_differ_models_do_too_and_the_gap_tells_by_how_much(of_digits):
    def disagreement(graph, split):
        run = Simulated(8).run(
            d_sgd, of_digits, sgd(0.5), W=metropolis(graph), steps=40, batch_size=16, split=split
        )
        return distance(np.array(run.results))

    alike = disagreement(ring(8), shuffled(0))
    mixed = disagreement(ring(8), dirichlet(0.1, 0))
    apart = disagreement(ring(8), by_label)
    assert alike < mixed < apart
    assert disagreement(complete(8), by_label) < 1e-9 * apart


class Forecaster(torch.nn.Module):
    """The next value, told by an LSTM that has read those before it; (b, hours) -> (b,)."""

    def __init__(self, hidden):
        super().__init__()
        self.lstm = torch.nn.LSTM(1, hidden, batch_first=True)
        self.last = torch.nn.Linear(hidden, 1)

    def forward(self, x):
        states, _ = self.lstm(x[:, :, None])
        return self.last(states[:, -1])[:, 0]


def test_a_sequence_model_learns_with_signs():
    series = energy_demand(1000, seed=0)
    series = ((series - series.mean()) / series.std()).astype(np.float32)
    x, y = lagged(series, 12)
    x = np.ascontiguousarray(x[:, ::-1])  # in the order of time
    problem = TorchModule(Forecaster(8), torch.nn.functional.mse_loss, Data(x, y, "demand"))
    run = Simulated(8).run(
        choco_sgd,
        problem,
        momentum(0.05),
        W=metropolis(torus(2, 4)),
        codec=Sign(),
        gamma=0.5,
        steps=80,
        batch_size=16,
    )
    guess = np.mean((y - x[:, -1]) ** 2)  # the next hour is as this one
    assert max(problem.loss(w) for w in run.results) < 0.5 * guess


def test_what_is_refused(of_digits):
    W, options = metropolis(ring(3)), {"steps": 1, "batch_size": 4}
    with pytest.raises(RankFailed, match="gamma must be more than 0 and at most 1, got 0"):
        Simulated(3).run(choco_sgd, of_digits, sgd(0.1), W=W, gamma=0, **options)
    one_way = (np.eye(3) + np.roll(np.eye(3), 1, axis=1)) / 2
    with pytest.raises(RankFailed, match="a mixing matrix must be symmetric here"):
        Simulated(3).run(choco_sgd, of_digits, sgd(0.1), W=one_way, **options)
    for program in (d_sgd, choco_sgd):
        with pytest.raises(RankFailed, match=r"\(n, n\) for n ranks, got \(3, 3\) for 4"):
            Simulated(4).run(program, of_digits, sgd(0.1), W=W, **options)
        with pytest.raises(RankFailed, match="must connect all ranks, got 3 parts"):
            Simulated(3).run(program, of_digits, sgd(0.1), W=np.eye(3), **options)
