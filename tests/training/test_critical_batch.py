"""The critical batch: its equation over all draws, its two extremes, and what B gradients weigh."""

import itertools
import tracemalloc

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from ddml_kit.problems import LeastSquares, Logistic, TorchModule, digits
from ddml_kit.training.critical_batch import (
    critical_batch,
    gradients,
    mean_gradient,
    worst_case_speed_up,
)
from ddml_kit.training.optimisers import sgd
from ddml_kit.training.steps_to_target import steps_needed


def drawn(shape=(5, 3), seed=0):
    return np.random.default_rng(seed).standard_normal(shape) + 0.5


@pytest.mark.parametrize("batch", [1, 2, 4])
def test_the_mean_of_a_batch_is_as_long_as_the_equation_says(batch):
    """E |mean of B|^2 = E |g|^2 / B (1 + (B - 1) / B0), over all draws with replacement."""
    each = drawn()
    draws = itertools.product(range(len(each)), repeat=batch)
    squared = [np.sum(each[list(draw)].mean(axis=0) ** 2) for draw in draws]
    one = np.mean(np.sum(each**2, axis=1))
    expected = one / batch * (1 + (batch - 1) / critical_batch(each))
    assert np.mean(squared) == pytest.approx(expected)


@given(arrays(np.float64, (6, 4), elements=st.floats(-9, 9)))
def test_it_is_one_more_than_the_simple_noise_scale(each):
    mean = each.mean(axis=0)
    if mean @ mean < 1e-6:
        return
    noise = np.trace(np.cov(each.T, bias=True)) / (mean @ mean)
    assert critical_batch(each) == pytest.approx(1 + noise)
    assert critical_batch(each) >= 1 - 1e-12


@given(st.integers(1, 5000), st.floats(1, 5000))
def test_the_worst_case_is_the_curve_of_steps(batch, critical):
    gain = steps_needed(1, 7.0, critical - 1) / steps_needed(batch, 7.0, critical - 1)
    assert worst_case_speed_up(batch, critical) == pytest.approx(gain)
    assert 1 - 1e-9 <= worst_case_speed_up(batch, critical) <= min(batch, critical) * (1 + 1e-9)


def test_samples_that_are_all_alike_make_one():
    """A batch of copies makes the step of one of them: B0 is 1, and nothing speeds it up."""
    problem = LeastSquares(np.ones((8, 2)), np.ones(8))
    [whole] = problem.batches(None, 8, 1)
    each = gradients(problem, np.zeros(2), whole)
    assert critical_batch(each) == 1
    assert worst_case_speed_up(8, 1) == 1
    np.testing.assert_array_equal(problem.gradient(np.zeros(2), whole), each[0])


def test_samples_that_have_nothing_in_common_scale_perfectly():
    """With orthogonal samples a step of B at B times the rate is B single steps, up to all n."""
    n, rate = 8, 0.1
    problem = LeastSquares(np.eye(n), np.ones(n))
    [whole] = problem.batches(None, n, 1)
    assert critical_batch(gradients(problem, np.zeros(n), whole)) == pytest.approx(n)

    def trained(batch):
        w = np.zeros(n)
        step = sgd(rate * batch)(w)
        for chosen in problem.batches(None, batch, n // batch):
            step(problem.gradient(w, chosen), 1.0)
        return w

    for batch in (2, 4, 8):
        np.testing.assert_allclose(trained(batch), trained(1))


def network(data):
    module = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10))
    return TorchModule(module, torch.nn.functional.cross_entropy, data)


@pytest.mark.parametrize("make", [lambda d: Logistic(d.x, d.y), network], ids=["linear", "torch"])
def test_gradients_are_those_of_the_samples_and_their_mean_the_batch_s(make):
    problem = make(digits().take(np.arange(12)))
    w = problem.initial(0) + np.float32(0.01)
    [batch] = problem.batches(None, 12, 1)
    each = gradients(problem, w, batch)
    assert each.shape == (12, problem.dim)
    assert each.dtype == problem.dtype
    for row, one in zip(each, problem.batches(None, 1, 12), strict=True):
        np.testing.assert_array_equal(row, problem.gradient(w, one))
    for mean in (each.mean(axis=0), mean_gradient(problem, w, batch)):
        np.testing.assert_allclose(mean, problem.gradient(w, batch), rtol=1e-4, atol=1e-6)


def peak(call):
    tracemalloc.start()
    try:
        kept = call()
        return tracemalloc.get_traced_memory()[1], kept
    finally:
        tracemalloc.stop()


def test_b_gradients_take_b_models_and_their_mean_few():
    rng = np.random.default_rng(0)
    problem = LeastSquares(rng.standard_normal((64, 5000)), rng.standard_normal(64))
    [batch] = problem.batches(None, 64, 1)
    w = problem.initial()
    assert peak(lambda: gradients(problem, w, batch))[0] > 64 * w.nbytes
    assert peak(lambda: mean_gradient(problem, w, batch))[0] < 8 * w.nbytes


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: critical_batch(np.zeros(3)), r"must be \(n, dim\), one or more, got \(3,\)"),
        (lambda: critical_batch(np.zeros((0, 3))), r"one or more, got \(0, 3\)"),
        (lambda: worst_case_speed_up(0, 3), "are 1 or more, got 0 and 3"),
        (lambda: worst_case_speed_up(2, 0.5), "are 1 or more, got 2 and 0.5"),
    ],
)
def test_what_has_no_critical_batch_gets_a_sentence(call, sentence):
    with pytest.raises(ValueError, match=sentence):
        call()


def test_at_a_minimum_there_is_none():
    assert critical_batch(np.array([[1.0, 0], [-1, 0]])) == np.inf
