"""Any codec as a reducer: gathered payloads, the same bits everywhere, and one error for all."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from ddml_kit.cluster import RankFailed, Simulated
from ddml_kit.cluster.trace import ALL_GATHER, ALL_REDUCE
from ddml_kit.compression import (
    QSGD,
    Mantissa,
    OneBit,
    RandomK,
    Sign,
    TernGrad,
    Threshold,
    TopK,
    elias,
)
from ddml_kit.compression.atomo import ATOMO
from ddml_kit.compression.shrunk import bits
from ddml_kit.compression.sketch import Sketch
from ddml_kit.problems import Logistic, digits
from ddml_kit.training.adaptive import adam
from ddml_kit.training.compressed import compressed, shared_entries
from ddml_kit.training.data_parallel import data_parallel
from ddml_kit.training.optimisers import sgd
from ddml_kit.training.overlap import overlapped
from tests.clusters import CLUSTERS, SIZES

SHAPES = ((64, 10),)
REDUCERS = {
    "sign": compressed(Sign()),
    "sign, feedback": compressed(Sign(), feedback=True),
    "top_k, feedback": compressed(TopK(0.05), feedback=True),
    "atomo": compressed(ATOMO(SHAPES, 2.0)),
    "sketch": compressed(Sketch(16, 4)),
    "shared": shared_entries(0.1, unbiased=True),
    "shared, feedback": shared_entries(0.1, feedback=True),
}

MORE = {
    "qsgd": compressed(QSGD(8)),
    "qsgd, fixed": compressed(QSGD(7, elias.fixed, bucket=100)),
    "terngrad": compressed(TernGrad(clip=2.5)),
    "one_bit, feedback": compressed(OneBit(SHAPES), feedback=True),
    "mantissa": compressed(Mantissa(7)),
    "threshold, feedback": compressed(Threshold(0.01), feedback=True),
    "random_k": compressed(RandomK(0.1, unbiased=True)),
    "shrunk": compressed(bits(4, 640), feedback=True),
}


@pytest.fixture(scope="module")
def of_digits():
    data = digits()
    return Logistic(data.x, data.y)


def reduced(comm, gradients, reducer):
    """What the reducer makes of these gradients, (steps, ranks, d), one after the other."""
    reduce = reducer(comm)
    return [reduce(step[comm.rank]) for step in gradients]


@pytest.mark.parametrize("size", SIZES)
def test_the_same_bits_on_every_rank_of_every_cluster(size, of_digits):
    def program(comm, problem, reducers):
        return [
            data_parallel(comm, problem, optimiser, steps=2, batch_size=8, reducer=reducer)
            for reducer in reducers
            for optimiser in (sgd(0.1), adam(0.01))
        ]

    reducers = [*REDUCERS.values(), *MORE.values()]
    runs = [cluster(size).run(program, of_digits, reducers) for cluster in CLUSTERS]
    models = [np.array(result) for run in runs for result in run.results]
    for a, b in itertools.pairwise(models):
        np.testing.assert_array_equal(a, b, strict=True)
    assert len({run.bytes for run in runs}) == 1


def test_buckets_that_travel_at_once_draw_the_same_numbers_on_every_cluster(of_digits):
    options = {"steps": 3, "batch_size": 8, "bucket_bytes": 400}
    for reducer in (compressed(Sketch(8, 2)), shared_entries(0.2)):
        models = [
            cluster(2).run(overlapped, of_digits, sgd(0.1), reducer=reducer, **options).results[0]
            for cluster in CLUSTERS
        ]
        for model in models[1:]:
            np.testing.assert_array_equal(model, models[0])


EVERY = REDUCERS | MORE


@pytest.mark.parametrize("reducer", EVERY.values(), ids=EVERY)
def test_it_learns_digits(of_digits, reducer):
    run = Simulated(4).run(
        data_parallel, of_digits, sgd(0.1), steps=150, batch_size=16, reducer=reducer
    )
    assert of_digits.accuracy(run.results[0]) > 0.85


def test_it_is_the_mean_of_what_payloads_decode_to_in_rank_order():
    gradients = np.random.default_rng(0).standard_normal((1, 5, 30)).astype(np.float32)
    codec = Sign()
    decoded = [codec.decode(codec.encode(g)) for g in gradients[0]]
    total = decoded[0]
    for vector in decoded[1:]:
        total = total + vector
    for result in Simulated(5).run(reduced, gradients, compressed(codec)).results:
        np.testing.assert_array_equal(result[0], total / np.float32(5), strict=True)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("reducer", [REDUCERS["sign"], REDUCERS["shared, feedback"]])
def test_the_dtype_stays_and_gradients_too(reducer, dtype):
    gradients = np.random.default_rng(0).standard_normal((2, 3, 40)).astype(dtype)
    before = gradients.copy()
    for results in Simulated(3).run(reduced, gradients, reducer).results:
        assert {result.dtype for result in results} == {np.dtype(dtype)}
    np.testing.assert_array_equal(gradients, before)


def test_each_rank_draws_its_own_numbers_from_the_stream_of_codecs():
    """Equal gradients make other payloads on other ranks, and batches are those without codec."""

    class Drawn:
        def encode(self, x, rng=None):
            return TopK(1).encode(rng.random(len(x)))

        def decode(self, payload):
            return TopK(1).decode(payload)

    def program(comm):
        mean = compressed(Drawn())(comm)(np.ones(8))
        return mean, comm.stream("batches").random()

    found = Simulated(4).run(program).results
    assert np.count_nonzero(found[0][0]) > 1
    untouched = Simulated(4).run(lambda comm: comm.stream("batches").random()).results
    assert [after for _, after in found] == untouched


class Noting:
    """A codec that notes the bytes of its payloads."""

    def __init__(self, codec):
        self.codec, self.nbytes = codec, []

    def encode(self, x, rng=None):
        payload = self.codec.encode(x, rng)
        self.nbytes.append(len(payload.data))
        return payload

    def decode(self, payload):
        return self.codec.decode(payload)


def test_bytes_in_the_trace_are_those_of_the_payloads():
    steps, ranks, d = 3, 4, 333
    gradients = np.random.default_rng(0).standard_normal((steps, ranks, d))

    def program(comm, codec):
        noting = Noting(codec)
        reduced(comm, gradients, compressed(noting))
        return noting.nbytes

    for codec in (Sign(), TopK(7), Sketch(8, 2), ATOMO(((9, 37),), 1)):
        run = Simulated(ranks).run(program, codec)
        for rank, nbytes in enumerate(run.results):
            sent = run.trace.of(ALL_GATHER, rank=rank)["bytes"]
            np.testing.assert_array_equal(sent, (ranks - 1) * np.array(nbytes))
    assert (ranks - 1) * Sign().encode(gradients[0, 0]).nbytes == (ranks - 1) * (4 + 42)


# ------------------------------------------------------------------------------- feedback


def test_feedback_sends_later_what_a_payload_loses():
    rng = np.random.default_rng(0)
    gradients = np.concatenate([rng.standard_normal((5, 3, 40)), np.zeros((40, 3, 40))])
    total = gradients.mean(axis=1).sum(axis=0)
    for reducer, whole in (
        (compressed(TopK(4), feedback=True), True),
        (compressed(TopK(4)), False),
        (shared_entries(8, feedback=True), True),
        (shared_entries(8), False),
    ):
        results = Simulated(3).run(reduced, gradients, reducer).results[0]
        left = np.linalg.norm(np.sum(results, axis=0) - total) / np.linalg.norm(total)
        assert (left < 1e-2) == whole


# ------------------------------------------------------------------------- shared entries


def test_shared_entries_are_summed_and_only_they_travel():
    ranks, d, k = 4, 1000, 50
    gradients = np.random.default_rng(0).standard_normal((3, ranks, d)).astype(np.float32)
    run = Simulated(ranks).run(reduced, gradients, shared_entries(k, unbiased=True))
    assert len(run.trace.of(ALL_GATHER)) == ranks  # once, the lengths
    assert run.trace.of(ALL_REDUCE)["bytes"].sum() == 3 * 2 * (ranks - 1) * 4 * k
    chosen = []
    for step, result in zip(gradients, run.results[0], strict=True):
        kept = np.flatnonzero(result)
        assert len(kept) == k
        np.testing.assert_allclose(
            result[kept], step[:, kept].mean(axis=0) * d / k, rtol=1e-5, atol=1e-5
        )
        chosen.append(kept)
    assert not np.array_equal(chosen[0], chosen[1])


def test_shared_entries_are_right_on_average():
    gradients = np.repeat(np.random.default_rng(0).standard_normal((1, 2, 20)), 4000, axis=0)
    mean = np.mean(
        Simulated(2).run(reduced, gradients, shared_entries(5, unbiased=True)).results[0], axis=0
    )
    np.testing.assert_allclose(mean, gradients[0].mean(axis=0), atol=0.1)


# ------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize("cluster", CLUSTERS, ids=lambda cluster: cluster.__name__)
def test_what_is_not_finite_on_one_rank_is_an_error_on_all(cluster):
    def program(comm, reducers):
        gradient = np.ones(640, np.float32)
        if comm.rank == 1:
            gradient[3] = np.nan
        said = []
        for reducer in reducers:
            try:
                reducer(comm)(gradient)
            except FloatingPointError as error:
                said.append(str(error))
        return said

    results = cluster(3).run(program, list(REDUCERS.values())).results
    assert results[0] == results[1] == results[2]
    assert len(results[0]) == len(REDUCERS)
    for name, sentence in zip(REDUCERS, results[0], strict=True):
        wanted = "got 1 of 640 values of rank 1" if "shared" in name else "rank 1: a codec needs"
        assert wanted in sentence


@pytest.mark.parametrize(
    "reducer", [compressed(TopK(4), feedback=True), shared_entries(40, feedback=True)]
)
def test_after_a_refused_step_the_memory_is_as_if_it_had_not_been(reducer):
    """On the ranks whose gradient was fine, too."""

    def program(comm, gradients):
        reduce, said = reducer(comm), []
        for step in gradients:
            try:
                said.append(reduce(step[comm.rank]))
            except FloatingPointError:
                said.append(None)
        return said

    gradients = np.random.default_rng(0).standard_normal((4, 3, 40))
    refused = np.insert(gradients, 2, gradients[0], axis=0)
    refused[2, 1, 5] = np.nan
    for without, found in zip(
        Simulated(3).run(program, gradients).results,
        Simulated(3).run(program, refused).results,
        strict=True,
    ):
        assert found.pop(2) is None
        np.testing.assert_array_equal(found, without)


@pytest.mark.parametrize("cluster", CLUSTERS, ids=lambda cluster: cluster.__name__)
def test_a_gradient_that_is_no_float_is_refused_on_every_rank(cluster):
    def program(comm):
        try:
            compressed(Sign())(comm)(np.ones(8, float if comm.rank else int))
        except TypeError as error:
            return str(error)

    sentence = "rank 0: a codec encodes float32 or float64, got int64"
    assert cluster(2).run(program).results == [sentence] * 2


def test_what_a_codec_refuses_is_refused_on_every_rank():
    def program(comm):
        return compressed(TopK(9))(comm)(np.ones(10 if comm.rank else 5))

    run = Simulated(2, on_failure="continue").run(program)
    assert sorted(run.failures) == [0, 1]
    for failure in run.failures.values():
        assert "rank 0: k must be at most the length of the vector, got k=9 with d=5" in str(
            failure
        )


@pytest.mark.parametrize("reducer", [compressed(Sign(), feedback=True), shared_entries(1)])
@pytest.mark.parametrize("lengths", [(1000, 1, 1000), (7, 1000, 1000)], ids=str)
def test_gradients_of_other_lengths_are_refused_on_every_rank(reducer, lengths):
    def program(comm):
        try:
            reducer(comm)(np.ones(lengths[comm.rank]))
        except ValueError as error:
            return str(error)

    sentence = (
        f"gradients must be of one length, got {lengths[0]} values of rank 0 and {lengths[1]} of "
        "rank 1"
    )
    assert Simulated(3).run(program).results == [sentence] * 3


def test_shared_entries_are_of_one_length_from_step_to_step():
    def program(comm):
        reduce = shared_entries(1)(comm)
        reduce(np.ones(5))
        reduce(np.ones(6))

    with pytest.raises(RankFailed, match="gradients must be of one length, got 6 after 5"):
        Simulated(2).run(program)


def test_a_bad_k_gets_a_sentence():
    with pytest.raises(ValueError, match="k as a count is at least 1, got k=0"):
        shared_entries(0)
    with pytest.raises(ValueError, match="feedback needs entries as they are"):
        shared_entries(3, feedback=True, unbiased=True)
    with pytest.raises(RankFailed, match="k must be at most the length of the vector, got k=9"):
        Simulated(1).run(reduced, np.zeros((1, 1, 3)), shared_entries(9))
