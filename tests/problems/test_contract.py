"""What every problem keeps to, whatever its model."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch

from ddml_kit.cluster.payload import payload_bytes
from ddml_kit.cluster.shipping import pack, unpack
from ddml_kit.problems import (
    Batch,
    Data,
    LeastSquares,
    Logistic,
    Problem,
    Quadratic,
    Sparse,
    TorchModule,
    contiguous,
    shuffled,
    sparse_logistic,
)
from ddml_kit.problems.surfaces import bowl

N = 23


def make(kind: str) -> Problem:
    rng = np.random.default_rng(7)
    x, numbers = rng.standard_normal((N, 3, 2)), rng.standard_normal(N)
    two, five = np.arange(N) % 2, np.arange(N) % 5
    rows = sparse_logistic(N, 40, 6, seed=0).x
    if kind == "quadratic":
        roots = rng.standard_normal((N, 4, 4))
        return Quadratic(roots @ roots.transpose(0, 2, 1), rng.standard_normal((N, 4)))
    if kind == "surface":
        return bowl(7, angle=20, noise=0.5, samples=N)
    if kind == "torch":
        module = torch.nn.Sequential(
            torch.nn.Flatten(), torch.nn.Linear(6, 4), torch.nn.Tanh(), torch.nn.Linear(4, 5)
        ).double()
        return TorchModule(module, torch.nn.functional.cross_entropy, Data(x, five, "random"))
    return {
        "least squares": LeastSquares(x.reshape(N, 6), numbers, l2=0.1),
        "logistic": Logistic(x, two, l2=0.1, dtype=np.float64),
        "softmax": Logistic(x, five, l2=0.1, dtype=np.float64),
        "sparse logistic": Logistic(rows, two, l2=0.1, dtype=np.float64),
        "sparse softmax": Logistic(rows, five, l2=0.1, dtype=np.float64),
    }[kind]


KINDS = (
    *("quadratic", "least squares", "logistic", "softmax"),
    *("sparse logistic", "sparse softmax", "torch", "surface"),
)


@pytest.fixture(params=KINDS)
def problem(request: pytest.FixtureRequest) -> Problem:
    return make(request.param)


def whole(problem: Problem) -> Batch:
    return next(problem.batches(None, len(problem), 1))


def full(gradient: np.ndarray | Sparse, dim: int) -> np.ndarray:
    return gradient.dense(dim) if isinstance(gradient, Sparse) else gradient


def somewhere(problem: Problem) -> np.ndarray:
    return np.random.default_rng(3).standard_normal(problem.dim).astype(problem.dtype) / 2


def test_the_gradient_is_the_slope_of_the_loss(problem: Problem) -> None:
    w, step = somewhere(problem), 1e-6
    gradient = full(problem.gradient(w, whole(problem)), problem.dim)
    slopes = [
        (problem.loss(w + step * e) - problem.loss(w - step * e)) / (2 * step)
        for e in np.eye(problem.dim)
    ]
    np.testing.assert_allclose(gradient, slopes, atol=1e-7)


def test_shapes_fill_the_vector(problem: Problem) -> None:
    assert sum(int(np.prod(shape)) for shape in problem.shapes) == problem.dim
    start = problem.initial(0)
    assert (start.shape, start.dtype) == ((problem.dim,), problem.dtype)
    assert start.flags.writeable
    np.testing.assert_array_equal(start, problem.initial(0))
    assert problem.initial(0) is not problem.initial(0)


def test_a_gradient_has_the_type_of_the_vector(problem: Problem) -> None:
    for batch_size in (1, 4):
        batch = next(problem.batches(np.random.default_rng(0), batch_size, 1))
        gradient = problem.gradient(somewhere(problem), batch)
        values = gradient.values if isinstance(gradient, Sparse) else gradient
        assert values.dtype == problem.dtype
        if isinstance(gradient, Sparse):
            assert len(np.unique(gradient.indices)) == len(gradient.indices)


def test_a_gradient_changes_nothing(problem: Problem) -> None:
    w = somewhere(problem)
    before = w.copy()
    first, second = (full(problem.gradient(w, whole(problem)), problem.dim) for _ in range(2))
    np.testing.assert_array_equal(w, before)
    np.testing.assert_array_equal(first, second)


def test_the_mean_of_single_gradients_is_the_gradient_of_all(problem: Problem) -> None:
    w = somewhere(problem)
    singles = [
        full(problem.gradient(w, batch), problem.dim) for batch in problem.batches(None, 1, N)
    ]
    together = full(problem.gradient(w, whole(problem)), problem.dim)
    np.testing.assert_allclose(np.mean(singles, axis=0), together, atol=1e-12)


def test_a_pass_visits_every_sample_once_in_a_new_order(problem: Problem) -> None:
    assert len(problem) == N

    def visited(rng: np.random.Generator | None, batch_size: int, steps: int) -> list[bytes]:
        samples = []
        for x, y in problem.batches(rng, batch_size, steps):
            samples += [np.asarray(y[i]).tobytes() + _bytes(x, i) for i in range(len(y))]
        return samples

    for batch_size in (1, 5, N, N + 9):
        steps = -(-N // batch_size)
        in_memory = visited(None, batch_size, 2 * steps)
        assert in_memory[:N] == in_memory[N:]
        order = visited(np.random.default_rng(0), batch_size, 2 * steps)
        assert sorted(order[:N]) == sorted(order[N:]) == sorted(in_memory[:N])
        assert order[:N] != order[N:]
        assert order == visited(np.random.default_rng(0), batch_size, 2 * steps)
    assert len(list(problem.batches(np.random.default_rng(0), 4, 13))) == 13


def _bytes(x, i: int) -> bytes:
    row = x[i]
    return row.indices.tobytes() + row.values.tobytes() if hasattr(x, "indptr") else row.tobytes()


def test_shards_share_out_the_gradient(problem: Problem) -> None:
    if getattr(problem, "l2", 0) and type(problem) is Logistic:
        problem = Logistic(problem.x, problem.y, dtype=np.float64)  # d_u is a shard's own
    w = somewhere(problem)
    shards = [problem.shard(rank, 4, by=shuffled(0)) for rank in range(4)]
    assert [len(shard) for shard in shards] == [6, 6, 6, 5]
    parts = [len(s) * full(s.gradient(w, whole(s)), problem.dim) for s in shards]
    together = full(problem.gradient(w, whole(problem)), problem.dim)
    np.testing.assert_allclose(sum(parts) / N, together, atol=1e-12)
    np.testing.assert_allclose(sum(len(s) * s.loss(w) for s in shards) / N, problem.loss(w))


def test_a_shard_lies_in_memory_as_it_was_asked_for(problem: Problem) -> None:
    order = shuffled(0)(np.arange(N), 3)[1]
    shard = problem.shard(1, 3, by=shuffled(0))
    in_order = itertools.chain.from_iterable(b.y for b in shard.batches(None, 1, len(shard)))
    np.testing.assert_array_equal(list(in_order), problem.y[order])


def test_a_contiguous_shard_copies_nothing(problem: Problem) -> None:
    shard = problem.shard(1, 3, by=contiguous)
    assert np.shares_memory(shard.y, problem.y)
    parts = (
        (shard.x.values, problem.x.values) if hasattr(shard.x, "indptr") else (shard.x, problem.x)
    )
    assert np.shares_memory(*parts)


def test_it_works_from_read_only_memory_as_workers_have_it(problem: Problem) -> None:
    _, (shipped,), _ = unpack(pack(print, (problem,), {}))
    assert not shipped.y.flags.writeable
    w = somewhere(problem)
    w.setflags(write=False)
    for batch_size in (1, 4, N):
        for order in (None, 0):
            pair = [
                next(p.batches(None if order is None else np.random.default_rng(0), batch_size, 1))
                for p in (problem, shipped)
            ]
            here, there = problem.gradient(w, pair[0]), shipped.gradient(w, pair[1])
            np.testing.assert_array_equal(full(here, problem.dim), full(there, problem.dim))
    assert shipped.loss(w) == problem.loss(w)
    np.testing.assert_equal(shipped.accuracy(w), problem.accuracy(w))
    assert shipped.shard(1, 2).loss(w) == problem.shard(1, 2).loss(w)


def test_seconds_are_a_fixed_figure_of_the_size(problem: Problem) -> None:
    three, six = (next(problem.batches(None, size, 1)) for size in (3, 6))
    assert problem.seconds(three) == problem.seconds(three) > 0
    assert problem.seconds(six) == pytest.approx(2 * problem.seconds(three))


def test_a_batch_may_follow_the_step(problem: Problem) -> None:
    def growing(step: int) -> int:
        return 1 + step

    for rng in (None, 0):
        order = [None if rng is None else np.random.default_rng(rng) for _ in range(2)]
        batches = list(problem.batches(order[0], growing, 9))
        assert [len(batch) for batch in batches] == [1, 2, 3, 4, 5, 6, 2, 8, 9]  # 23 are a pass
        one_by_one = itertools.chain.from_iterable(
            batch.y for batch in problem.batches(order[1], 1, 40)
        )
        together = itertools.chain.from_iterable(batch.y for batch in batches)
        np.testing.assert_array_equal(list(together), list(one_by_one))


def test_a_gradient_is_one_piece_unless_it_comes_in_parts(problem: Problem) -> None:
    w, batch = somewhere(problem), whole(problem)
    pieces = list(problem.pieces(w, batch))
    assert len(pieces) == (2 if isinstance(problem, TorchModule) else 1)
    together = np.concatenate([piece.gradient for piece in reversed(pieces)])
    np.testing.assert_array_equal(
        together, full(problem.gradient(w, batch), problem.dim), strict=True
    )
    assert sum(piece.seconds for piece in pieces) == pytest.approx(problem.seconds(batch))


def test_batches_refuse_what_is_no_size(problem: Problem) -> None:
    with pytest.raises(ValueError, match="batch_size must be 1 or more, got 0"):
        problem.batches(None, 0, 1)
    with pytest.raises(ValueError, match="batch_size must be 1 or more, got 0 at step 2"):
        list(problem.batches(None, lambda step: 2 - step, 3))
    with pytest.raises(ValueError, match="steps must be 0 or more, got -1"):
        problem.batches(None, 1, -1)
    assert list(problem.batches(None, 1, 0)) == []


def test_a_batch_can_be_poisoned() -> None:
    problem = make("softmax")
    batch = next(problem.batches(None, 4, 1))
    poisoned = replace(batch, y=4 - batch.y)
    x, y = poisoned
    assert x is batch.x
    np.testing.assert_array_equal(y, 4 - batch.y)
    assert len(poisoned) == 4
    assert payload_bytes(batch) == batch.x.nbytes + batch.y.nbytes


def test_a_gradient_that_is_not_finite_is_an_error(problem: Problem):
    w = problem.initial()
    [batch] = problem.batches(None, 1, 1)
    problem.gradient(w, batch)
    with pytest.raises(FloatingPointError, match=r"the gradient must be finite, got [1-9]"):
        problem.gradient(np.full_like(w, np.nan), batch)
