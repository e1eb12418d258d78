"""Gossip as matrices: the rates of the paper, on its own setting, a ring of 25 and 2,000 numbers.

A. Koloskova, S. U. Stich, M. Jaggi, ICML 2019, arXiv 1902.00340, section 5.1. Vectors are of length
1, as in the paper's data set, and random.
"""

from __future__ import annotations

from itertools import islice

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from threadpoolctl import threadpool_limits

from ddml_kit.compression import QSGD, elias
from ddml_kit.compression.rows import rows as by_codec
from ddml_kit.topologies import choco_gamma, metropolis, ring, spectral_gap, torus
from ddml_kit.topologies.consensus import (
    choco,
    choco_step,
    distance,
    exact,
    exact_step,
    largest_gamma,
    naive,
    q1_step,
    q2_step,
)

W = metropolis(ring(25))


@pytest.fixture(autouse=True)
def one_thread():
    with threadpool_limits(1):
        yield


@pytest.fixture(scope="module")
def start():
    X = np.random.default_rng(0).standard_normal((25, 2000))
    return X / np.linalg.norm(X, axis=1, keepdims=True)


def qsgd(levels, seed=0):
    """Each row's numbers rounded at random, to unbiased multiples of its length / levels."""
    return by_codec(QSGD(levels, elias.fixed), np.random.default_rng(seed))


def top(k):
    """Each row's k largest numbers."""

    def compress(X):
        sizes = np.abs(X)
        least = np.partition(sizes, -k, axis=1)[:, -k, None]
        return np.where(sizes >= least, X, 0)

    return compress


def errors(steps, count, every=1):
    return np.array([distance(X) for X in islice(steps, 0, count + 1, every)])


def slope(values):
    """The rate a step, and how far the logarithms are from a straight line at most."""
    k, logs = np.arange(len(values)), np.log(values)
    line = np.polyfit(k, logs, 1)
    return np.exp(line[0]), np.abs(np.polyval(line, k) - logs).max()


def test_exact_gossip_contracts_by_the_square_of_1_less_the_gap(start):
    delta = spectral_gap(W)
    late = errors(exact(start, W), 700)[-2:]  # when only the slowest part is left
    assert late[1] / late[0] == pytest.approx((1 - delta) ** 2, rel=1e-4)
    slowest = np.cos(2 * np.pi * np.arange(25) / 25)[:, None]
    for gamma in (1.0, 0.4):
        rate = distance(exact_step(slowest, W, gamma)) / distance(slowest)
        assert rate == pytest.approx((1 - gamma * delta) ** 2, rel=1e-12)


def test_quantised_to_256_levels_choco_is_as_good_as_exact_and_naive_gossip_stalls(start):
    ours = errors(choco(start, W, Q=qsgd(256), gamma=1.0), 1000)
    assert ours[1000] < 1e-16
    rate, off = slope(ours[200:])
    assert rate == pytest.approx((1 - spectral_gap(W)) ** 2, rel=1e-3)
    assert off < 0.1  # a straight line, over ten powers of ten and more
    for step in (q1_step, q2_step):
        theirs = errors(naive(start, W, Q=qsgd(256), step=step), 600)
        assert theirs[300:].min() > 1e-5
        assert theirs[600] > 0.5 * theirs[300]


def test_with_1_per_cent_choco_gets_there_and_naive_gossip_nowhere(start):
    ours = errors(choco(start, W, Q=top(20), gamma=0.046), 2400, every=100)
    rate, off = slope(ours[10:])
    assert off < 0.02  # a straight line, so that a quarter of the 10,000 steps tells the rest
    assert ours[-1] * rate ** (100 - 24) < 5e-7
    theirs = errors(naive(start, W, Q=top(20), gamma=0.046), 300)
    assert theirs[300] > 0.1


def test_the_mean_stays_but_under_q1(start):
    mean = start.mean(axis=0)
    for X in (
        exact_step(start, W, 0.7),
        q2_step(start, W, qsgd(4)),
        choco_step((start, np.zeros_like(start)), W, qsgd(4), 0.5)[0],
    ):
        np.testing.assert_allclose(X.mean(axis=0), mean, atol=1e-15)
    assert np.abs(q1_step(start, W, qsgd(4)).mean(axis=0) - mean).max() > 1e-4


@given(seed=st.integers(0, 2**32 - 1), k=st.integers(1, 6), n=st.integers(2, 8))
def test_with_the_safe_step_the_error_of_theorem_2_shrinks_as_it_says(seed, k, n):
    W = metropolis(ring(n))
    omega, d = k / 6, 6
    X = np.random.default_rng(seed).standard_normal((n, d))
    rate = 1 - spectral_gap(W) ** 2 * omega / 82
    gamma = choco_gamma(W, omega)
    X_hat = np.zeros_like(X)
    before = None
    for _ in range(30):
        X_hat_next = X_hat + top(k)(X - X_hat)
        error = np.sum((X - X.mean(axis=0)) ** 2) + np.sum((X - X_hat_next) ** 2)
        if before is not None:
            assert error <= rate * before * (1 + 1e-9)
        before = error
        X, X_hat = choco_step((X, X_hat), W, top(k), gamma)


def test_a_larger_gap_agrees_sooner(start):
    after = [
        errors(choco(start, mixing, Q=qsgd(256), gamma=1.0), 60)[-1]
        for mixing in (W, metropolis(torus(5, 5)))
    ]
    assert after[1] < after[0] / 100


@pytest.mark.parametrize("limit", [0.0, 2e-5, 0.03, 0.3, 0.95])
def test_the_largest_step_size_is_found_to_a_share_of_it(limit):
    for tolerance in (0.01, 1 / 32):
        found = largest_gamma(lambda gamma: 0.5 if gamma <= limit else 2.0, tolerance=tolerance)
        assert limit * (1 - 1.01 * tolerance) <= found <= limit
    assert largest_gamma(lambda gamma: 0.5) == 1.0
