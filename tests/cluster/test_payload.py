"""What values weigh, and what collectives book."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ddml_kit.cluster.payload import (
    all_gather_bytes,
    all_reduce_bytes,
    broadcast_bytes,
    chunk_bounds,
    fold,
    payload_bytes,
)
from ddml_kit.problems.problem import Sparse


class Point:
    def __init__(self):
        self.x, self.name = np.zeros(3, np.float32), "ab"


class Load:
    def __init__(self, nbytes):
        self.nbytes = nbytes


@pytest.mark.parametrize(
    ("value", "nbytes"),
    [
        (None, 0),
        (True, 8),
        (3, 8),
        (2.5, 8),
        (np.float32(1), 8),
        (np.array(1.0, np.float32), 4),
        (b"abc", 3),
        ("grün", 5),
        (np.zeros((2, 3), np.float32), 24),
        (np.zeros((5, 4))[::2], 96),
        (np.zeros(0), 0),
        (torch.zeros(3, dtype=torch.float16), 6),
        ((1, None, np.zeros(2)), 24),
        ([], 0),
        ({"long key": 1.0, 2: [1, 2]}, 24),
        (Sparse(np.arange(3), np.zeros(3, np.float32)), 36),
        (Point(), 14),
        (Load(25e5), 2_500_000),
        (Load(np.int64(7)), 7),
        (1 + 2j, 16),
        (np.complex64(1), 16),
        (Point, 0),
        (np.ndarray, 0),
        (len, 0),
        (fold, 0),
        ([1, len], 8),
    ],
)
def test_a_value_weighs_its_arrays_and_eight_bytes_a_number(value, nbytes):
    assert payload_bytes(value) == nbytes


def test_what_has_no_attributes_weighs_its_pickle():
    assert 20 < payload_bytes({1, 2, 3}) < 100


class Node:
    def __init__(self, x):
        self.x, self.others = x, []


def test_what_holds_itself_is_counted_once():
    nodes = [Node(float(i)) for i in range(20)]
    for node in nodes:
        node.others = nodes
    assert payload_bytes(nodes) == 20 * 8
    assert payload_bytes(nodes[3]) == 20 * 8
    x = np.zeros(2)
    assert payload_bytes((x, x)) == 32
    loop = [1]
    loop.append(loop)
    assert payload_bytes(loop) == 8


SIZES = st.integers(1, 40)


@given(length=st.integers(0, 200), n=SIZES)
def test_chunks_cover_a_vector_and_differ_by_one_at_most(length, n):
    lengths = np.diff(chunk_bounds(length, n))
    assert lengths.sum() == length
    assert lengths.max() - lengths.min() <= 1
    assert (np.diff(lengths) <= 0).all()


@given(length=st.integers(0, 200), n=SIZES)
def test_an_all_reduce_books_what_reduce_scatter_and_all_gather_send(length, n):
    own = np.diff(chunk_bounds(length, n))
    booked = [all_reduce_bytes(length, 4, n, position) for position in range(n)]
    assert booked == [4 * (length - c + (n - 1) * c) * (n > 1) for c in own]
    assert sum(booked) == 4 * 2 * (n - 1) * length


def test_an_all_gather_books_its_value_to_each_of_the_others():
    assert [all_gather_bytes(10, n) for n in (1, 2, 5)] == [0, 10, 40]


@given(n=SIZES, data=st.data())
def test_a_broadcast_books_the_messages_of_a_binomial_tree(n, data):
    root = data.draw(st.integers(0, n - 1))
    sent = [0] * n
    have = 1
    while have < n:  # in each round those who have it send it on
        for distance in range(min(have, n - have)):
            sent[(root + distance) % n] += 7
        have *= 2
    assert [broadcast_bytes(7, n, position, root) for position in range(n)] == sent
    assert sum(sent) == 7 * (n - 1)


def test_a_fold_goes_from_the_left_and_keeps_its_inputs():
    vectors = [np.array([x]) for x in (1e16, 1.0, -1e16, 1.0)]
    out = np.empty(1)
    assert fold(vectors, np.add, out) is out
    assert out[0] == ((1e16 + 1.0) - 1e16) + 1.0 == 1.0
    assert [v[0] for v in vectors] == [1e16, 1.0, -1e16, 1.0]
