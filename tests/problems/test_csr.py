"""Rows against scipy, and the bounds that slices and takes keep to."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import scipy.sparse
from hypothesis import given
from hypothesis import strategies as st

from ddml_kit.problems import Rows, Sparse


def random_rows(seed: int = 0, n: int = 7, features: int = 11) -> tuple[Rows, np.ndarray]:
    rng = np.random.default_rng(seed)
    dense = rng.standard_normal((n, features)).astype(np.float32)
    dense[rng.random((n, features)) < 0.6] = 0
    dense[n // 2] = 0  # an empty row
    return Rows.from_scipy(scipy.sparse.csr_array(dense)), dense


def dense(rows: Rows) -> np.ndarray:
    return rows.to_scipy().toarray()


def test_types_are_the_narrow_ones() -> None:
    rows, _ = random_rows()
    assert (rows.values.dtype, rows.indices.dtype, rows.indptr.dtype) == (
        np.float32,
        np.int32,
        np.int64,
    )


def test_scipy_shares_the_memory() -> None:
    rows, _ = random_rows()
    matrix = rows.to_scipy()
    assert np.shares_memory(matrix.data, rows.values)
    assert np.shares_memory(matrix.indices, rows.indices)


def test_entries_given_twice_are_added_up() -> None:
    twice = scipy.sparse.csr_array(([1.0, 2.0, 4.0], [3, 3, 0], [0, 2, 3]), shape=(2, 4))
    rows = Rows.from_scipy(twice)
    np.testing.assert_array_equal(rows[0].indices, [3])
    np.testing.assert_array_equal(rows[0].values, [3.0])


@given(st.integers(0, 5), st.lists(st.integers(0, 6), max_size=20))
def test_take_copies_the_rows_asked_for_in_order(seed: int, order: list[int]) -> None:
    rows, full = random_rows(seed)
    taken = rows.take(np.array(order, np.int64))
    np.testing.assert_array_equal(dense(taken), full[order])
    assert taken.indptr[0] == 0
    assert taken.indptr[-1] == len(taken.values) == len(taken.indices)


@given(st.integers(0, 5), st.integers(-9, 9), st.integers(-9, 9))
def test_a_slice_is_a_view_of_its_rows(seed: int, start: int, stop: int) -> None:
    rows, full = random_rows(seed)
    part = rows[start:stop]
    np.testing.assert_array_equal(dense(part), full[start:stop])
    assert part.indptr[0] == 0
    if len(part.values):
        assert np.shares_memory(part.values, rows.values)


def test_a_row_is_sparse_and_counts_from_the_end_too() -> None:
    rows, full = random_rows()
    for i in (0, 3, 6, -1, -7):
        row = rows[i]
        assert isinstance(row, Sparse)
        np.testing.assert_array_equal(row.dense(11), full[i])


def test_rows_that_do_not_exist() -> None:
    rows, _ = random_rows()
    with pytest.raises(IndexError, match="there are 7 rows, got row 7"):
        rows[7]
    with pytest.raises(ValueError, match="needs step 1, got 2"):
        rows[0:4:2]


def test_iteration_ends() -> None:
    rows, full = random_rows()
    assert [len(row.values) for row in rows] == np.count_nonzero(full, axis=1).tolist()


def test_a_pickle_carries_only_the_slice() -> None:
    rows = Rows.from_scipy(scipy.sparse.random_array((1000, 50), density=0.5, rng=0))
    part = pickle.loads(pickle.dumps(rows[3:5]))
    np.testing.assert_array_equal(dense(part), dense(rows)[3:5])
    assert len(pickle.dumps(rows[3:5])) < rows.nbytes / 50


def test_adding_writes_the_support_only() -> None:
    w = np.full(6, -0.0, np.float32)  # which adding 0 would turn into 0
    w[[1, 4]] = 1
    Sparse(np.array([4, 1], np.int32), np.array([2, 3], np.float32)).add_to(w, 0.5)
    np.testing.assert_array_equal(w, [0, 2.5, 0, 0, 2, 0])
    np.testing.assert_array_equal(np.signbit(w), [True, False, True, True, False, True])
    assert w.dtype == np.float32


def test_bytes_of_a_sparse_vector() -> None:
    assert Sparse(np.zeros(3, np.int32), np.zeros(3, np.float32)).nbytes == 24
