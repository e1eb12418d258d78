"""Broadcast and gather on a binomial tree."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ddml_kit.cluster import RankFailed, Simulated
from ddml_kit.collectives import broadcast, gather
from tests.clusters import CLUSTERS


@given(n=st.integers(1, 20), length=st.integers(0, 9), data=st.data())
def test_everybody_has_what_the_root_had(n, length, data):
    root = data.draw(st.integers(0, n - 1))

    def program(comm):
        x = np.full(length, float(comm.rank))
        result = broadcast(comm, x, root)
        result += 1
        return result, x

    run = Simulated(n).run(program)
    for rank, (result, x) in enumerate(run.results):
        np.testing.assert_array_equal(result, np.full(length, root + 1.0))
        np.testing.assert_array_equal(x, np.full(length, float(rank)))
    assert run.messages == n - 1
    assert run.bytes == (n - 1) * 8 * length
    assert run.trace.steps(n) == int(np.log2(n))


@given(n=st.integers(1, 20), data=st.data())
def test_the_root_has_what_everybody_had(n, data):
    root = data.draw(st.integers(0, n - 1))
    lengths = data.draw(st.lists(st.integers(0, 5), min_size=n, max_size=n))

    def program(comm):
        x = np.full(lengths[comm.rank], comm.rank, "f4" if comm.rank % 2 else "i8")
        return gather(comm, x, root)

    run = Simulated(n).run(program)
    for rank, parts in enumerate(run.results):
        if rank != root:
            assert parts is None
            continue
        for other, part in enumerate(parts):
            dtype = np.dtype("f4" if other % 2 else "i8")
            np.testing.assert_array_equal(part, np.full(lengths[other], other, dtype), strict=True)
    assert run.messages == n - 1
    assert run.trace.steps(n) == int(np.log2(n))


@pytest.mark.parametrize("n", [2, 4, 16])
def test_a_vector_travels_once_a_step_between_its_rank_and_the_root(n):
    run = Simulated(n).run(lambda comm: gather(comm, np.zeros(10)))
    assert run.bytes == 80 * n // 2 * int(np.log2(n))


@pytest.mark.parametrize("cluster", CLUSTERS)
def test_they_do_so_on_every_cluster(cluster):
    def program(comm):
        x = np.arange(3.0) + comm.rank
        return broadcast(comm, x, root=2), gather(comm, x, root=1)

    results = cluster(3).run(program).results
    for result, _ in results:
        np.testing.assert_array_equal(result, [2, 3, 4])
    assert [parts for _, parts in results][::2] == [None, None]
    np.testing.assert_array_equal(results[1][1], [[0, 1, 2], [1, 2, 3], [2, 3, 4]])


def test_a_root_that_is_no_rank_is_refused():
    for call in (broadcast, gather):
        with pytest.raises(RankFailed, match="ValueError: root must be a rank from 0 to 1, got 2"):
            Simulated(2).run(lambda comm, call=call: call(comm, np.ones(1), 2))
        with pytest.raises(RankFailed, match=r"TypeError: root must be a rank, got 0\.5"):
            Simulated(2).run(lambda comm, call=call: call(comm, np.ones(1), 0.5))
