"""A made-up series, its regression on its past, and the conditioning that comes of it."""

from __future__ import annotations

import numpy as np
import pytest

from ddml_kit.problems import LeastSquares
from ddml_kit.problems.series import LAGS, WEEK, energy_demand, lagged, without_cycle
from ddml_kit.training.objective import Objective, minimise
from ddml_kit.training.quasi_newton import lbfgs


def condition(x: np.ndarray) -> float:
    return float(np.linalg.cond(x.T @ x))


def test_lags_are_the_values_before() -> None:
    x, y = lagged(np.array([1.0, 2.0, 3.0, 4.0, 5.0]), 2)
    np.testing.assert_array_equal(x, [[2, 1], [3, 2], [4, 3]])
    np.testing.assert_array_equal(y, [3, 4, 5])


def test_demand_has_its_day_its_week_and_no_other_run() -> None:
    z = energy_demand(8 * WEEK, seed=0)
    np.testing.assert_array_equal(z, energy_demand(8 * WEEK, seed=0))
    assert not np.array_equal(z, energy_demand(8 * WEEK, seed=1))
    by_hour = z.reshape(-1, 24)
    weekend = np.arange(len(by_hour)) % 7 >= 5
    assert by_hour[:, 3].mean() < by_hour[:, 18].mean() - 8
    assert by_hour[weekend].mean() < by_hour[~weekend].mean() - 3
    assert 20 < z.min() < z.max() < 60


def test_without_its_cycle_a_place_in_the_week_has_mean_zero() -> None:
    rest = without_cycle(energy_demand(4 * WEEK, seed=0), WEEK)
    np.testing.assert_allclose(rest.reshape(4, WEEK).mean(axis=0), 0, atol=1e-12)
    short = without_cycle(np.array([1.0, 5.0, 3.0]), 2)
    np.testing.assert_array_equal(short, [-1, 0, 1])


def test_lbfgs_finds_the_weights_of_lstsq_and_of_the_series() -> None:
    x, y = lagged(without_cycle(energy_demand(52 * WEEK, seed=0), WEEK), 2)
    problem = LeastSquares(x, y)
    f = Objective.of(problem, lambda seconds: None)
    [*_, end] = minimise(lbfgs, f, problem.initial(), steps=50, tolerance=1e-8)
    np.testing.assert_allclose(end.w, np.linalg.lstsq(x, y)[0], atol=1e-7)
    np.testing.assert_allclose(end.w, LAGS, atol=0.02)


def test_a_mean_makes_the_regression_ill_conditioned() -> None:
    z = energy_demand(8 * WEEK, seed=0)
    raw, centred, rest = (
        condition(lagged(series, 2)[0]) for series in (z, z - z.mean(), without_cycle(z, WEEK))
    )
    assert raw > 1000 > 100 > centred > rest > 10


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: energy_demand(0, seed=0), "a series needs 1 hour or more, got 0"),
        (lambda: lagged(np.zeros(3), 3), "an order is from 1 to 2 here, got 3"),
        (lambda: lagged(np.zeros(3), 0), "an order is from 1 to 2 here, got 0"),
        (lambda: without_cycle(np.zeros(3), 4), "a period is from 1 to 3 values, got 4"),
    ],
)
def test_bad_input_gets_a_sentence(make, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        make()
