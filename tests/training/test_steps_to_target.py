"""Steps to a target: against a run on the simulated cluster; the model and its three regimes."""

import math
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ddml_kit.cluster import Simulated
from ddml_kit.problems import LeastSquares, Logistic, digits
from ddml_kit.training.momentum import momentum
from ddml_kit.training.one_machine import mini_batch
from ddml_kit.training.optimisers import sgd
from ddml_kit.training.steps_to_target import fit_steps, steps_needed, steps_to

TRAIN, TEST = (Logistic(data.x, data.y) for data in digits().split(seed=0))


@pytest.mark.parametrize("optimiser", [sgd(1.0), momentum(0.1)])
@pytest.mark.parametrize(("batch", "seed"), [(8, 0), (8, 3), (200, 0)])
def test_the_steps_are_those_of_a_run(optimiser, batch, seed):
    run = Simulated(1, seed=seed).run(mini_batch, TRAIN, optimiser, steps=60, batch_size=batch)
    curve = run.curve(TEST.loss)
    for target in (1.0, 0.5):
        wanted = curve.step[np.flatnonzero(curve.value <= target)[0]]
        for most in (60, wanted):
            assert wanted == steps_to(
                TRAIN, optimiser, TEST.loss, target, batch_size=batch, most=most, seed=seed
            )
        assert math.isinf(
            steps_to(
                TRAIN, optimiser, TEST.loss, target, batch_size=batch, most=wanted - 1, seed=seed
            )
        )


def test_who_is_there_needs_no_step():
    assert steps_to(TRAIN, sgd(1.0), TEST.loss, 9.0, batch_size=8, most=5) == 0


def test_a_rate_that_is_too_large_never_gets_there():
    """Its gradient becomes infinite, which is no error of the sweep's."""
    problem = LeastSquares(np.eye(3) * 1e6, np.ones(3))

    def nearest(w):
        return float(np.abs(w - 1e-6).min())

    with np.errstate(over="ignore", invalid="ignore"):
        assert math.isinf(steps_to(problem, sgd(1e6), nearest, 1e-9, batch_size=1, most=99))


@given(st.floats(1, 1e4), st.just(0.0) | st.floats(1e-6, 1e4))
def test_three_regimes(s_min, noise):
    def saved(batch):
        """What a batch twice as large divides the steps by."""
        return steps_needed(batch, s_min, noise) / steps_needed(2 * batch, s_min, noise)

    assert steps_needed(1e12, s_min, noise) == pytest.approx(s_min)
    if noise:
        assert saved(noise / 1000) == pytest.approx(2, rel=0.01)
        assert saved(noise) == pytest.approx(4 / 3)
        assert saved(1000 * noise) == pytest.approx(1, rel=0.01)
        assert steps_needed(noise, s_min, noise) == pytest.approx(2 * s_min)


@given(st.floats(1, 1e4), st.floats(0.1, 1e4))
def test_steps_and_samples_trade_as_in_the_paper(s_min, noise):
    """(S / S_min - 1)(E / E_min - 1) = 1, E = B S samples, E_min those of the smallest batch."""
    for batch in (noise / 7, noise, 3 * noise):
        S = steps_needed(batch, s_min, noise)
        E, E_min = batch * S, s_min * noise
        assert (S / s_min - 1) * (E / E_min - 1) == pytest.approx(1)


@given(st.floats(1, 1e3), st.floats(1, 1e3))
def test_a_fit_finds_the_curve(s_min, noise):
    batches = [2.0**k for k in range(0, 12, 2)]
    found = fit_steps(batches, [steps_needed(b, s_min, noise) for b in batches])
    assert found == pytest.approx((s_min, noise), rel=1e-4)


def test_a_fit_at_either_end():
    batches = [1, 2, 4, 8]
    s_min, noise = fit_steps(batches, [64 / b for b in batches])
    assert s_min == pytest.approx(0, abs=1e-9)
    assert noise > 1e6
    assert fit_steps(batches, [9, 9, 9, 9]) == pytest.approx((9, 0))


def test_a_fit_weighs_every_batch_alike():
    """An error of a tenth is a tenth, at 1,000 steps and at 10."""
    batches = [1, 10, 100, 1000]
    exact = np.array([steps_needed(b, 10, 100) for b in batches])
    large = fit_steps(batches, exact * [1.1, 1, 1, 1])
    small = fit_steps(batches, exact * [1, 1, 1, 1.1])
    assert large[0] == pytest.approx(10, rel=0.02)
    assert small[0] == pytest.approx(10, rel=0.1)
    assert small[0] > 10.3


@pytest.mark.parametrize(
    ("batches", "steps"),
    [
        ([1], [3.0]),
        ([1, 2], [3.0, math.inf]),
        ([1, 2], [3.0, 4.0, 5.0]),
        ([1, 2], [3.0, 0.0]),
        ([1, 2], [3.0, -1.0]),
        ([8, 8], [3.0, 4.0]),
        ([0, 8], [3.0, 4.0]),
        ([8, -8], [3.0, 4.0]),
        ([8, math.nan], [3.0, 4.0]),
        ([8, math.inf], [3.0, 4.0]),
    ],
)
def test_nothing_is_fitted_to_too_little(batches, steps):
    rule = "steps above 0 for two different batches or more, all finite, got "
    with pytest.raises(ValueError, match=re.escape(f"{rule}{steps} for {batches}")):
        fit_steps(batches, steps)
