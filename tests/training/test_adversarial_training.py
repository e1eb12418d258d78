"""Adversarial training: a problem that perturbs its batches, on one machine and on clusters."""

from __future__ import annotations

import dataclasses
import itertools
from functools import partial

import numpy as np
import pytest

from ddml_kit.adversarial import accuracy, l2, perceptron, pgd, robust_accuracy
from ddml_kit.cluster import Simulated
from ddml_kit.problems import Batch, Data, digits
from ddml_kit.problems.torch_threads import one_thread
from ddml_kit.training.adaptive import adam
from ddml_kit.training.adversarial import Adversarial
from ddml_kit.training.data_parallel import data_parallel
from ddml_kit.training.one_machine import mini_batch
from ddml_kit.training.optimisers import sgd
from ddml_kit.training.overlap import overlapped
from tests.clusters import CLUSTERS


def few(n: int = 120) -> Data:
    return digits().take(np.arange(n))


def adversarial(**options) -> Adversarial:
    return Adversarial(perceptron(few(), 12), **{"eps": 0.1, "steps": 3, **options})


@pytest.mark.parametrize("size", [1, 3])
def test_the_same_bits_on_every_rank_of_every_cluster(size):
    def program(comm, problem):
        return [
            data_parallel(comm, problem, sgd(0.2), steps=4, batch_size=13),
            overlapped(comm, problem, adam(0.01), steps=2, batch_size=13, bucket_bytes=1000),
        ]

    problem = adversarial()
    runs = [cluster(size).run(program, problem) for cluster in CLUSTERS]
    models = [np.array(result) for run in runs for result in run.results]
    for a, b in itertools.pairwise(models):
        np.testing.assert_array_equal(a, b, strict=True)
    assert len({run.bytes for run in runs}) == 1
    clean = Simulated(size).run(program, problem.clean)
    assert not np.array_equal(models[0], clean.results[0])
    assert runs[0].bytes == clean.bytes


def test_virtual_time_counts_every_gradient_of_the_attack():
    problem = adversarial(steps=7)
    batch = next(problem.batches(None, 10, 1))
    assert problem.seconds(batch) == pytest.approx(8 * problem.clean.seconds(batch))
    for program in (mini_batch, data_parallel):
        runs = [
            Simulated(1).run(program, each, sgd(0.1), steps=5, batch_size=10)
            for each in (problem, problem.clean)
        ]
        assert runs[0].seconds == pytest.approx(8 * runs[1].seconds)


def test_the_gradient_is_that_of_the_images_that_pgd_finds():
    problem = adversarial(eps=0.15, steps=4, step=0.05)
    w = problem.initial(3)
    batch = next(problem.batches(np.random.default_rng(0), 20, 1))
    start = np.random.default_rng(batch.seed)
    with one_thread():
        x = pgd(
            problem.clean.module(w).eval(), batch.x, batch.y, eps=0.15, step=0.05, steps=4,
            start=start,
        )  # fmt: skip
    wanted = problem.clean.gradient(w, dataclasses.replace(batch, x=x))
    np.testing.assert_array_equal(problem.gradient(w, batch), wanted)
    np.testing.assert_array_equal(problem.gradient(w, batch), wanted)  # a function of its batch
    assert not np.array_equal(wanted, problem.clean.gradient(w, batch))


def test_the_batches_are_those_of_the_clean_problem():
    problem = adversarial()

    def drawn(each, rng):
        return list(each.batches(rng, 50, 4))

    mine = drawn(problem, np.random.default_rng(1))
    theirs = drawn(problem.clean, np.random.default_rng(1))
    for a, b in zip(mine, theirs, strict=True):
        np.testing.assert_array_equal(a.x, b.x)
        np.testing.assert_array_equal(a.y, b.y)
    assert len({batch.seed for batch in mine}) == 4
    fixed = adversarial(random_start=False)
    for batches in (drawn(problem, None), drawn(fixed, np.random.default_rng(1))):
        assert all(type(batch) is Batch for batch in batches)


def test_without_a_radius_it_is_training():
    problem = adversarial(eps=0.0, steps=2)
    runs = [
        Simulated(2).run(data_parallel, each, sgd(0.1), steps=5, batch_size=10)
        for each in (problem, problem.clean)
    ]
    np.testing.assert_array_equal(runs[0].results[0], runs[1].results[0])
    w = runs[0].results[0]
    assert problem.loss(w) == problem.clean.loss(w)
    assert problem.accuracy(w) == problem.clean.accuracy(w)


def test_loss_and_accuracy_are_the_robust_ones():
    problem = adversarial(eps=0.3)
    w = Simulated(1).run(mini_batch, problem.clean, adam(0.02), steps=60, batch_size=40).results[0]
    assert problem.clean.accuracy(w) > 0.9
    assert problem.accuracy(w) < 0.2
    assert problem.loss(w) > 3 * problem.clean.loss(w)


def test_the_standard_model_falls_and_the_robust_one_pays_some_clean_accuracy():
    """Madry et al.'s finding, on digits, with a perceptron that is trained in seconds."""
    train, test = digits().split(0.3)
    problem = perceptron(train)
    robust = Adversarial(problem, eps=0.2, steps=4)
    program = partial(Simulated(1).run, mini_batch, optimiser=adam(0.005), batch_size=64)
    standard, defended = (
        problem.module(program(each, steps=300).results[0]).eval() for each in (problem, robust)
    )
    attack = partial(pgd, steps=20, stop_early=True)
    with one_thread():
        falls, holds = (
            robust_accuracy(model, test.x, test.y, attack, eps=[0.0, 0.1, 0.2])
            for model in (standard, defended)
        )
        assert falls[0] == accuracy(standard, test.x, test.y)
    assert falls[2] < 0.02
    assert holds[2] > 0.3
    assert holds[1] > falls[1] + 0.2
    assert 0.8 < holds[0] < falls[0] - 0.02


def test_what_it_refuses():
    with pytest.raises(ValueError, match="eps must be 0 or more and finite, got -1"):
        adversarial(eps=-1)
    with pytest.raises(ValueError, match="step must be above 0 and finite, got 0"):
        adversarial(step=0)
    with pytest.raises(ValueError, match="steps must be 0 or more, got -3"):
        adversarial(steps=-3)
    with pytest.raises(ValueError, match=r"within their bounds \(0, 0.5\), got"):
        adversarial(bounds=(0, 0.5))
    assert adversarial(norm=l2).shard(1, 3).norm is l2
    assert len(adversarial().shard(1, 3)) == 40
