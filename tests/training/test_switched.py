"""Training in which the network adds up the gradients."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from ddml_kit.cluster import Network, RankFailed, Simulated
from ddml_kit.collectives.fixed_point import saturate
from ddml_kit.problems import Logistic, digits
from ddml_kit.training.data_parallel import data_parallel
from ddml_kit.training.optimisers import sgd
from ddml_kit.training.switched import switched
from tests.clusters import CLUSTERS


@pytest.fixture(scope="module")
def problem():
    data = digits()
    return Logistic(data.x, data.y)


def test_it_learns_digits_as_if_the_gradients_were_exact(problem):
    settings = {"steps": 150, "batch_size": 8}
    network = Network(switch=True)
    run = Simulated(6, network=network).run(switched, problem, sgd(0.3), **settings)
    exact = Simulated(5).run(data_parallel, problem, sgd(0.3), **settings)
    *workers, switch = run.results
    assert switch is None
    for w in workers:
        np.testing.assert_array_equal(w, workers[0])
        assert w.dtype == np.float32
    np.testing.assert_allclose(workers[0], exact.results[0], atol=1e-4)
    assert problem.accuracy(workers[0]) > 0.92


def test_the_mean_has_the_dtype_of_the_gradients(problem):
    def program(comm):
        seen = []

        def watched(w):
            return lambda gradient, scale: seen.append(gradient.dtype)

        switched(comm, problem, watched, steps=1, batch_size=4)
        return seen

    assert Simulated(3).run(program).results == [[np.float32], [np.float32], []]


def test_a_coarse_scale_learns_less(problem):
    settings = {"steps": 60, "batch_size": 8}
    run = Simulated(5).run(switched, problem, sgd(0.3), f=10.0, **settings)
    exact = Simulated(4).run(data_parallel, problem, sgd(0.3), **settings)
    assert problem.loss(run.results[0]) > problem.loss(exact.results[0]) + 0.05


def test_the_same_bits_on_every_cluster(problem):
    settings = {"steps": 4, "batch_size": 8, "elements": 100, "slots": 3, "overflow": saturate}
    runs = [c(4).run(switched, problem, sgd(0.3), **settings) for c in CLUSTERS]
    models = [w for run in runs for w in run.results[:3]]
    for a, b in itertools.pairwise(models):
        np.testing.assert_array_equal(a, b, strict=True)
    assert len({run.bytes for run in runs}) == 1


def test_a_gradient_that_overflows_ends_the_run_with_a_sentence(problem):
    with pytest.raises(RankFailed, match=r"OverflowError: .*at scale 1e\+12.* beyond 32 bits"):
        Simulated(3).run(switched, problem, sgd(0.3), steps=2, batch_size=8, f=1e12)


def test_a_switch_needs_a_worker(problem):
    with pytest.raises(RankFailed, match="ValueError: a switch and a worker are 2 ranks, got 1"):
        Simulated(1).run(switched, problem, sgd(0.3), steps=2, batch_size=8)
