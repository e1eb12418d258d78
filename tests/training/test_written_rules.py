"""Rules written out: torch.optim's steps to the last bits; what momentum buys on a quadratic."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from ddml_kit.training.adaptive import adagrad, adam, rmsprop
from ddml_kit.training.momentum import best_rates, momentum, nesterov
from ddml_kit.training.optimisers import from_torch, sgd

DIM, STEPS, LR = 300, 60, 0.03
OURS_AND_TORCHS = {
    "momentum": (momentum(LR, mu=0.8), torch.optim.SGD, {"momentum": 0.8}),
    "nesterov": (nesterov(LR, mu=0.8), torch.optim.SGD, {"momentum": 0.8, "nesterov": True}),
    "adagrad": (adagrad(LR), torch.optim.Adagrad, {}),
    "adagrad, eps": (adagrad(LR, eps=0.5), torch.optim.Adagrad, {"eps": 0.5}),
    "rmsprop": (rmsprop(LR), torch.optim.RMSprop, {}),
    "rmsprop, alpha": (rmsprop(LR, alpha=0.9, eps=0.1), torch.optim.RMSprop,
                       {"alpha": 0.9, "eps": 0.1}),
    "adam": (adam(LR), torch.optim.Adam, {}),
    "adam, betas": (adam(LR, beta1=0.7, beta2=0.9, eps=0.1), torch.optim.Adam,
                    {"betas": (0.7, 0.9), "eps": 0.1}),
    "adam without memory": (adam(LR, beta1=0.0, beta2=0.0), torch.optim.Adam,
                            {"betas": (0.0, 0.0)}),
}  # fmt: skip


def gradients(dtype):
    """(STEPS, DIM), of sizes from a hundredth to a hundred."""
    rng = np.random.default_rng(0)
    return (rng.standard_normal((STEPS, DIM)) * np.logspace(-2, 2, DIM)).astype(dtype)


@pytest.mark.parametrize("name", OURS_AND_TORCHS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_it_is_torch_s_rule_to_the_last_bits(name: str, dtype: type) -> None:
    """After every step, within 10 roundings of the largest value that a coordinate has had.

    Not to the bit: torch's kernels multiply and add with one rounding where NumPy has two.
    """
    ours, kind, options = OURS_AND_TORCHS[name]
    w = np.random.default_rng(1).standard_normal(DIM).astype(dtype)
    theirs = w.copy()
    step, torchs_step = ours(w), from_torch(kind, lr=LR, **options)(theirs)
    largest = np.abs(w)
    for k, gradient in enumerate(gradients(dtype)):
        scale = 1 / (1 + k % 3)
        step(gradient, scale)
        torchs_step(gradient, scale)
        largest = np.maximum(largest, np.abs(theirs))
        assert (np.abs(w - theirs) <= 10 * np.finfo(dtype).eps * largest).all(), f"step {k}"
    assert w.dtype == dtype


def test_the_settings_differ_by_far_more_than_that() -> None:
    ends = []
    for optimiser, _, _ in OURS_AND_TORCHS.values():
        w = np.zeros(DIM)
        step = optimiser(w)
        for gradient in gradients(np.float64):
            step(gradient, 1.0)
        ends.append(w)
    for k, one in enumerate(ends):
        assert all(np.abs(one - other).max() > 1e-3 for other in ends[:k])


def test_adam_s_first_step_has_the_size_of_its_rate() -> None:
    w = np.zeros(4)
    adam(0.1)(w)(np.array([1e-3, 1.0, -1e3, 0.0]), 1.0)
    np.testing.assert_allclose(w, [-0.1, -0.1, 0.1, 0.0], rtol=1e-4)


def test_a_gradient_of_more_digits_does_not_widen_the_vector() -> None:
    for optimiser, _, _ in OURS_AND_TORCHS.values():
        w, again = np.ones(DIM, np.float32), np.ones(DIM, np.float32)
        step, step_again = optimiser(w), optimiser(again)
        for gradient in gradients(np.float64)[:5]:
            step(gradient, 1.0)
            step_again(gradient.astype(np.float32), 1.0)
        np.testing.assert_array_equal(w, again)


# ------------------------------------------------------------------ what momentum buys


def steps_to(optimiser, curvatures: np.ndarray, level: float) -> int:
    """Steps until the error's length is `level` of what it was, on 1/2 sum of curvature w^2."""
    w = np.ones(len(curvatures))
    step = optimiser(w)
    for k in range(100_000):
        if np.linalg.norm(w) <= level * math.sqrt(len(w)):
            return k
        step(curvatures * w, 1.0)
    raise AssertionError("it never got there")


@pytest.mark.parametrize("condition", [10.0, 100.0, 1000.0])
@pytest.mark.parametrize("largest", [1.0, 40.0])
def test_the_best_rates_give_the_speed_of_the_theory(condition: float, largest: float) -> None:
    curvatures = largest * np.logspace(0, -math.log10(condition), 12)
    lr, heavy_lr, mu = best_rates(largest, condition)
    plain, heavy = (condition - 1) / (condition + 1), math.sqrt(mu)
    # Twice as far again, so that what the start costs has been paid.
    for optimiser, factor in ((sgd(lr), plain), (momentum(heavy_lr, mu=mu), heavy)):
        further = steps_to(optimiser, curvatures, 1e-12) - steps_to(optimiser, curvatures, 1e-6)
        assert further == pytest.approx(math.log(1e-6) / math.log(factor), rel=0.1, abs=2)


def test_other_rates_are_no_better() -> None:
    curvatures = np.array([1.0, 0.3, 0.02])
    lr, heavy_lr, mu = best_rates(1.0, 50.0)
    best = steps_to(sgd(lr), curvatures, 1e-6)
    assert all(steps_to(sgd(lr * k), curvatures, 1e-6) > best for k in (0.8, 0.95, 1.01))
    heavy = steps_to(momentum(heavy_lr, mu=mu), curvatures, 1e-6)
    for rate, memory in ((0.7, mu), (1.0, mu * 0.95), (1.0, 0.5 + mu / 2)):
        assert steps_to(momentum(heavy_lr * rate, mu=memory), curvatures, 1e-6) > heavy


# --------------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: momentum(0.0), "lr must be more than 0, got 0.0"),
        (lambda: momentum(0.1, mu=1.0), "mu must be 0 or more and less than 1, got 1.0"),
        (lambda: nesterov(0.1, mu=-0.1), "mu must be 0 or more and less than 1, got -0.1"),
        (lambda: nesterov(-1), "lr must be more than 0, got -1"),
        (lambda: adagrad(0.1, eps=0.0), "eps must be more than 0, got 0.0"),
        (lambda: adagrad(math.nan), "lr must be more than 0, got nan"),
        (lambda: rmsprop(0.1, alpha=1.0), "alpha must be 0 or more and less than 1, got 1.0"),
        (lambda: adam(0.1, beta1=1.5), "beta1 must be 0 or more and less than 1, got 1.5"),
        (lambda: adam(0.1, beta2=math.nan), "beta2 must be 0 or more and less than 1, got nan"),
        (lambda: adam(0.1, eps=-1), "eps must be more than 0, got -1"),
        (lambda: best_rates(1.0, 0.5), "a condition number is 1 or more, got 0.5"),
        (lambda: best_rates(0.0, 2.0), "the largest curvature must be more than 0, got 0.0"),
    ],
)
def test_settings_that_cannot_be(make, sentence: str) -> None:
    with pytest.raises(ValueError, match=f"^{sentence}$"):
        make()
