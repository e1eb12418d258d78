"""All-reduces made of messages: the sum, the same bits everywhere, exact steps and bytes."""

from __future__ import annotations

import itertools
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ddml_kit.cluster import Deadlock, Network, RankFailed, Simulated
from ddml_kit.cluster.trace import SEND
from ddml_kit.collectives import (
    all_gather,
    cost,
    halving_doubling,
    hierarchical,
    master_worker,
    reduce_scatter,
    ring,
    tree,
)
from ddml_kit.problems import Sparse
from tests.clusters import CLUSTERS, SIZES


def over_two_racks(comm, x):
    return hierarchical(comm, x, racks=min(2, comm.size))


def over_three_racks(comm, x):
    return hierarchical(comm, x, racks=min(3, comm.size))


ALGORITHMS = [master_worker, ring, tree, halving_doubling, over_two_racks, over_three_racks]
DTYPES = ["f4", "f8", "i4", "i8", "u2", "c16"]

ranks = st.integers(1, 9)
lengths = st.integers(0, 30)
algorithms = st.sampled_from(ALGORITHMS)


@pytest.fixture(params=CLUSTERS, ids=lambda cluster: cluster.__name__)
def cluster(request):
    return request.param


def of_rank(comm, algorithm, vectors):
    return algorithm(comm, vectors[comm.rank])


def simulated(algorithm, vectors, **options):
    return Simulated(len(vectors), **options).run(of_rank, algorithm, vectors)


def normal(n, length, seed=0):
    return list(np.random.default_rng(seed).standard_normal((n, length)))


# -------------------------------------------------------------------------------- the sum


@given(algorithm=algorithms, n=ranks, length=lengths, dtype=st.sampled_from(DTYPES))
def test_every_rank_has_the_sum(algorithm, n, length, dtype):
    rng = np.random.default_rng(length)
    vectors = [rng.integers(0, 1000, length).astype(dtype) for _ in range(n)]  # sums are exact
    for result in simulated(algorithm, vectors).results:
        np.testing.assert_array_equal(result, sum(vectors), strict=True)


@given(algorithm=algorithms, n=ranks, length=lengths)
def test_every_rank_has_the_same_bits(algorithm, n, length):
    vectors = normal(n, length)
    results = simulated(algorithm, vectors).results
    np.testing.assert_allclose(results[0], np.sum(vectors, axis=0), atol=1e-12)
    for a, b in itertools.pairwise(results):
        np.testing.assert_array_equal(a, b)


@given(n=ranks, length=lengths)
def test_a_master_adds_in_the_order_of_ranks(n, length):
    def program(comm, vectors):
        x = vectors[comm.rank]
        return np.array_equal(master_worker(comm, x), comm.all_reduce(x))

    assert Simulated(n).run(program, normal(n, length)).results == [True] * n


@given(n=st.integers(1, 9), length=lengths)
def test_a_ring_adds_chunk_c_in_the_order_from_rank_c_on(n, length):
    vectors = normal(n, length)
    parts = [np.array_split(x, n) for x in vectors]
    for result in simulated(ring, vectors).results:
        for c, part in enumerate(np.array_split(result, n)):
            expected = parts[c][c].copy()
            for k in range(1, n):
                expected += parts[(c + k) % n][c]
            np.testing.assert_array_equal(part, expected)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("n", [1, 2, 3, 6])
def test_it_keeps_the_shape_leaves_its_argument_alone_and_owns_its_result(algorithm, n):
    def program(comm):
        x = np.arange(6.0).reshape(3, 2).T
        x.flags.writeable = False
        result = algorithm(comm, x)
        result += 1  # raises if it is read-only
        scalar = algorithm(comm, np.array(2.0))
        tensor = algorithm(comm, torch.ones(3))
        return result, x, scalar, tensor

    for result, x, scalar, tensor in Simulated(n).run(program).results:
        np.testing.assert_array_equal(x, np.arange(6.0).reshape(3, 2).T)
        np.testing.assert_array_equal(result, n * x + 1)
        np.testing.assert_array_equal(scalar, np.array(2.0 * n), strict=True)
        np.testing.assert_array_equal(tensor, np.full(3, n, np.float32), strict=True)


@pytest.mark.parametrize("n", [1, 3])
def test_parts_of_a_ring_leave_their_argument_alone_too(n):
    def program(comm):
        x = np.arange(6.0)
        x.flags.writeable = False
        part = reduce_scatter(comm, x)
        whole = all_gather(comm, x)
        part += 1
        whole += 1
        return part, whole

    results = Simulated(n).run(program).results
    np.testing.assert_array_equal(np.concatenate([r[0] for r in results]), n * np.arange(6.0) + 1)
    for _, whole in results:
        np.testing.assert_array_equal(whole, np.tile(np.arange(6.0), n) + 1)


@pytest.mark.parametrize("size", SIZES)
def test_bits_books_and_steps_are_the_same_on_every_cluster(size):
    def program(comm):
        results = []
        for length in (0, 2, 9_001):
            x = comm.stream("x").standard_normal(length)
            results += [algorithm(comm, x) for algorithm in ALGORITHMS]
            part = reduce_scatter(comm, x)
            results += [part, all_gather(comm, part)]
        return results

    first, *others = [cluster(size).run(program) for cluster in CLUSTERS]
    for other in others:
        for mine, theirs in zip(first.results, other.results, strict=True):
            for a, b in zip(mine, theirs, strict=True):
                np.testing.assert_array_equal(a, b, strict=True)
        assert other.bytes == first.bytes
        assert other.messages == first.messages
        assert other.trace.steps(size) == first.trace.steps(size)


# -------------------------------------------------------------------------- steps and bytes


@given(n=ranks, length=lengths, dtype=st.sampled_from(DTYPES))
def test_a_ring_takes_2_n_minus_1_steps_and_moves_2_n_minus_1_vectors(n, length, dtype):
    run = simulated(ring, [np.zeros(length, dtype)] * n)
    itemsize = np.dtype(dtype).itemsize
    assert run.trace.steps(n) == 2 * (n - 1) == cost.ring_steps(n)
    assert run.messages == 2 * n * (n - 1)  # also of empty chunks
    assert run.bytes == 2 * (n - 1) * length * itemsize == cost.total_bytes(n, length * itemsize)
    chunks = [len(chunk) for chunk in np.array_split(np.zeros(length), n)]
    sent = [
        (2 * length - chunks[(r + 1) % n] - chunks[(r + 2) % n]) * itemsize if n > 1 else 0
        for r in range(n)
    ]
    assert run.trace.bytes_by_rank(n).tolist() == sent
    assert sent == [cost.ring_bytes(length, itemsize, n, r) for r in range(n)]


@given(n=st.integers(1, 20), length=lengths, dtype=st.sampled_from(DTYPES))
def test_halving_and_doubling_takes_2_log_n_steps_and_moves_as_much(n, length, dtype):
    run = simulated(halving_doubling, [np.zeros(length, dtype)] * n)
    itemsize = np.dtype(dtype).itemsize
    assert run.trace.steps(n) == 2 * int(np.ceil(np.log2(n))) == cost.halving_doubling_steps(n)
    assert run.bytes == 2 * (n - 1) * length * itemsize
    sent = run.trace.bytes_by_rank(n).tolist()
    assert sent == [cost.halving_doubling_bytes(length, itemsize, n, r) for r in range(n)]


@pytest.mark.parametrize("n", [2, 4, 8, 16])
def test_of_a_power_of_two_each_rank_sends_as_much_by_halving_as_round_a_ring(n):
    for rank in range(n):
        each = 2 * (n - 1) * 8 * 10
        assert cost.halving_doubling_bytes(10 * n, 8, n, rank) == each
        assert cost.ring_bytes(10 * n, 8, n, rank) == each


def test_the_longest_messages_of_halving_go_to_the_nearest():
    S = 8 * 80
    sends = simulated(halving_doubling, [np.zeros(80)] * 8).trace.of(SEND, rank=5)
    by_peer = {
        peer: sends["bytes"][sends["peer"] == peer].tolist() for peer in (4, 7, 1)
    }  # at distance 1, 2 and 4
    assert by_peer == {4: [S / 2, S / 2], 7: [S / 4, S / 4], 1: [S / 8, S / 8]}


def test_what_folding_costs_where_n_is_no_power_of_two():
    S = 8 * 64
    sent = [cost.halving_doubling_bytes(64, 8, 6, rank) for rank in range(6)]
    assert sent == [1.5 * S + S, 1.5 * S + S, 1.5 * S, 1.5 * S, S, S]
    assert sum(sent) == 2 * 5 * S


@given(n=ranks, length=lengths)
def test_through_a_master_it_is_two_steps(n, length):
    run = simulated(master_worker, [np.zeros(length)] * n)
    assert run.trace.steps(n) == 2 * (n > 1) == cost.master_worker_steps(n)
    assert run.bytes == 2 * (n - 1) * 8 * length
    assert run.trace.bytes_by_rank(n).tolist() == [(n - 1) * 8 * length] + [8 * length] * (n - 1)


@given(n=st.integers(1, 20), length=lengths)
def test_a_tree_is_as_deep_as_its_root_has_children(n, length):
    run = simulated(tree, [np.zeros(length)] * n)
    assert run.trace.steps(n) == 2 * int(np.log2(n)) == cost.tree_steps(n)
    assert run.messages == 2 * (n - 1)
    assert run.bytes == 2 * (n - 1) * 8 * length


@given(n=st.integers(1, 20), length=lengths, data=st.data())
def test_over_racks_it_takes_the_steps_of_a_ring_in_a_rack_and_of_one_between_racks(
    n, length, data
):
    racks = data.draw(st.integers(1, n))
    run = simulated(partial(hierarchical, racks=racks), [np.zeros(length)] * n)
    most = cost.hierarchical_steps(n, racks)
    m = n // racks
    assert most == 2 * (m - 1) + 2 * (racks - 1) + (0 if n == racks * m else 2)
    steps = run.trace.steps(n)
    assert steps == most if n == racks * m else most - 1 <= steps <= most
    assert run.bytes == 2 * (n - 1) * 8 * length


def test_racks_are_those_of_the_network():
    """Only one chunk a rank goes from rack to rack, and only between the two."""
    for n, racks in ((8, 2), (9, 2), (7, 3), (13, 4)):
        run = simulated(partial(hierarchical, racks=racks), [np.zeros(60)] * n)
        network = Network(racks=racks)
        sends = run.trace.of(SEND)
        away = [
            (int(rank), int(peer))
            for rank, peer in zip(sends["rank"], sends["peer"], strict=True)
            if network.rack(rank, n) != network.rack(peer, n)
        ]
        starts = [next(r for r in range(n) if network.rack(r, n) == k) for k in range(racks)]
        for rank, peer in away:
            here, there = network.rack(rank, n), network.rack(peer, n)
            assert there == (here + 1) % racks
            assert rank - starts[here] == peer - starts[there]
        assert len(away) == 2 * (racks - 1) * racks * (n // racks)


@given(n=ranks, length=lengths)
def test_one_half_of_a_ring_adds_up_and_the_other_hands_round(n, length):
    vectors = normal(n, length)
    added = simulated(reduce_scatter, vectors)
    assert [len(part) for part in added.results] == [
        len(part) for part in np.array_split(vectors[0], n)
    ]
    np.testing.assert_allclose(np.concatenate(added.results), np.sum(vectors, axis=0), atol=1e-12)
    assert added.trace.steps(n) == n - 1
    assert added.bytes == (n - 1) * 8 * length

    handed = simulated(all_gather, added.results)
    for result in handed.results:
        np.testing.assert_array_equal(result, np.concatenate(added.results))
    assert handed.trace.steps(n) == n - 1
    assert handed.bytes == (n - 1) * 8 * length


# ---------------------------------------------------------------------------- bad input

odd_vectors = st.one_of(
    st.integers(0, 12).map(lambda length: np.zeros(length)),
    st.sampled_from(["f4", "i8", "c16"]).map(lambda dtype: np.zeros(7, dtype)),
).filter(lambda x: (len(x), x.dtype) != (7, np.float64))


@given(algorithm=algorithms, n=st.integers(2, 9), odd=odd_vectors, data=st.data())
def test_a_vector_unlike_the_others_is_an_error_on_every_rank(algorithm, n, odd, data):
    vectors = [np.zeros(7)] * n
    at = data.draw(st.integers(0, n - 1))
    vectors[at] = odd
    run = simulated(algorithm, vectors, on_failure="continue")
    assert sorted(run.failures) == list(range(n))
    for failure in run.failures.values():
        assert "the ranks need vectors of one length and dtype: rank " in str(failure)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_the_sentence_names_the_ranks_and_what_they_have(cluster, algorithm):
    vectors = [np.zeros(40), np.zeros(40), np.zeros(40), np.zeros(39, np.float32)]
    with pytest.raises(RankFailed) as caught:
        cluster(4).run(of_rank, algorithm, vectors)
    sentence = str(caught.value)
    assert "ValueError: the ranks need vectors of one length and dtype: rank " in sentence
    assert "rank 3 sent" in sentence or "rank 3 expects" in sentence
    assert "of float32" in sentence
    assert "of float64" in sentence


def test_ranks_of_a_group_are_named_as_the_world_knows_them(cluster):
    def program(comm):
        if comm.rank > 0:
            ring(comm.group([1, 2]), np.zeros(2 * comm.rank))

    with pytest.raises(RankFailed, match=r"rank [12] sent [12] values? of float64, rank [12] exp"):
        cluster(3).run(program)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_rank_that_does_not_come_is_named(cluster, algorithm):
    def program(comm):
        return algorithm(comm, np.ones(3)) if comm.rank != 2 else None

    with pytest.raises(Deadlock, match="waits for a message from rank 2") as caught:
        cluster(4).run(program)
    assert "rank 2 has finished" in str(caught.value)


def test_a_rank_that_dies_is_named(cluster):
    def program(comm):
        if comm.rank == 1:
            raise RuntimeError("a reason")
        ring(comm, np.ones(3))

    run = cluster(3, on_failure="continue").run(program)
    assert sorted(run.failures) == [0, 1, 2]
    for failure in run.failures.values():
        assert "a reason" in str(failure)


@pytest.mark.parametrize(
    ("x", "sentence"),
    [
        ([1.0, 2.0], "a sum over ranks needs an array, got list"),
        (3.0, "a sum over ranks needs an array, got float"),
        (Sparse(np.arange(2), np.ones(2)), "a sum over ranks needs an array, got Sparse"),
        (np.array([True]), "a sum over ranks needs numbers, got an array of bool"),
        (np.array(["a"]), "a sum over ranks needs numbers, got an array of <U1"),
    ],
)
def test_what_has_no_sum_is_refused(x, sentence):
    for algorithm in (*ALGORITHMS, reduce_scatter, all_gather):
        with pytest.raises(RankFailed) as caught:
            simulated(algorithm, [x, x])
        assert f"TypeError: {sentence}" in str(caught.value)


def test_racks_that_would_be_empty_are_refused():
    for racks, sentence in (
        (0, "ValueError: 3 ranks fill 1 to 3 racks, got 0"),
        (4, "ValueError: 3 ranks fill 1 to 3 racks, got 4"),
        (1.5, "TypeError: racks must be a whole number, got 1.5"),
    ):
        with pytest.raises(RankFailed) as caught:
            simulated(partial(hierarchical, racks=racks), [np.ones(2)] * 3)
        assert sentence in str(caught.value)


def test_one_who_sends_something_else_is_named():
    def program(comm):
        comm.send("text", 0) if comm.rank else tree(comm, np.ones(2))

    with pytest.raises(RankFailed, match="rank 1 sent a str, rank 0 expects 2 values of float64"):
        Simulated(2).run(program)
