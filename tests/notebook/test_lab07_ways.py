"""Lab 07's runs as short calls."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest

from ddml_kit.cluster import Network
from ddml_kit.cluster.run import Curve
from ddml_kit.compression import TopK
from ddml_kit.notebook.play.lab07_ways import (
    errors,
    milliseconds_a_step,
    over_bytes,
    rounded,
    straightness,
    two_tastes,
)
from ddml_kit.problems import LeastSquares
from ddml_kit.topologies import metropolis, ring
from ddml_kit.topologies.consensus import exact, naive, q1_step
from ddml_kit.training.decentralised import d_sgd

X = np.random.default_rng(1).normal(size=(6, 4))
W = metropolis(ring(6))


def test_errors_are_from_the_mean_of_the_beginning() -> None:
    drifting = errors(naive(X, W, Q=lambda V: V + 1, step=q1_step), steps=9)
    assert len(drifting.value) == 10
    assert drifting.value[0] == pytest.approx(np.var(X, axis=0).sum())
    assert drifting.value[-1] == pytest.approx(9**2 * 4, rel=0.1)  # all agree, on what is wrong


def test_rounded_is_what_the_codec_leaves_of_each_row() -> None:
    left = rounded(TopK(1))(X)
    assert np.array_equal(left != 0, abs(X) == abs(X).max(axis=1, keepdims=True))


def test_exact_gossip_falls_straight_and_a_root_does_not() -> None:
    assert straightness(errors(exact(X, W), steps=60)) < -0.9999
    root = Curve(np.arange(61), np.zeros(61), np.exp(-np.sqrt(np.arange(61))))
    assert -0.999 < straightness(root, after=0) < 0


def test_over_bytes_stops_where_the_curve_does() -> None:
    curve = Curve(np.arange(31), np.zeros(31), np.arange(31.0))
    assert over_bytes(curve, kb_a_step=1.0) == (
        [0, 5, 10, 15, 20, 25, 30],
        [0, 5, 10, 15, 20, 25, 30],
    )
    assert over_bytes(curve, kb_a_step=5.0)[1] == [0, 1, 2, 3, 4, 5, 6, 8, 10, 12, 16, 20]


def test_a_slower_network_takes_longer_a_step() -> None:
    problem = LeastSquares(np.eye(8), np.ones(8))
    took = partial(milliseconds_a_step, d_sgd, problem, n=4, W=metropolis(ring(4)))
    near, far = took(Network(latency=1e-3)), took(Network(latency=3e-3))
    assert far - near == pytest.approx(2.0, rel=0.01)


def test_two_tastes_are_two() -> None:
    tastes = two_tastes()
    assert len({tuple(row) for row in tastes.wanted}) == 2
    assert tuple(tastes.likeness[0, 1:3]) == (0.05, 1)
    assert not tastes.likeness.diagonal().any()
    assert tastes.error(list(tastes.wanted)) == 0
    assert tastes.error(list(tastes.wanted[::-1])) > 1
