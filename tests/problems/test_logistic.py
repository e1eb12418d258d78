"""Logistic regression beside scikit-learn and torch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss

from ddml_kit.problems import Batch, Logistic, Rows, Sparse, digits, library_text, sparse_logistic


def pair(classes: int, l2: float = 0.0, dtype: type = np.float64) -> tuple[Logistic, Logistic]:
    """The same problem with sparse inputs and with dense ones."""
    rows = sparse_logistic(50, 30, 5, seed=1, dense=0.2).x
    y = np.arange(50) * 7 % classes
    return (
        Logistic(rows, y, l2=l2, dtype=dtype),
        Logistic(rows.to_scipy().toarray(), y, l2=l2, dtype=dtype),
    )


def weights(problem: Logistic) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(problem.dim).astype(problem.dtype)


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize(("dtype", "atol"), [(np.float32, 1e-6), (np.float64, 1e-7)])
@pytest.mark.parametrize("batch_size", [1, 6])
def test_the_sparse_gradient_is_the_dense_one(classes, dtype, atol, batch_size) -> None:
    sparse, dense = pair(classes, dtype=dtype)
    w = weights(sparse)
    steps = 12
    for here, there in zip(
        sparse.batches(np.random.default_rng(0), batch_size, steps),
        dense.batches(np.random.default_rng(0), batch_size, steps),
        strict=True,
    ):
        gradient = sparse.gradient(w, here)
        assert isinstance(gradient, Sparse)
        assert gradient.values.dtype == dtype
        np.testing.assert_allclose(gradient.dense(sparse.dim), dense.gradient(w, there), atol=atol)
    assert sparse.loss(w) == pytest.approx(dense.loss(w), rel=1e-6)
    assert sparse.accuracy(w) == dense.accuracy(w)


@pytest.mark.parametrize("classes", [2, 3])
def test_one_sample_touches_its_support_only(classes: int) -> None:
    problem, _ = pair(classes)
    columns = problem.dim // problem.features
    for i, batch in enumerate(problem.batches(None, 1, 50)):
        touched = problem.gradient(weights(problem), batch).indices
        np.testing.assert_array_equal(np.unique(touched // columns), problem.x[i].indices)
        assert len(touched) == 5 * columns


@pytest.mark.parametrize("classes", [2, 3])
def test_one_sample_alone_is_one_sample_of_many(classes: int) -> None:
    problem, _ = pair(classes, l2=0.3)
    w = weights(problem)
    for batch in problem.batches(None, 1, 5):
        alone = problem.gradient(w, batch)
        general = problem._of_rows(w, batch.x, batch.y)
        np.testing.assert_array_equal(alone.indices, general.indices)
        np.testing.assert_allclose(alone.values, general.values, rtol=1e-6)


def test_rows_without_entries() -> None:
    empty = Rows(np.zeros(0, np.float32), np.zeros(0, np.int32), np.zeros(3, np.int64), 4)
    problem = Logistic(empty, np.array([0, 1]))
    for size in (1, 2):
        gradient = problem.gradient(problem.initial(), next(problem.batches(None, size, 1)))
        assert len(gradient.indices) == 0
    assert problem.loss(problem.initial()) == pytest.approx(np.log(2))


@pytest.mark.parametrize("classes", [2, 4])
def test_loss_and_accuracy_are_those_of_scikit_learn(classes: int) -> None:
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((40, 5)), np.arange(40) % classes
    model = LogisticRegression(fit_intercept=False).fit(x, y)
    w = (model.coef_[0] if classes == 2 else model.coef_.T).reshape(-1)
    problem = Logistic(x, y, dtype=np.float64)
    assert problem.loss(w) == pytest.approx(log_loss(y, model.predict_proba(x)))
    assert problem.accuracy(w) == pytest.approx(model.score(x, y))


@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize("sparse", [False, True])
def test_scikit_learns_optimum_is_ours(classes: int, sparse: bool) -> None:
    if sparse:
        rows = sparse_logistic(200, 12, 4, seed=0).x  # every column occurs
        x, dense = rows, rows.to_scipy().toarray().astype(np.float64)
    else:
        x = dense = np.random.default_rng(0).standard_normal((200, 12))
    y, l2 = np.random.default_rng(1).integers(classes, size=200), 0.01
    model = LogisticRegression(fit_intercept=False, C=1 / (200 * l2), tol=1e-10, max_iter=1000)
    model.fit(dense, y)
    problem = Logistic(x, y, l2=l2, dtype=np.float64)
    w = (model.coef_[0] if classes == 2 else model.coef_.T).reshape(-1)
    gradient = problem.gradient(w, next(problem.batches(None, 200, 1)))
    full = gradient.dense(problem.dim) if sparse else gradient
    np.testing.assert_allclose(full, 0, atol=1e-6)


def test_the_gradient_is_torchs() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((9, 4)), np.arange(9) % 3
    problem = Logistic(x, y, dtype=np.float64)
    w = weights(problem)
    leaf = torch.tensor(w.reshape(4, 3), requires_grad=True)
    torch.nn.functional.cross_entropy(torch.tensor(x) @ leaf, torch.tensor(y)).backward()
    np.testing.assert_allclose(problem.gradient(w, Batch(x, y)), leaf.grad.reshape(-1))


def test_far_away_nothing_overflows() -> None:
    for classes in (2, 3):
        for problem in pair(classes, dtype=np.float32):
            w = np.float32(1e6) * np.sign(weights(problem))
            for size in (1, 7):
                for batch in problem.batches(None, size, 5):
                    gradient = problem.gradient(w, batch)
                    values = gradient.values if isinstance(gradient, Sparse) else gradient
                    assert np.isfinite(values).all()
            assert np.isfinite(problem.loss(w))


def test_a_shard_knows_classes_that_it_does_not_hold() -> None:
    problem = Logistic(np.eye(6), np.arange(6), dtype=np.float64)
    shard = problem.shard(0, 3)
    assert (shard.classes, shard.dim) == (6, 36)


def test_what_it_refuses() -> None:
    x = np.ones((3, 2))
    with pytest.raises(ValueError, match="one label a sample, got 3 and y"):
        Logistic(x, np.array([0, 1]))
    with pytest.raises(ValueError, match=r"labels 0, 1, 2, \.\.\., got -1 to 1"):
        Logistic(x, np.array([-1, 1, 1]))
    with pytest.raises(ValueError, match=r"labels 0, 1, 2, \.\.\., got 0.5 to 1.0"):
        Logistic(x, np.array([0.5, 1, 1]))
    with pytest.raises(ValueError, match="labels up to 2 and classes=2"):
        Logistic(x, np.array([0, 1, 2]), classes=2)
    with pytest.raises(ValueError, match="l2 must be 0 or more, got -1"):
        Logistic(x, np.array([0, 1, 1]), l2=-1)
    with pytest.raises(ValueError, match="float32 or float64, got int64"):
        Logistic(x, np.array([0, 1, 1]), dtype=np.int64)


def test_digits_are_told_apart() -> None:
    train, test = digits().split()
    problem = Logistic(train.x, train.y)
    w = problem.initial()
    for batch in problem.batches(np.random.default_rng(0), 32, 400):
        w -= 0.5 * problem.gradient(w, batch)
    assert Logistic(test.x, test.y).accuracy(w) > 0.94


def test_parts_of_the_library_are_told_apart() -> None:
    train, test = library_text().split()
    problem = Logistic(train.x, train.y)
    w = problem.initial()
    for batch in problem.batches(np.random.default_rng(0), 16, 1500):
        problem.gradient(w, batch).add_to(w, -6.0)
    guess = np.bincount(train.y).max() / len(train)
    assert guess < 0.12
    assert Logistic(test.x, test.y).accuracy(w) > 0.75


@pytest.mark.parametrize("classes", [2, 3])
def test_shards_together_have_the_loss_of_the_whole(classes: int) -> None:
    data = sparse_logistic(40, 30, 4, seed=0)
    problem = Logistic(data.x, np.arange(40) % classes, l2=0.7, dtype=np.float64)
    w = np.random.default_rng(0).standard_normal(problem.dim)
    shards = [problem.shard(rank, 4) for rank in range(4)]
    assert np.mean([shard.loss(w) for shard in shards]) == pytest.approx(problem.loss(w), 1e-12)
    gradients = []
    for one in (*shards, problem):
        [batch] = one.batches(None, len(one), 1)
        gradients.append(one.gradient(w, batch).dense(problem.dim))
    np.testing.assert_allclose(np.mean(gradients[:4], axis=0), gradients[4], atol=1e-12)
