"""Made-up sparse data: sizes, frequencies, labels."""

from __future__ import annotations

import numpy as np
import pytest

from ddml_kit.problems import Data, Logistic, sparse_logistic, synthetic


def frequencies(data: Data) -> np.ndarray:
    return np.bincount(data.x.indices, minlength=data.x.features) / len(data)


@pytest.mark.parametrize(
    "options", [{}, {"exponent": 0}, {"exponent": 5}, {"dense": 1}, {"dense": 0.4}]
)
def test_rows_have_exactly_the_size_asked_for(options: dict) -> None:
    data = sparse_logistic(300, 120, 20, seed=0, **options)
    assert data.x.shape == (300, 120)
    assert np.diff(data.x.indptr).tolist() == [20] * 300
    rows = data.x.indices.reshape(300, 20)
    assert (np.diff(rows, axis=1) > 0).all()
    assert rows.min() >= 0
    assert rows.max() < 120
    lengths = np.linalg.norm(data.x.values.reshape(300, 20), axis=1)
    np.testing.assert_allclose(lengths, 1, rtol=1e-5)
    assert (data.x.values > 0).all()
    types = data.x.values.dtype, data.x.indices.dtype, data.x.indptr.dtype, data.y.dtype
    assert types == (np.float32, np.int32, np.int64, np.int64)


def test_all_features_of_a_row() -> None:
    data = sparse_logistic(5, 4, 4, seed=0)
    assert data.x.indices.tolist() == list(range(4)) * 5


def test_same_seed_same_data() -> None:
    first, again, other = (sparse_logistic(50, 40, 5, seed=s) for s in (1, 1, 2))
    for name in ("values", "indices", "indptr"):
        np.testing.assert_array_equal(getattr(first.x, name), getattr(again.x, name))
    np.testing.assert_array_equal(first.y, again.y)
    assert not np.array_equal(first.x.indices, other.x.indices)


def test_frequencies_follow_zipfs_law() -> None:
    seen = frequencies(sparse_logistic(20_000, 2000, 5, seed=0, exponent=1.0))
    tail = np.arange(20, 200)  # where a draw without replacement is nearly one with
    slope = np.polyfit(np.log(tail + 1), np.log(seen[tail]), 1)[0]
    assert -1.1 < slope < -0.9
    alike = frequencies(sparse_logistic(20_000, 2000, 5, seed=0, exponent=0))
    assert alike.max() < 2 * 5 / 2000


def test_what_would_come_twice_a_row_comes_in_every_row() -> None:
    seen = frequencies(sparse_logistic(2000, 1000, 20, seed=0, exponent=2.0))
    assert (seen[:8] == 1).all()
    assert 8 < (seen == 1).sum() < 14
    assert (seen[14:30] < 1).all()


def test_dense_is_the_share_that_all_rows_have() -> None:
    for dense, common in ((0, 0), (0.25, 5), (0.5, 10), (1, 20)):
        seen = frequencies(sparse_logistic(500, 5000, 20, seed=0, exponent=0, dense=dense))
        assert (seen == 1).sum() == common


def test_labels_are_balanced_and_as_noisy_as_asked_for() -> None:
    clean, noisy = (sparse_logistic(1000, 300, 10, seed=0, noise=share) for share in (0, 0.2))
    assert clean.y.sum() == 500
    np.testing.assert_array_equal(clean.x.indices, noisy.x.indices)
    assert 0.16 < np.mean(clean.y != noisy.y) < 0.24


def test_a_linear_model_learns_them() -> None:
    train, test = sparse_logistic(8000, 2000, 20, seed=0).split()
    problem = Logistic(train.x, train.y)
    w = problem.initial()
    for batch in problem.batches(np.random.default_rng(0), 1, 12_800):
        problem.gradient(w, batch).add_to(w, -1.0)
    assert Logistic(test.x, test.y).accuracy(w) > 0.8


def test_chunks_bound_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(synthetic, "CHUNK", 64)
    data = sparse_logistic(101, 50, 7, seed=0)
    assert (np.diff(data.x.indices.reshape(101, 7), axis=1) > 0).all()
    assert frequencies(data)[0] > frequencies(data)[40]


def test_what_it_refuses() -> None:
    for message, arguments, options in (
        ("1 to features=5 non-zeros, got 6", (9, 5, 6), {}),
        ("1 to features=5 non-zeros, got 0", (9, 5, 0), {}),
        ("2 samples or more, got 1", (1, 5, 2), {}),
        ("dense is a share, from 0 to 1, got 1.1", (9, 5, 2), {"dense": 1.1}),
        ("noise is a share, from 0 to 0.5, got 0.6", (9, 5, 2), {"noise": 0.6}),
        ("exponent must be 0 or more, got -1", (9, 5, 2), {"exponent": -1}),
    ):
        with pytest.raises(ValueError, match=message):
            sparse_logistic(*arguments, seed=0, **options)


def test_dense_rows_differ_and_can_be_learned() -> None:
    data = sparse_logistic(2000, 16, 16, seed=0, exponent=0)
    assert len(np.unique(data.x.values.reshape(-1, 16), axis=0)) > 1900
    problem = Logistic(data.x, data.y)
    w = problem.initial()
    for batch in problem.batches(np.random.default_rng(0), 1, 4000):
        problem.gradient(w, batch).add_to(w, -1.0)
    assert problem.accuracy(w) > 0.8
