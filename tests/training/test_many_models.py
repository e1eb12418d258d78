"""Models averaged in the end, and the hybrid of online updates and whole batches: by hand."""

import numpy as np
import pytest

from ddml_kit.cluster import Simulated
from ddml_kit.cluster.endpoint import generator
from ddml_kit.problems import LeastSquares, Logistic, digits
from ddml_kit.training.hybrid import hybrid
from ddml_kit.training.model_averaging import averaged
from ddml_kit.training.momentum import momentum
from ddml_kit.training.optimisers import sgd

RNG = np.random.default_rng(0)
PROBLEM = LeastSquares(RNG.standard_normal((23, 5)), RNG.standard_normal(23))
SIZES = [1, 2, 5]


@pytest.mark.parametrize("n", SIZES)
def test_the_average_is_that_of_models_trained_alone(n):
    run = Simulated(n, seed=3).run(averaged, PROBLEM, momentum(0.01), steps=9, batch_size=2)
    alone = []
    for rank in range(n):
        w = PROBLEM.initial()
        step = momentum(0.01)(w)
        shard = PROBLEM.shard(rank, n)
        for batch in shard.batches(generator(3, rank, "batches"), 2, 9):
            step(shard.gradient(w, batch), 1.0)
        alone.append(w)
        np.testing.assert_array_equal(run.results[rank].own, w)
    for result in run.results:
        np.testing.assert_allclose(result.w, np.mean(alone, axis=0), rtol=1e-12)
        np.testing.assert_array_equal(result.w, run.results[0].w)
    mine = [s.w for s in run.snapshots if s.rank == 0]
    assert len(mine) == 9 + 2
    np.testing.assert_array_equal(mine[-1], run.results[0].w)


def test_one_exchange_in_all():
    run = Simulated(4).run(averaged, PROBLEM, sgd(0.01), steps=30, batch_size=1)
    assert run.bytes == 2 * 3 * PROBLEM.dim * 8


def test_an_average_beats_its_models_and_not_one_that_saw_everything():
    """What all of them have not seen, no mean brings back."""
    train, test = (Logistic(d.x, d.y) for d in digits().split(seed=0))
    run = Simulated(16).run(averaged, train, sgd(1.0), steps=100, batch_size=4)
    one = Simulated(1).run(averaged, train, sgd(1.0), steps=1600, batch_size=4)
    own = [test.loss(result.own) for result in run.results]
    assert test.loss(run.results[0].w) < 0.9 * min(own)
    assert test.loss(one.results[0].w) < 0.8 * test.loss(run.results[0].w)


@pytest.mark.parametrize("n", SIZES)
def test_without_online_updates_it_is_gradient_descent_however_the_data_are_shared(n):
    run = Simulated(n).run(hybrid, PROBLEM, sgd(0.1), rounds=8, online=0, rate=1.0)
    w = PROBLEM.initial()
    [whole] = PROBLEM.batches(None, len(PROBLEM), 1)
    for _ in range(8):
        w -= 0.1 * PROBLEM.gradient(w, whole)
    for result in run.results:
        np.testing.assert_allclose(result, w, rtol=1e-12)


@pytest.mark.parametrize("n", SIZES)
def test_a_round_is_online_updates_a_mean_and_a_step_with_everything(n):
    rounds, online, rate = 4, 3, 0.05
    run = Simulated(n, seed=1).run(
        hybrid, PROBLEM, momentum(0.1), rounds=rounds, online=online, rate=rate
    )
    w = PROBLEM.initial()
    step = momentum(0.1)(w)
    samples = [
        PROBLEM.shard(rank, n).batches(generator(1, rank, "batches"), 1, rounds * online)
        for rank in range(n)
    ]
    [whole] = PROBLEM.batches(None, len(PROBLEM), 1)
    for _ in range(rounds):
        models = []
        for rank in range(n):
            mine = w.copy()
            for _ in range(online):
                mine -= rate * PROBLEM.gradient(mine, next(samples[rank]))
            models.append(mine)
        w[:] = np.mean(models, axis=0)
        step(PROBLEM.gradient(w, whole), 1.0)
    for result in run.results:
        np.testing.assert_allclose(result, w, rtol=1e-10)
    assert len([s for s in run.snapshots if s.rank == 0]) == rounds + 1


def test_the_hybrid_s_time_is_that_of_its_samples():
    free = Simulated(1).run(hybrid, PROBLEM, sgd(0.1), rounds=4, online=3, rate=0.05)
    [whole] = PROBLEM.batches(None, len(PROBLEM), 1)
    [one] = PROBLEM.batches(None, 1, 1)
    assert free.seconds == pytest.approx(4 * (PROBLEM.seconds(whole) + 3 * PROBLEM.seconds(one)))
