"""Data-parallel training: descent on larger batches, with any reducer, on any cluster."""

from __future__ import annotations

import itertools
from functools import partial

import numpy as np
import pytest
import torch

from ddml_kit.cluster import RankFailed, Simulated
from ddml_kit.collectives import halving_doubling, hierarchical, master_worker, ring, tree
from ddml_kit.problems import (
    Data,
    LeastSquares,
    Logistic,
    TorchModule,
    digits,
    sparse_logistic,
)
from ddml_kit.training.adaptive import adam
from ddml_kit.training.data_parallel import data_parallel
from ddml_kit.training.momentum import momentum
from ddml_kit.training.optimisers import sgd
from ddml_kit.training.reducers import by, mean
from tests.clusters import CLUSTERS, SIZES


def over_racks(comm, x):
    return hierarchical(comm, x, racks=min(2, comm.size))


REDUCERS = {
    "mean": mean,
    "master_worker": by(master_worker),
    "ring": by(ring),
    "tree": by(tree),
    "halving_doubling": by(halving_doubling),
    "hierarchical": by(over_racks),
}


@pytest.fixture(scope="module")
def of_digits():
    data = digits()
    return Logistic(data.x, data.y)


def small_network():
    data = digits()
    module = torch.nn.Sequential(
        torch.nn.Flatten(), torch.nn.Linear(64, 24), torch.nn.ReLU(), torch.nn.Linear(24, 10)
    )
    few = Data(data.x[:300], data.y[:300], "some digits")
    return TorchModule(module, torch.nn.functional.cross_entropy, few)


@pytest.mark.parametrize("size", SIZES)
def test_the_same_bits_on_every_rank_of_every_cluster(size):
    def program(comm, problem):
        return [
            data_parallel(comm, problem, optimiser, steps=4, batch_size=33, reducer=reducer)
            for optimiser, reducer in (
                (sgd(0.1), mean),
                (adam(0.01), by(ring)),
                (momentum(0.1), by(halving_doubling)),
            )
        ]

    problem = small_network()
    runs = [cluster(size).run(program, problem) for cluster in CLUSTERS]
    models = [np.array(result) for run in runs for result in run.results]
    for a, b in itertools.pairwise(models):
        np.testing.assert_array_equal(a, b, strict=True)
    assert not np.array_equal(models[0][0], problem.initial(seed=0))
    assert len({run.bytes for run in runs}) == 1


def test_whole_shards_are_gradient_descent_on_all_the_data():
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((60, 5)), rng.standard_normal(60)
    problem = LeastSquares(x, y, l2=0.1)
    run = Simulated(4).run(data_parallel, problem, sgd(0.2), steps=30, batch_size=15)
    w = problem.initial()
    for _ in range(30):
        w = w - 0.2 * (x.T @ (x @ w - y) / 60 + 0.1 * w)
    np.testing.assert_allclose(run.results[0], w, atol=1e-12)


def test_it_is_sgd_on_the_batches_of_all_ranks_together(of_digits):
    def batches_of(comm):
        shard = of_digits.shard(comm.rank, comm.size)
        return list(shard.batches(comm.stream("batches"), 8, 20))

    w = of_digits.initial()
    for batches in zip(*Simulated(3).run(batches_of).results, strict=True):
        gradients = [of_digits.gradient(w, batch) for batch in batches]
        w = w - np.float32(0.1) * (sum(gradients[1:], gradients[0]) / 3)
    run = Simulated(3).run(data_parallel, of_digits, sgd(0.1), steps=20, batch_size=8)
    np.testing.assert_allclose(run.results[0], w, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("reducer", REDUCERS.values(), ids=REDUCERS)
def test_it_learns_digits_with_every_reducer(of_digits, reducer):
    run = Simulated(6).run(
        data_parallel, of_digits, sgd(0.3), steps=150, batch_size=8, reducer=reducer
    )
    for w in run.results:
        np.testing.assert_array_equal(w, run.results[0])
    assert of_digits.accuracy(run.results[0]) > 0.92


def test_reducers_of_messages_differ_from_the_fold_in_the_last_bits_only(of_digits):
    def trained(reducer):
        run = Simulated(5).run(
            data_parallel, of_digits, sgd(0.3), steps=20, batch_size=8, reducer=reducer
        )
        return run.results[0]

    reference = trained(mean)
    np.testing.assert_array_equal(trained(REDUCERS["master_worker"]), reference)
    for name in ("ring", "tree", "halving_doubling"):
        assert not np.array_equal(trained(REDUCERS[name]), reference)
        np.testing.assert_allclose(trained(REDUCERS[name]), reference, atol=1e-5)


@pytest.mark.parametrize("reducer", REDUCERS.values(), ids=REDUCERS)
def test_the_dtype_stays_that_of_the_problem(of_digits, reducer):
    def program(comm):
        seen = []

        def watched(w):
            return lambda gradient, scale: seen.append(gradient.dtype)

        data_parallel(comm, of_digits, watched, steps=1, batch_size=4, reducer=reducer)
        return seen

    assert Simulated(3).run(program).results == [[np.float32]] * 3


def test_a_reducer_is_made_once_on_each_rank():
    def counting(comm):
        calls = 0

        def reduce(gradient):
            nonlocal calls
            calls += 1
            return comm.all_reduce(gradient, "mean") * 0 + calls

        return reduce

    problem = LeastSquares(np.ones((6, 2)), np.ones(6))
    run = Simulated(3).run(
        data_parallel, problem, sgd(1.0), steps=3, batch_size=2, reducer=counting
    )
    np.testing.assert_array_equal(run.results[0], [-6.0, -6.0])


def test_the_schedule_multiplies_the_rate_and_the_batch_follows_the_step():
    problem = LeastSquares(np.eye(8), np.arange(1.0, 9.0))
    options = {"steps": 3, "batch_size": lambda k: 2 * (k + 1)}
    rates = [1.0, 0.5, 0.25]

    def batches_of(comm):
        return list(problem.batches(comm.stream("batches"), options["batch_size"], 3))

    batches = Simulated(1).run(batches_of).results[0]
    assert [len(batch) for batch in batches] == [2, 4, 2]  # 8 samples are a pass
    w = problem.initial()
    for rate, batch in zip(rates, batches, strict=True):
        w = w - rate * problem.gradient(w, batch)
    run = Simulated(1).run(data_parallel, problem, sgd(1.0), schedule=lambda k: rates[k], **options)
    np.testing.assert_array_equal(run.results[0], w)
    compute = run.trace.of(0)
    expected = [problem.seconds(batch) for batch in batches]
    np.testing.assert_allclose(compute["stop"] - compute["start"], expected)


def test_snapshots_are_the_models_of_each_step():
    problem = LeastSquares(np.eye(4), np.ones(4))
    run = Simulated(2).run(data_parallel, problem, sgd(0.5), steps=5, batch_size=2)
    losses = run.curve(problem.loss)
    assert losses.step.tolist() == [0, 1, 2, 3, 4, 5]
    assert np.all(np.diff(losses.value) < 0)


def test_sparse_gradients_are_written_out():
    data = sparse_logistic(60, 40, 5, seed=0)
    sparse = Logistic(data.x, data.y, dtype=np.float64)
    full = np.zeros((60, 40))
    full[np.repeat(np.arange(60), 5), data.x.indices] = data.x.values
    dense = Logistic(full, data.y, dtype=np.float64)
    for reducer in (mean, by(ring)):
        models = [
            Simulated(3)
            .run(data_parallel, problem, sgd(0.5), steps=8, batch_size=4, reducer=reducer)
            .results[0]
            for problem in (sparse, dense)
        ]
        np.testing.assert_allclose(models[0], models[1], atol=1e-12)


def test_more_ranks_than_samples_is_an_error():
    problem = LeastSquares(np.ones((2, 2)), np.ones(2))
    with pytest.raises(RankFailed, match="2 samples can be shared by 1 to 2 ranks, got 3"):
        Simulated(3).run(data_parallel, problem, sgd(1.0), steps=1, batch_size=1)


def test_models_of_different_size_are_an_error_on_every_rank(of_digits):
    def program(comm, reducer):
        features = 5 + (comm.rank == 2)
        problem = LeastSquares(np.ones((6, features)), np.ones(6))
        return data_parallel(comm, problem, sgd(0.1), steps=2, batch_size=2, reducer=reducer)

    for reducer in (mean, by(ring), by(partial(hierarchical, racks=1))):
        run = Simulated(3, on_failure="continue").run(program, reducer)
        assert sorted(run.failures) == [0, 1, 2]
        for failure in run.failures.values():
            assert "rank 2" in str(failure)
