"""Arrivals against drawn times, and the choice of backup workers against trying all."""

import numpy as np
import pytest

from ddml_kit.training.stragglers import best_backup, kth_of_n


@pytest.mark.parametrize("n", [1, 2, 7, 30])
def test_arrivals_are_the_means_of_order_statistics(n):
    times = np.sort(np.random.default_rng(0).exponential(2.0, (200_000, n)), axis=1)
    formula = [kth_of_n(k, n, 2.0) for k in range(1, n + 1)]
    np.testing.assert_allclose(formula, times.mean(axis=0), rtol=0.02)


@pytest.mark.parametrize(("k", "n"), [(0, 3), (4, 3)])
def test_there_is_no_such_arrival(k, n):
    with pytest.raises(ValueError, match=f"1 <= k <= n, got k={k} and n=3"):
        kth_of_n(k, n)


@pytest.mark.parametrize("overhead", [0.0, 0.3, 2.0, 100.0])
@pytest.mark.parametrize("shape", [1.2, 3.0, 50.0])
def test_the_best_number_is_the_best_of_all(shape, overhead):
    times = 1 + np.random.default_rng(1).pareto(shape, (500, 8))
    cost = []
    for b in range(8):
        rounds = [overhead + sorted(row)[8 - b - 1] for row in times.tolist()]
        cost.append(np.mean(rounds) / (8 - b))
    assert best_backup(times, overhead) == int(np.argmin(cost))


def test_nobody_is_left_out_where_all_are_alike():
    assert best_backup(np.ones((5, 4)), 0.1) == 0
    assert best_backup(np.array([[1.0, 1.0, 1.0, 10.0]]), 0.1) == 1
