"""In-network aggregation: the sum within its bound, slots and packets, what is refused."""

from __future__ import annotations

import itertools
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ddml_kit.cluster import Deadlock, Network, RankFailed, Simulated
from ddml_kit.cluster.trace import SEND
from ddml_kit.collectives import cost, in_network, leave_switch, switch, through_switch
from ddml_kit.collectives.fixed_point import block_scale, exponent, saturate, scale_for
from tests.clusters import CLUSTERS

ALPHA, BETA = 1e-3, 1e6
NETWORK = Network(latency=ALPHA, bandwidth=BETA, switch=True)


@pytest.fixture(params=CLUSTERS, ids=lambda cluster: cluster.__name__)
def cluster(request):
    return request.param


def of_rank(comm, vectors, settings):
    last = comm.rank == comm.size - 1
    return in_network(comm, None if last else vectors[comm.rank], **settings)


def simulated(vectors, **settings):
    return Simulated(len(vectors) + 1, network=NETWORK).run(of_rank, vectors, settings)


def error(result, vectors, i):
    """How far the i-th element is from the sum, exactly."""
    return abs(Fraction(float(result[i])) - sum(Fraction(float(x[i])) for x in vectors))


floats = st.floats(-1e6, 1e6)
packets = st.fixed_dictionaries({"elements": st.integers(1, 5), "slots": st.integers(1, 4)})


@st.composite
def several(draw):
    length = draw(st.integers(0, 12))
    values = st.lists(floats, min_size=length, max_size=length)
    return [np.array(x) for x in draw(st.lists(values, min_size=1, max_size=5))]


@given(vectors=several(), settings=packets)
def test_with_a_given_scale_each_element_is_off_by_less_than_n_over_f(vectors, settings):
    n = len(vectors)
    f = scale_for(n, max(1.0, *(np.abs(x).max(initial=0) for x in vectors)))
    run = simulated(vectors, f=f, **settings)
    assert run.results[n] is None
    for result in run.results[:n]:
        assert result.dtype == np.float64
        assert all(error(result, vectors, i) < n / Fraction(f) for i in range(len(result)))
        np.testing.assert_array_equal(result, run.results[0])


@given(vectors=several(), settings=packets)
def test_a_chosen_scale_fits_the_largest_exponent_of_its_block(vectors, settings):
    n, k = len(vectors), settings["elements"]
    run = simulated(vectors, **settings)
    for result in run.results[:n]:
        np.testing.assert_array_equal(result, run.results[0])
        for start in range(0, len(result), k):
            f = block_scale(n, max(exponent(x[start : start + k]) for x in vectors))
            for i in range(start, min(start + k, len(result))):
                assert error(result, vectors, i) < n / Fraction(f)


def test_a_chosen_scale_tells_small_numbers_from_zero_in_a_block_of_their_own():
    vectors = [np.array([1e-9, 2e-9, 1e9, 2e9])] * 2
    [alone, *_] = simulated(vectors, elements=2).results
    np.testing.assert_allclose(alone, 2 * vectors[0], rtol=1e-8)
    [together, *_] = simulated(vectors, elements=4).results
    assert together[:2].tolist() == [0, 0]


def test_the_result_has_the_shape_of_the_vector_and_whole_numbers_add_up():
    x = np.arange(6, dtype=np.int64).reshape(2, 3)
    [result, *_] = simulated([x, x, x], f=1.0).results
    np.testing.assert_array_equal(result, 3.0 * x, strict=True)


def test_the_same_everywhere():
    def program(comm):
        x = comm.stream("x").standard_normal((3, 40)).astype(np.float32) * 10.0**comm.rank
        settings = ({}, {"elements": 7, "slots": 3}, {"f": 1e3}, {"f": 1e7, "overflow": saturate})
        return [in_network(comm, x, **options) for options in settings]

    runs = [cluster(4).run(program) for cluster in CLUSTERS]
    for a, b in itertools.pairwise(runs):
        for mine, theirs in zip(a.results[:3], b.results[:3], strict=True):
            np.testing.assert_array_equal(mine, theirs)
        assert a.bytes == b.bytes
        assert a.messages == b.messages


# --------------------------------------------------------------------------- packets and slots


def timed(comm, length, settings):
    """When the sum is there, seconds."""
    if comm.rank == comm.size - 1:
        switch(comm)
        return None
    through_switch(comm, np.zeros(length), **settings)
    seconds = comm.now()
    leave_switch(comm)
    return seconds


@given(
    n=st.integers(1, 5),
    length=st.integers(0, 60),
    elements=st.integers(1, 9),
    slots=st.integers(1, 8),
)
def test_steps_bytes_and_seconds_are_those_on_paper(n, length, elements, slots):
    settings = {"f": 1.0, "elements": elements, "slots": slots}
    run = Simulated(n + 1, network=NETWORK).run(timed, length, settings)
    assert run.bytes == 8 * n * length == cost.switch_bytes(n, length)
    blocks = max(1, -(-length // elements))
    assert run.messages == 2 * n * blocks + n  # and each says that it leaves
    assert run.trace.steps(n + 1) == cost.switch_steps(length, elements, slots) + 1
    assert cost.switch_steps(length, elements, slots) == 2 * -(-blocks // slots)
    paper = cost.switch_seconds(length, NETWORK, elements, slots)
    taken = max(run.results[:n])
    assert paper - 4 * elements / BETA <= taken * (1 + 1e-9)
    assert taken <= paper * (1 + 1e-9)
    if length % elements == 0:
        assert taken == pytest.approx(paper)


def test_with_enough_slots_the_time_does_not_depend_on_the_number_of_workers():
    paper = ALPHA + (4 * 4096 + 4 * 256) / BETA
    assert cost.switch_seconds(4096, NETWORK, 256, 16) == pytest.approx(paper)
    for n in (1, 2, 8):
        settings = {"f": 1.0, "elements": 256, "slots": 16}
        run = Simulated(n + 1, network=NETWORK).run(timed, 4096, settings)
        assert max(run.results[:n]) == pytest.approx(paper)


def test_a_chosen_scale_costs_two_bytes_a_packet_each_way_and_one_trip():
    n, length = 3, 100
    given_ = Simulated(n + 1, network=NETWORK).run(timed, length, {"f": 1.0, "elements": 10})
    chosen = Simulated(n + 1, network=NETWORK).run(timed, length, {"elements": 10})
    assert chosen.bytes - given_.bytes == 2 * n * 10 * 2
    assert chosen.trace.steps(n + 1) - given_.trace.steps(n + 1) == 2
    longer = chosen.results[0] - given_.results[0]
    assert ALPHA <= longer <= ALPHA + 4 * 2 * 10 / BETA


def test_the_next_packet_of_a_slot_leaves_when_its_result_has_come():
    run = Simulated(3, network=NETWORK).run(
        timed, 24, {"f": 1.0, "elements": 2, "slots": 3}
    )  # 12 blocks, so 4 turns of 3 slots
    for worker in (0, 1):
        events = run.trace.of(SEND, 2, rank=worker)
        under_way: set[int] = set()
        turns = 0
        for kind, slot, nbytes in zip(events["kind"], events["tag"], events["bytes"], strict=True):
            if nbytes == 0:  # it leaves
                continue
            if kind == SEND:
                assert slot not in under_way
                under_way.add(slot)
                turns += 1
            else:
                under_way.remove(slot)
            assert len(under_way) <= 3
        assert turns == 12
        assert not under_way


def test_a_switch_serves_many_vectors_of_any_length():
    def program(comm):
        if comm.rank == 2:
            return switch(comm)
        lengths = (3, 0, 1000, 5)
        sums = [through_switch(comm, np.full(k, 1.0 + comm.rank), f=4.0) for k in lengths]
        leave_switch(comm)
        return [x.tolist() for x in sums]

    for cluster in CLUSTERS:
        results = cluster(3).run(program).results
        assert results[2] is None
        assert results[0] == results[1] == [[3.0] * k for k in (3, 0, 1000, 5)]


# ------------------------------------------------------------------------------- bad input


def test_a_value_that_overflows_is_refused_on_every_rank(cluster):
    vectors = [np.array([1.0, 2.0]), np.array([1.0, 5e9])]
    run = cluster(3, on_failure="continue").run(of_rank, vectors, {"f": 2.0})
    assert sorted(run.failures) == [0, 1, 2]
    for failure in run.failures.values():
        assert "OverflowError: rank 1's value 5e+09 at scale 2 is 1e+10" in str(failure)


def test_a_sum_that_overflows_is_refused_on_every_rank(cluster):
    vectors = [np.array([7.0, 1.5e9]), np.array([7.0, 1.0e9])]
    run = cluster(3, on_failure="continue").run(of_rank, vectors, {"f": 1.0})
    assert sorted(run.failures) == [0, 1, 2]
    for failure in run.failures.values():
        assert (
            "OverflowError: the sum of 2 workers' values, 2.5e+09 at scale 1, is 2500000000 (the "
            "largest is rank 0's, 1.5e+09), which is beyond 32 bits" in str(failure)
        )


def test_what_overflows_is_saturated_if_asked_whatever_the_order(cluster):
    for order in itertools.permutations(([2e9, 5e9], [2e9, 0.0], [-2e9, 0.0])):
        vectors = [np.array(x) for x in order]
        run = cluster(4).run(of_rank, vectors, {"f": 1.0, "overflow": saturate})
        np.testing.assert_array_equal(run.results[0], [2e9, 2**31 - 1])
        if cluster is not Simulated:
            break
    run = cluster(3).run(of_rank, [np.array([2e9])] * 2, {"f": 1.0, "overflow": saturate})
    assert run.results[0].tolist() == [2**31 - 1]


def test_a_sum_may_pass_beyond_and_come_back():
    vectors = [np.array([2e9]), np.array([2e9]), np.array([-1.5e9])]
    with pytest.raises(RankFailed, match="is 2500000000"):
        simulated(vectors, f=1.0)
    vectors = [np.array([2e9]), np.array([2e9]), np.array([-2e9])]
    assert simulated(vectors, f=1.0).results[0].tolist() == [2e9]


@pytest.mark.parametrize(
    ("vectors", "settings", "sentence"),
    [
        ((np.ones(3), np.ones(4)), {"f": 1.0}, "block 0 of 4 values, by 256 in 128 slots"),
        ((np.ones(3), np.ones(4)), {}, "block -128 of 4 values, by 256 in 128 slots, at scale 0"),
        ((np.ones(0), np.ones(4)), {}, "block -128 of 0 values, by 256 in 128 slots, at scale 0"),
    ],
)
def test_vectors_of_different_length_are_refused_on_every_rank(
    cluster, vectors, settings, sentence
):
    run = cluster(3, on_failure="continue").run(of_rank, vectors, settings)
    assert sorted(run.failures) == [0, 1, 2]
    for failure in run.failures.values():
        assert sentence in str(failure)


@pytest.mark.parametrize(
    "other", [{"f": 2.0}, {"f": None}, {"f": 1.0, "elements": 2}, {"f": 1.0, "slots": 1}]
)
def test_workers_with_other_settings_are_refused(other):
    def program(comm, other):
        if comm.rank == 2:
            return switch(comm)
        through_switch(comm, np.ones(5), **(other if comm.rank else {"f": 1.0}))
        leave_switch(comm)
        return None

    run = Simulated(3, on_failure="continue").run(program, other)
    assert sorted(run.failures) == [0, 1, 2]
    for failure in run.failures.values():
        assert "workers must send the same vector's packets through the switch: rank " in str(
            failure
        )


def test_a_worker_that_does_not_come_or_sends_less_is_named(cluster):
    def absent(comm):
        if comm.rank == 2:
            return switch(comm)
        return through_switch(comm, np.ones(3)) if comm.rank else None

    with pytest.raises(Deadlock, match="rank 0 has finished; rank 1 waits for a message from rank"):
        cluster(3).run(absent)

    def less(comm):
        if comm.rank == 2:
            return switch(comm)
        for _ in range(1 + comm.rank):
            through_switch(comm, np.ones(3))
        leave_switch(comm)
        return None

    with pytest.raises(RankFailed, match="rank 0 has left, but rank 1 sends more"):
        cluster(3).run(less)


@pytest.mark.parametrize(
    ("x", "settings", "sentence"),
    [
        ([1.0], {}, "TypeError: a sum over ranks needs an array, got list"),
        (np.ones(2), {"f": 0.0}, "ValueError: f must be a finite scale above 0, got 0.0"),
        (np.ones(2), {"f": np.inf}, "ValueError: f must be a finite scale above 0, got inf"),
        (np.ones(2), {"elements": 0}, "ValueError: packets need elements and slots, got 0 and 128"),
        (np.ones(2), {"slots": 0}, "ValueError: packets need elements and slots, got 256 and 0"),
        (np.ones(2), {"slots": 1.5}, "TypeError: slots must be a whole number, got 1.5"),
        (
            np.array([1.0, np.nan]),
            {"overflow": saturate},
            "ValueError: a switch adds finite numbers, got nan, element 1 of rank 0",
        ),
        (np.array([np.inf]), {}, "ValueError: a switch adds finite numbers, got inf, element 0"),
        (np.ones(2, complex), {}, "TypeError: a switch adds real numbers, got complex128"),
    ],
)
def test_what_a_worker_refuses(x, settings, sentence):
    with pytest.raises(RankFailed) as caught:
        simulated([x], **settings)
    assert sentence in str(caught.value)


def test_the_switch_sends_nothing_through_itself():
    with pytest.raises(RankFailed, match="ValueError: the last rank, 0, is the switch"):
        Simulated(1).run(lambda comm: through_switch(comm, np.ones(1)))
    assert Simulated(1).run(lambda comm: in_network(comm, np.ones(1))).results == [None]
