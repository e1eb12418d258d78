"""Old learning rules: gradients of their losses by torch, and what they come to."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ddml_kit.cluster import Simulated
from ddml_kit.problems import LeastSquares
from ddml_kit.training.many_names import lms, oja, perceptron
from ddml_kit.training.one_machine import mini_batch
from ddml_kit.training.optimisers import sgd

RNG = np.random.default_rng(4)
SAMPLES = [(RNG.standard_normal(3), RNG.standard_normal(3), float(s)) for s in (1, -1, 1, -1, 1)]


@pytest.mark.parametrize(
    ("rule", "loss"),
    [
        (perceptron, lambda w, x, y: torch.relu(-y * (w @ x))),
        (lms, lambda w, x, y: (w @ x - y) ** 2 / 2),
    ],
)
def test_a_rule_is_the_gradient_of_its_loss(rule, loss) -> None:
    for w, x, y in SAMPLES:
        leaf = torch.tensor(w, requires_grad=True)
        loss(leaf, torch.tensor(x), y).backward()
        np.testing.assert_allclose(rule(w, x, y), leaf.grad.numpy(), atol=1e-15)


def test_lms_is_mini_batch_descent_with_one_sample_a_step() -> None:
    x, y = RNG.standard_normal((20, 3)), RNG.standard_normal(20)
    problem = LeastSquares(x, y)
    run = Simulated(1).run(mini_batch, problem, sgd(0.1), steps=40, batch_size=1)
    w = np.zeros(3)
    for batch in problem.batches(_stream(), 1, 40):
        w -= 0.1 * lms(w, batch.x[0], batch.y[0])
    np.testing.assert_allclose(run.results[0], w, rtol=1e-12)


def _stream() -> np.random.Generator:
    return Simulated(1).run(lambda comm: comm.stream("batches")).results[0]


def test_a_perceptron_learns_what_a_plane_parts_and_then_stays() -> None:
    """Novikoff 1962: at most (R / margin)^2 mistakes."""
    x = RNG.uniform(-1, 1, (400, 3))
    x = x[np.abs(x @ [1.0, -2.0, 0.5]) > 0.3]
    y = np.sign(x @ [1.0, -2.0, 0.5])
    w, mistakes = np.zeros(3), 0
    for _ in range(20):
        for sample, label in zip(x, y, strict=True):
            gradient = perceptron(w, sample, label)
            mistakes += bool(gradient.any())
            w -= gradient
    assert (np.sign(x @ w) == y).all()
    margin = 0.3 / np.linalg.norm([1.0, -2.0, 0.5])
    assert 0 < mistakes <= (np.linalg.norm(x, axis=1).max() / margin) ** 2


def test_oja_finds_the_first_principal_component_with_length_one() -> None:
    x = (
        RNG.standard_normal((4000, 4))
        @ np.linalg.cholesky(np.diag([4.0, 1.0, 0.5, 0.2]) + 0.15 * np.ones((4, 4))).T
    )
    w = np.full(4, 0.5)
    for k, sample in enumerate(x):
        w -= 1 / (50 + k) * oja(w, sample)
    component = np.linalg.eigh(x.T @ x)[1][:, -1]
    assert abs(w @ component) > 0.99
    assert np.linalg.norm(w) == pytest.approx(1.0, abs=0.01)


def test_oja_is_hebb_s_rule_and_a_return_to_the_sphere_to_first_order() -> None:
    for w, x, _ in SAMPLES:
        w = w / np.linalg.norm(w)
        for lr, within in ((1e-3, 1e-4), (1e-4, 1e-6)):
            hebb = w + lr * (w @ x) * x
            exact = hebb / np.linalg.norm(hebb)
            np.testing.assert_allclose(w - lr * oja(w, x), exact, atol=within)
