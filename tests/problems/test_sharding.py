"""Who holds which samples: every sample once, nobody empty-handed."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ddml_kit.problems import LeastSquares, by_label, contiguous, dirichlet, shuffled

LABELS = np.repeat(np.arange(10), 100)


@st.composite
def labels_and_size(draw: st.DrawFn) -> tuple[np.ndarray, int]:
    labels = draw(st.lists(st.integers(0, 4), min_size=1, max_size=60))
    return np.array(labels), draw(st.integers(1, len(labels)))


@given(labels_and_size(), st.integers(0, 3), st.sampled_from([0.01, 0.5, 100.0]))
def test_every_sample_is_held_once_and_nobody_is_empty_handed(case, seed, alpha) -> None:
    labels, size = case
    for by in (contiguous, shuffled(seed), by_label, dirichlet(alpha, seed)):
        parts = by(labels, size)
        assert len(parts) == size
        assert min(map(len, parts)) >= 1
        np.testing.assert_array_equal(np.sort(np.concatenate(parts)), np.arange(len(labels)))


@given(labels_and_size())
def test_equal_parts_differ_by_one_at_most(case) -> None:
    labels, size = case
    for by in (contiguous, shuffled(0), by_label):
        lengths = [len(part) for part in by(labels, size)]
        assert max(lengths) - min(lengths) <= 1


def test_contiguous_parts_are_runs() -> None:
    np.testing.assert_array_equal(np.concatenate(contiguous(LABELS, 7)), np.arange(1000))


def test_by_label_gives_a_rank_one_label() -> None:
    shuffled_labels = np.random.default_rng(0).permutation(LABELS)
    parts = by_label(shuffled_labels, 10)
    assert [np.unique(shuffled_labels[part]).tolist() for part in parts] == [[k] for k in range(10)]


def test_shuffled_and_dirichlet_follow_their_seed() -> None:
    for by in (shuffled, lambda seed: dirichlet(0.5, seed)):
        first, again, other = (np.concatenate(by(s)(LABELS, 4)) for s in (1, 1, 2))
        np.testing.assert_array_equal(first, again)
        assert not np.array_equal(first, other)


def test_alpha_moves_dirichlet_from_one_label_to_the_same_mixture() -> None:
    def distance_from_the_mixture(alpha: float) -> float:
        parts = dirichlet(alpha, 0)(LABELS, 10)
        shares = [np.bincount(LABELS[part], minlength=10) / len(part) for part in parts]
        return float(np.abs(np.array(shares) - 0.1).sum(axis=1).mean())

    near, middle, far = map(distance_from_the_mixture, (1000.0, 0.5, 0.01))
    assert near < 0.1 < middle < far
    assert far > 1.2


def test_what_cannot_be_shared() -> None:
    with pytest.raises(ValueError, match="3 samples can be shared by 1 to 3 ranks, got 4"):
        contiguous(np.zeros(3), 4)
    with pytest.raises(ValueError, match=r"alpha > 0, got 0"):
        dirichlet(0, 1)
    with pytest.raises(ValueError, match="dirichlet needs classes as labels"):
        dirichlet(1, 1)(np.array([0.5, 1.5]), 2)


def test_the_error_reaches_whoever_shards_a_problem() -> None:
    problem = LeastSquares(np.ones((3, 2)), np.ones(3))
    with pytest.raises(ValueError, match="each rank needs a sample of its own"):
        problem.shard(0, 4)
    with pytest.raises(ValueError, match="a rank from 0 to size - 1 = 1, got 2"):
        problem.shard(2, 2)
