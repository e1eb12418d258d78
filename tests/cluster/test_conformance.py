"""What every cluster does alike. A new one joins by a line in tests/clusters.py.

Programs are nested functions, so that they travel by value, as those of a notebook do.
"""

# ruff: noqa: NPY002 - programs that draw from the global generators are what is tested

from __future__ import annotations

import collections
import itertools
import os
import random
import signal

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from ddml_kit.cluster import ANY, Deadlock, Metric, RankFailed, Snapshot, Timeout
from ddml_kit.cluster.faults import Constant
from ddml_kit.cluster.payload import fold
from ddml_kit.cluster.processes import Processes
from ddml_kit.cluster.simulated import Simulated
from ddml_kit.cluster.torchrun import Torchrun
from ddml_kit.problems.problem import Sparse
from tests.clusters import CLUSTERS, SIZES

SHARING = [Simulated, Processes]  # have a memory that ranks share; Torchrun's may be far apart

LONG = 9_000  # float64: beyond the 32 KB at which the clusters change their ways


@pytest.fixture(params=CLUSTERS, ids=lambda cluster: cluster.__name__)
def cluster(request):
    return request.param


@pytest.fixture(params=SHARING, ids=lambda cluster: cluster.__name__)
def sharing_cluster(request):
    return request.param


@pytest.fixture
def file(cluster, tmp_path):
    """For `board`: of a cluster that shares no memory, a file full of zeros."""
    if cluster in SHARING:
        return None
    (tmp_path / "board").write_bytes(bytes(4096))
    return str(tmp_path / "board")


def board(comm, zeros, file):
    """An array that all ranks of this machine write: shared memory, or else a file."""
    if file is None:
        return comm.shared(zeros)
    return np.memmap(file, zeros.dtype, "r+", shape=zeros.shape)


def on_all(size, program, *args, **options):
    """The runs of a program on every cluster."""
    return [cluster(size, **options).run(program, *args) for cluster in CLUSTERS]


def assert_same_bits(results):
    for a, b in itertools.pairwise(results):
        np.testing.assert_array_equal(a, b, strict=True)


# ----------------------------------------------------------------------------- messages


def test_a_rank_sends_to_itself(cluster):
    def program(comm):
        comm.send(np.arange(3), comm.rank, tag=4)
        return comm.recv(comm.rank)

    message = cluster(1).run(program).results[0]
    np.testing.assert_array_equal(message.value, np.arange(3))
    assert (message.source, message.tag) == (0, 4)


def test_recv_takes_the_tag_that_it_asks_for(cluster):
    def program(comm):
        if comm.rank == 1:
            for tag in (1, 2, 3):
                comm.send(10 * tag, 0, tag)
            return None
        return [tuple(comm.recv(1, tag)) for tag in (3, 1, ANY)]

    assert cluster(2).run(program).results[0] == [(30, 1, 3), (10, 1, 1), (20, 1, 2)]


def test_recv_takes_the_source_that_it_asks_for(cluster):
    def program(comm):
        if comm.rank:
            comm.send(comm.rank, 0)
            return None
        return [comm.recv(source).value for source in (2, 1, 3)]

    assert cluster(4).run(program).results[0] == [2, 1, 3]


def test_messages_of_a_pair_arrive_in_the_order_sent(cluster):
    def program(comm):
        if comm.rank == 1:
            for i in range(60):  # a large one must not be overtaken by a small one
                comm.send(np.full(20_000 if i % 7 == 0 else 1, i), 0)
            return None
        return [int(comm.recv(1).value[0]) for _ in range(60)]

    assert cluster(2).run(program).results[0] == list(range(60))


def test_any_takes_messages_in_the_order_of_arrival(cluster):
    def program(comm):
        if comm.rank == 0:
            comm.recv(3, tag=9)  # by now all have arrived: 2, then 1, then 3
            return [comm.recv(tag=1).source for _ in range(3)]
        order = [2, 1, 3]
        at = order.index(comm.rank)
        if at:
            comm.recv(order[at - 1], tag=8)
        comm.send("", 0, tag=1)
        comm.send("", order[at + 1], tag=8) if at < 2 else comm.send("", 0, tag=9)
        return None

    assert cluster(4).run(program).results[0] == [2, 1, 3]


@pytest.mark.parametrize("length", [3, LONG])
def test_what_is_sent_is_the_value_at_the_time_of_sending(cluster, length):
    def program(comm, length):
        if comm.rank == 1:
            x, nested, tensor = np.ones(length), [np.ones(length)], torch.ones(length)
            for value in (x, nested, tensor):
                comm.send(value, 0)
            x[:] = nested[0][:] = 2
            tensor.fill_(2)
            return None
        return [comm.recv(1).value for _ in range(3)]

    x, nested, tensor = cluster(2).run(program, length).results[0]
    for array in (x, nested[0], tensor.numpy()):
        np.testing.assert_array_equal(array, np.ones(length))


@pytest.mark.parametrize("length", [3, LONG])
def test_what_is_received_is_writable_and_ones_own(cluster, length):
    def program(comm, x):
        frozen = x.copy()
        frozen.flags.writeable = False
        for dest in range(comm.size):
            comm.send(frozen, dest, tag=1)
            comm.send({"deep": (frozen,)}, dest, tag=1)
        mine = [comm.recv(0, tag=1).value, comm.recv(0, tag=1).value["deep"][0]]
        mine += comm.all_gather(frozen)
        mine += [comm.broadcast(frozen), comm.all_reduce(frozen, "max")]
        for array in mine:
            array += comm.rank  # raises if it is read-only
        comm.barrier()
        return all(np.array_equal(array, x + comm.rank) for array in mine)

    assert cluster(2).run(program, np.arange(float(length))).results == [True, True]


VALUES = [
    None,
    True,
    7,
    -1.5,
    2**70,
    1 + 2j,
    "text with ü",
    b"bytes",
    np.float32(1.5),
    np.arange(6).reshape(2, 3),
    np.arange(6.0).reshape(2, 3).T,  # not in C order
    np.arange(20)[::3],  # not contiguous
    np.zeros((0, 4), np.float16),
    np.array(3.0),
    np.array([True, False]),
    np.array(["a", "bc"]),
    np.array([None, [1]], object),
    np.array([(1, 2.5)], [("i", "i4"), ("x", "f8")]),
    (),
    [],
    {},
    [1, (2.0, None), {"a": [np.ones(2), "b"]}],
    {3: np.zeros(3)},
    Sparse(np.array([1, 4]), np.array([0.5, 2.0])),
    {1, 2},
    torch.arange(6.0).reshape(2, 3),
    torch.tensor(2),
    torch.ones(3, dtype=torch.bfloat16),
    torch.zeros(0, 2),
    (torch.ones(2), [torch.arange(3)]),
]


def test_values_of_all_kinds_arrive_as_they_were_sent(cluster):
    def program(comm, values):
        for value in values:
            comm.send(value, (comm.rank + 1) % comm.size)
        received = [comm.recv().value for _ in values]
        gathered = comm.all_gather(values)[0]
        return received, gathered, comm.broadcast(values, root=1)

    for received, *others in cluster(2).run(program, VALUES).results:
        for values in (received, *others):
            assert len(values) == len(VALUES)
            for value, expected in zip(values, VALUES, strict=True):
                assert_alike(value, expected)


def assert_alike(value, expected):
    assert type(value) is type(expected)
    if isinstance(expected, torch.Tensor):
        assert (value.dtype, value.shape) == (expected.dtype, expected.shape)
        assert torch.equal(value, expected)
    elif isinstance(expected, np.ndarray):
        np.testing.assert_array_equal(value, expected, strict=True)
    elif isinstance(expected, tuple | list):
        for v, e in zip(value, expected, strict=True):
            assert_alike(v, e)
    elif isinstance(expected, dict):
        assert list(value) == list(expected)
        for key in expected:
            assert_alike(value[key], expected[key])
    else:
        assert value == expected


def test_a_tensor_arrives_without_its_gradient(cluster):
    def program(comm):
        w = torch.ones(2, requires_grad=True)
        comm.send(w * 2, 0)
        comm.send([w * 2], 0)
        return [comm.recv().value.requires_grad, comm.recv().value[0].requires_grad]

    assert cluster(1).run(program).results == [[False, False]]


def test_classes_that_only_a_cell_knows_can_be_sent(cluster):
    class Point:
        def __init__(self, x):
            self.x = x

        def doubled(self):
            return Point(2 * self.x)

    Pair = collections.namedtuple("Pair", "a b")

    def program(comm):
        comm.send(Point(np.arange(3)), 0)
        comm.send(Pair(1, np.ones(2)), 0)
        if comm.rank == 0:
            points = [comm.recv(1).value, comm.recv(1).value]
            return points[0].doubled().x, points[1].b, isinstance(points[0], Point)
        return None

    x, b, same_class = cluster(2).run(program).results[0]
    np.testing.assert_array_equal(x, [0, 2, 4])
    np.testing.assert_array_equal(b, [1, 1])
    assert same_class


def test_what_holds_itself_and_what_is_no_data_can_be_sent(cluster):
    class Node:
        pass

    def program(comm):
        ring, a, b = [1.0], Node(), Node()
        ring.append(ring)
        a.other, b.other = b, a
        for value in (ring, a, Node, [len], {len}):
            comm.send(value, comm.rank)
        ring, a, kind, (function,), _ = (comm.recv().value for _ in range(5))
        assert a.other.other is a
        return ring[1] is ring, isinstance(a, kind), function is len

    run = cluster(1).run(program)
    assert run.results == [(True, True, True)]
    assert run.trace.of(1)["bytes"].tolist()[:4] == [8, 0, 0, 0]


def test_what_cannot_be_sent_is_named(cluster):
    def program(comm):
        comm.send((i for i in range(3)), 0)

    with pytest.raises(RankFailed, match="a generator can't be sent"):
        cluster(1).run(program)


def test_recv_gives_up_after_the_timeout(cluster):
    def program(comm):
        if comm.rank:
            comm.recv(0, tag=5)
            comm.send("late", 0, tag=3)
            return None
        with pytest.raises(Timeout) as caught:
            comm.recv(1, tag=3, timeout=0.01)
        comm.send(None, 1, tag=5)
        return str(caught.value), comm.recv(1, tag=3, timeout=60).value

    sentence, value = cluster(2).run(program).results[0]
    assert sentence == "rank 0 waited 0.01 s for a message from rank 1, tag 3"
    assert value == "late"


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda comm: comm.send(1, 2), "dest must be a rank from 0 to 1, got 2"),
        (lambda comm: comm.send(1, 0, tag=-1), "a tag must be 0 or more, got -1"),
        (lambda comm: comm.recv(5), "source must be ANY or a rank, 0 to 1, got 5"),
        (lambda comm: comm.recv(0, -3), "a tag must be ANY, or 0 or more, got -3"),
        (lambda comm: comm.recv(timeout=-1), "timeout must be 0 or more seconds, or None, got -1"),
        (lambda comm: comm.all_reduce(1, "product"), "op must be one of sum, mean"),
        (lambda comm: comm.all_reduce("x"), "all_reduce needs numbers, got str"),
        (lambda comm: comm.broadcast(1, 7), "root must be a rank from 0 to 1, got 7"),
        (lambda comm: comm.group([0, 0, 1]), "a group needs distinct ranks from 0 to 1"),
        (lambda comm: comm.work(float("nan")), "work needs finite seconds >= 0, got nan"),
        (lambda comm: comm.work(float("inf")), "work needs finite seconds >= 0, got inf"),
        (lambda comm: comm.work("1"), "TypeError: work needs finite seconds >= 0, got '1'"),
        (lambda comm: comm.work(1, until=-1), "until must be a tag, 0 or more, got -1"),
        (lambda comm: comm.work(1, until=0.5), "TypeError: until must be a tag, got 0.5"),
        (lambda comm: comm.recv(timeout=float("inf")), "0 or more seconds, or None, got inf"),
        (lambda comm: comm.recv(timeout="1"), "0 or more seconds, or None, got '1'"),
        (lambda comm: comm.send(1, 1.0), "TypeError: dest must be a rank, got 1.0"),
        (lambda comm: comm.send(1, 0, 0.5), "TypeError: a tag must be whole, got 0.5"),
        (lambda comm: comm.send(1, 0, 2**63), f"a tag must be below 2**63, got {2**63}"),
        (lambda comm: comm.recv(0, 2**70), f"a tag must be ANY, or below 2**63, got {2**70}"),
        (lambda comm: comm.recv("a"), "TypeError: source must be ANY or a rank, got 'a'"),
        (lambda comm: comm.broadcast(1, 0.0), "TypeError: root must be a rank, got 0.0"),
        (lambda comm: comm.group(3), "TypeError: a group needs a sequence of ranks, got 3"),
        (lambda comm: comm.group([0, 0.5]), "TypeError: a group needs ranks, got 0.5"),
        (lambda comm: comm.all_reduce(True), "sum needs numbers, got bool; give astype(int)"),
        (lambda comm: comm.all_reduce([True], "mean"), "mean needs numbers, got bool"),
        (
            lambda comm: comm.all_reduce(np.ones(2), out=[0, 0]),
            "TypeError: out must be an array, got [0, 0]",
        ),
        (
            lambda comm: comm.all_reduce(np.ones(2), out=np.ones(3)),
            "out must be like the result, (2,) float64; got (3,) float64",
        ),
        (
            lambda comm: comm.all_reduce(np.ones(2), out=np.broadcast_to(1.0, 2)),
            "out must be writable, got a read-only array",
        ),
        (lambda comm: comm.shared(np.array(["x"])), "shared memory holds numbers, got dtype <U1"),
        (lambda comm: comm.shared([None]), "shared memory holds numbers, got dtype object"),
        (lambda comm: comm.stream(3), "TypeError: a stream's name must be text, got 3"),
        (lambda comm: comm.record(loss="a"), "TypeError: record needs numbers; loss, got 'a'"),
        (lambda comm: comm.record(rank=3.0), "rank and seconds already; name it otherwise, got r"),
        (lambda comm: comm.record(seconds=3), "already; name it otherwise, got seconds"),
        (lambda comm: comm.snapshot([1.0]), "TypeError: a snapshot is an array, got [1.0]"),
        (lambda comm: comm.snapshot(3.0), "TypeError: a snapshot is an array, got 3.0"),
    ],
)
def test_bad_calls_get_a_sentence(call, sentence):
    def program(comm, call):
        call(comm)

    with pytest.raises(RankFailed, match="rank 0 failed") as caught:
        Simulated(2).run(program, call)  # the sentence is Comm's, the same on all
    assert sentence in str(caught.value)


class Odd:
    """A slowdown that is not what it should be."""

    def __init__(self, value):
        self.value = value

    def factor(self, rank, seconds, rng):
        return self.value if rank else 1.0


@pytest.mark.parametrize("factor", [-1, float("nan"), float("inf")])
def test_a_slowdown_that_cannot_be_is_an_error(cluster, factor):
    def program(comm):
        comm.work(1e-6)

    sentence = f"ValueError: a slowdown factor must be 0 or more, got {factor}.* for rank 1"
    with pytest.raises(RankFailed, match=sentence):
        cluster(2, slowdowns=[Odd(factor)]).run(program)


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda cluster: cluster.run(3), "a program is a function of a Comm, got 3"),
        (lambda cluster: cluster.run(), "missing 1 required positional argument: 'program'"),
        (
            lambda cluster: cluster.run(lambda comm, x: x),
            r"<lambda>\(comm, x\) can't be called so: missing a required argument: 'x'",
        ),
        (
            lambda cluster: cluster.start(endless, 1, lr=2),
            r"endless\(comm\) can't be called so: too many positional arguments",
        ),
    ],
)
def test_what_is_no_program_is_refused(cluster, call, sentence):
    with pytest.raises(TypeError, match=sentence):
        call(cluster(2))


# ------------------------------------------------------------------------------- groups


def test_a_group_counts_its_ranks_in_the_order_given(cluster):
    def program(comm):
        if comm.rank == 1:
            return None
        group = comm.group([3, 0, 2])
        group.send(comm.rank, (group.rank + 1) % 3)
        message = group.recv()
        return group.rank, group.size, message.value, message.source, group.all_gather(comm.rank)

    results = cluster(4).run(program).results
    assert results[3] == (0, 3, 2, 2, [3, 0, 2])
    assert results[0] == (1, 3, 3, 0, [3, 0, 2])
    assert results[2] == (2, 3, 0, 1, [3, 0, 2])


def test_messages_of_two_communicators_do_not_cross(cluster):
    def program(comm):
        groups = [comm.group([0, 1]), comm.group([0, 1]), comm.group([1, 0]), comm]
        dest = 1 - comm.rank
        for i, group in enumerate(groups):
            group.send(i, dest if i != 2 else group.size - 1 - group.rank)
        values = [group.recv().value for group in reversed(groups)]
        sums = [group.all_reduce(i) for i, group in enumerate(groups)]
        return values, sums

    for values, sums in cluster(2).run(program).results:
        assert values == [3, 2, 1, 0]
        assert sums == [0, 2, 4, 6]


def test_a_reversed_group_folds_in_its_own_order(cluster):
    def program(comm):
        x = np.array([1e16, 1.0, -1e16])[[comm.rank]]
        return comm.all_reduce(x)[0], comm.group([2, 1, 0]).all_reduce(x)[0]

    numbers = [1e16, 1.0, -1e16]
    forward = (numbers[0] + numbers[1]) + numbers[2]
    backward = (numbers[2] + numbers[1]) + numbers[0]
    assert cluster(3).run(program).results == [(forward, backward)] * 3


def test_communicators_are_told_apart_by_more_than_32_bits():
    def program(comm):
        return [comm.group([0])._context for _ in range(50)]

    contexts = Simulated(1).run(program).results[0]
    assert len(set(contexts)) == 50
    assert 1 << 50 < max(contexts) < 1 << 57
    assert min(contexts) > 0


def test_groups_of_groups(cluster):
    def program(comm):
        half = comm.group([r for r in range(4) if r % 2 == comm.rank % 2])
        alone = half.group([half.rank])
        return half.all_gather(comm.rank), alone.all_gather(comm.rank), alone.rank

    results = cluster(4).run(program).results
    assert results == [([r % 2, r % 2 + 2], [r], 0) for r in range(4)]


# ------------------------------------------------------------------------------ strands


def test_a_second_strand_works_beside_the_first(cluster):
    def program(comm):
        def echo(count):
            for _ in range(count):
                comm.send(comm.recv(tag=1).value + 1, 1 - comm.rank, tag=2)
            return f"echoed {count}"

        echoing = comm.start(echo, 3)
        values = []
        for i in range(3):
            comm.send(10 * i, 1 - comm.rank, tag=1)
            values.append(comm.recv(tag=2).value)
        return values, echoing.wait(), echoing.wait()

    run = cluster(2).run(program)
    assert run.results == [([1, 11, 21], "echoed 3", "echoed 3")] * 2
    assert set(run.trace["strand"].tolist()) == {0, 1}


def test_wait_raises_what_the_strand_raised(cluster):
    def program(comm):
        def fails():
            raise KeyError("gone")

        with pytest.raises(KeyError, match="gone"):
            comm.start(fails).wait()
        return comm.all_gather(comm.rank)

    assert cluster(2).run(program).results == [[0, 1]] * 2


def test_an_error_in_a_strand_is_not_lost(cluster):
    def program(comm):
        def fails():
            raise KeyError("gone")

        strand = comm.start(fails)
        comm.start(lambda: comm.send(1, comm.rank)).wait()
        comm.recv()
        comm.work(0.01)
        return strand is None

    with pytest.raises(RankFailed, match=r"rank 0 failed at .* s: KeyError: 'gone'"):
        cluster(1).run(program)


# ------------------------------------------------------------------- shared memory, locks


def test_shared_memory_has_the_first_ranks_values_and_all_write_it(sharing_cluster):
    def program(comm):
        w = comm.shared(np.full(4, comm.rank + 5.0))
        start = w.copy()
        comm.barrier()
        w[comm.rank] = comm.rank
        comm.barrier()
        return start, w.copy()

    for start, end in sharing_cluster(3).run(program).results:
        np.testing.assert_array_equal(start, np.full(4, 5.0), strict=True)
        np.testing.assert_array_equal(end, [0.0, 1.0, 2.0, 5.0])


def test_shared_memory_of_a_group_and_of_another_dtype(sharing_cluster):
    def program(comm):
        pair = comm.group([comm.rank // 2 * 2, comm.rank // 2 * 2 + 1])
        counts = pair.shared(np.zeros((2, 2), np.int64) + comm.rank)
        pair.barrier()
        counts[pair.rank] += 1
        comm.barrier()
        return counts.copy()

    results = sharing_cluster(4).run(program).results
    for rank, counts in enumerate(results):
        expected = np.full((2, 2), rank // 2 * 2 + 1)
        np.testing.assert_array_equal(counts, expected, strict=True)


def test_where_ranks_share_no_memory_a_sentence_says_so():
    def program(comm):
        comm.shared(np.zeros(3))

    sentence = "NotImplementedError: Torchrun's ranks share no memory, .* runs on Processes or Sim"
    with pytest.raises(RankFailed, match=sentence):
        Torchrun(2).run(program)


def test_a_lock_excludes(cluster, file):
    def program(comm, file):
        counter = board(comm, np.zeros(1, np.int64), file)
        lock, other = comm.lock(), comm.lock()
        comm.barrier()
        for _ in range(25):
            with lock:
                value = counter[0]
                comm.work(1e-6)  # others run here, if they can
                counter[0] = value + 1
        with other:  # another lock is free, whoever holds the first
            pass
        comm.barrier()
        return int(counter[0])

    run = cluster(3).run(program, file)
    assert run.results == [75] * 3
    assert len(run.trace.of(7)) == 3 * 26


def test_a_lock_is_released_by_an_error_inside(cluster):
    def program(comm):
        lock = comm.lock()
        with pytest.raises(ZeroDivisionError), lock:
            comm.work(1 / (comm.rank - comm.rank))
        with lock:
            return "held again"

    assert cluster(2).run(program).results == ["held again"] * 2


# ----------------------------------------------------------------------------- work, time


def test_work_ends_or_is_interrupted(cluster):
    def program(comm):
        if comm.rank == 1:
            comm.recv(0, tag=1)
            comm.send("stop that", 0, tag=7)
            return None
        before = comm.now()
        ended = comm.work(1e-3, until=7)
        comm.send(None, 1, tag=1)
        interrupted = not comm.work(3600, until=7)
        again = not comm.work(3600, until=7)  # the message is still there
        return ended, interrupted, again, comm.recv(tag=7).value, comm.now() - before < 3600

    # On real processes only injected slowness lasts: here it is all of the time.
    run = cluster(2, slowdowns=[Constant({0: 2.0})]).run(program)
    assert run.results[0] == (True, True, True, "stop that", True)
    kinds = run.trace.of(0, rank=0)
    assert len(kinds) == 3


def test_streams_are_the_same_on_every_cluster_and_differ_by_rank_name_and_seed():
    def program(comm):
        first = comm.stream("batches").random(3)
        other = comm.stream("codec").random(3)
        return np.concatenate([first, other, comm.stream("batches").random(3)])

    runs = on_all(2, program, seed=4)
    assert_same_bits([np.array(run.results) for run in runs])
    draws = np.concatenate([*runs[0].results, Simulated(1, seed=5).run(program).results[0]])
    assert len(np.unique(draws)) == len(draws)


# --------------------------------------------------------------------------- collectives

DTYPES = ["?", "i1", "u2", "i4", "i8", "f2", "f4", "f8", "c16"]
OPS = {"sum": np.add, "prod": np.multiply, "max": np.maximum, "min": np.minimum}


@st.composite
def reductions(draw):
    """(op, one array a rank): any dtype and shape, empty ones too."""
    dtype = draw(st.sampled_from(DTYPES))
    ops = {"c16": ["sum", "prod"], "?": ["max", "min"]}.get(dtype, list(OPS))
    shape = draw(hnp.array_shapes(min_dims=1, max_dims=3, min_side=0, max_side=5))
    arrays = hnp.arrays(dtype, shape, elements={"allow_nan": False} if dtype[0] in "fc" else None)
    return draw(st.sampled_from(ops)), draw(st.lists(arrays, min_size=3, max_size=3))


@given(cases=st.lists(reductions(), min_size=1, max_size=6))
@settings(max_examples=8)
@pytest.mark.parametrize("cluster", CLUSTERS)
def test_all_reduce_is_the_left_fold(cluster, cases):
    def program(comm, cases):
        with np.errstate(all="ignore"):
            return [comm.all_reduce(arrays[comm.rank], op) for op, arrays in cases]

    results = cluster(3).run(program, cases).results
    for i, (op, arrays) in enumerate(cases):
        with np.errstate(all="ignore"):
            expected = fold(arrays, OPS[op])
        for result in results:
            np.testing.assert_array_equal(result[i], expected, strict=True)


@given(
    values=st.lists(
        st.recursive(
            st.none() | st.integers() | st.floats(allow_nan=False) | st.text(),
            lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
            max_leaves=5,
        ),
        min_size=3,
        max_size=3,
    ),
    root=st.integers(0, 2),
)
@settings(max_examples=8)
@pytest.mark.parametrize("cluster", CLUSTERS)
def test_all_gather_and_broadcast_give_any_value_to_all(cluster, values, root):
    def program(comm, values, root):
        mine = values[comm.rank]
        return comm.all_gather(mine), comm.broadcast(mine, root)

    for gathered, broadcast in cluster(3).run(program, values, root).results:
        assert gathered == values
        assert broadcast == values[root]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("length", [0, 1, 4, 1_000, LONG])
def test_a_sum_has_the_bits_of_the_left_fold(cluster, size, length):
    rng = np.random.default_rng(size)
    vectors = [(rng.standard_normal(length) * 10.0 ** rng.integers(-8, 8)) for _ in range(size)]

    def program(comm, vectors):
        x = vectors[comm.rank]
        out = np.empty_like(x)
        summed = comm.all_reduce(x)
        same = comm.all_reduce(x, out=out)
        assert same is out
        np.testing.assert_array_equal(out, summed)
        return summed, comm.all_reduce(x, "mean"), comm.all_reduce(x, order="any")

    for summed, mean, _ in cluster(size).run(program, vectors).results:
        np.testing.assert_array_equal(summed, fold(vectors, np.add), strict=True)
        np.testing.assert_array_equal(mean, fold(vectors, np.add) / size, strict=True)


@pytest.mark.parametrize("size", [2, 3])
@pytest.mark.parametrize("length", [4, LONG])
def test_a_fold_begins_with_the_first_rank(cluster, size, length):
    """Of 0 and -0, which are equal, the maximum is one or the other, by the order."""

    def program(comm):
        return comm.all_reduce(np.full(length, -0.0 if comm.rank % 2 else 0.0), "max")

    wanted = fold([np.full(length, -0.0 if rank % 2 else 0.0) for rank in range(size)], np.maximum)
    for result in cluster(size).run(program).results:
        assert result.tobytes() == wanted.tobytes()


def test_numbers_are_reduced_to_numbers(cluster):
    def program(comm):
        return (
            comm.all_reduce(comm.rank + 1),
            comm.all_reduce(0.5, "mean"),
            comm.all_reduce(comm.rank == 1, "max"),
            comm.all_reduce(comm.rank, "mean"),
        )

    results = cluster(3).run(program).results
    assert results == [(6, 0.5, True, 1.0)] * 3
    assert [type(x) for x in results[0]] == [int, float, bool, float]


def test_a_mean_of_small_whole_numbers_does_not_overflow(cluster):
    def program(comm):
        x = np.array([100, -100], np.int8)
        out = np.empty(2)
        assert comm.all_reduce(x, "mean", out=out) is out
        return comm.all_reduce(x, "mean"), out

    for means in cluster(3).run(program).results:
        for mean in means:
            np.testing.assert_array_equal(mean, [100.0, -100.0], strict=True)


def test_a_tensor_is_reduced_to_an_array(cluster):
    def program(comm):
        return comm.all_reduce(torch.full((2,), comm.rank + 0.5))

    for total in cluster(2).run(program).results:
        np.testing.assert_array_equal(total, np.full(2, 2.0, np.float32), strict=True)


def test_nobody_leaves_a_collective_before_all_have_come(cluster, file):
    def program(comm, file):
        w = board(comm, np.zeros(comm.size), file)
        seen = []
        for i, wait in enumerate([comm.barrier, lambda: comm.all_reduce(w), lambda: None]):
            w[comm.rank] = i + 1
            comm.barrier() if i else wait()
            seen.append(bool((w >= i + 1).all()))
            wait()
        return seen

    assert cluster(3).run(program, file).results == [[True] * 3] * 3


def test_collectives_that_do_not_fit_together_are_an_error(cluster):
    def program(comm):
        return comm.all_reduce(np.ones(2 + comm.rank)) if comm.rank else comm.barrier()

    with pytest.raises(RankFailed, match="a collective needs the same call on every rank"):
        cluster(2).run(program)

    def lengths(comm):
        return comm.all_reduce(np.ones(2 + comm.rank))

    with pytest.raises(RankFailed, match="a collective needs the same call on every rank"):
        cluster(2).run(lengths)


CALLS = {
    "barrier": lambda comm: comm.barrier(),
    "all_reduce(add) of float64 (2,)": lambda comm: comm.all_reduce(np.ones(2)),
    "all_gather": lambda comm: comm.all_gather(comm.rank),
    "broadcast from rank 0": lambda comm: comm.broadcast(comm.rank),
    "broadcast from rank 1": lambda comm: comm.broadcast(comm.rank, root=1),
    "shared": lambda comm: comm.shared(np.ones(3)),
    "lock": lambda comm: comm.lock(),
}


@pytest.mark.parametrize("cluster", CLUSTERS)
def test_of_two_collectives_that_differ_all_ranks_are_told(cluster):
    """Every pair, in one run: each time both ranks catch it, and go on.

    A real rank that only gives waits for nobody, so it may be through before the other comes.
    """

    def program(comm, pairs, calls):
        said = []
        for pair in pairs:
            group = comm.group([0, 1])
            try:
                calls[pair[comm.rank]](group)
            except ValueError as error:
                said.append(str(error))
            else:
                said.append("")
            for mine in (0, 1):  # nothing is left of it
                comm.send(None, 1 - comm.rank, tag=7)
                comm.recv(tag=7)
                assert comm.all_gather((comm.rank, mine)) == [(0, mine), (1, mine)]
        return said

    pairs = list(itertools.permutations(CALLS, 2))
    if cluster not in SHARING:  # two roots hear of each other afterwards: see the next test
        pairs.remove(("broadcast from rank 0", "broadcast from rank 1"))
        pairs = [pair for pair in pairs if "shared" not in pair]
    gives = {(0, "broadcast from rank 0"), (1, "broadcast from rank 1"), (0, "shared")}
    said = cluster(2).run(program, pairs, CALLS).results
    for pair, *sentences in zip(pairs, *said, strict=True):
        for rank, sentence in enumerate(sentences):
            if not sentence:
                assert cluster is not Simulated, pair
                assert (rank, pair[rank]) in gives, pair
                assert sentences[1 - rank], pair
                continue
            assert sentence == (
                "a collective needs the same call on every rank: "
                f"rank {rank} called {pair[rank]}, rank {1 - rank} {pair[1 - rank]}"
            )


def test_two_roots_that_share_no_memory_are_told_at_once_or_afterwards():
    def program(comm):
        group = comm.group([0, 1])
        comm.barrier()
        try:
            group.broadcast("mine", root=comm.rank)
            said = ""
        except ValueError as error:  # the later one, if it is late enough
            said = str(error)
        if not any(comm.all_gather(said)):  # by now each has the other's
            with pytest.raises(ValueError, match="a collective needs the same call") as caught:
                group.barrier()
            said = str(caught.value)
        group.barrier()  # nothing is left of it
        return said

    calls = [f"broadcast from rank {rank}" for rank in (0, 1)]
    sentences = [
        "a collective needs the same call on every rank: "
        f"rank {rank} called {calls[rank]}, rank {1 - rank} {calls[1 - rank]}"
        for rank in (0, 1)
    ]
    said = Torchrun(2).run(program).results
    assert any(said)
    assert all(mine in ("", sentence) for mine, sentence in zip(said, sentences, strict=True))


@pytest.mark.parametrize("length", [1, LONG])
def test_a_collective_that_cannot_be_computed_fails_on_every_rank(cluster, length):
    def program(comm, x):
        with np.errstate(over="raise"):
            for _ in range(3):
                with pytest.raises(FloatingPointError):
                    comm.all_reduce(x)
        return comm.all_reduce(np.ones(len(x))).sum()

    x = np.zeros(length)
    x[-1] = 1e308  # in one rank's part
    run = cluster(3, on_failure="continue").run(program, x)
    assert run.results == [3 * length] * 3


def test_a_rank_that_comes_late_to_a_broken_collective_is_told(cluster):
    def program(comm):
        if comm.rank == 2:
            comm.work(0.05)
        with pytest.raises(ValueError, match="a collective needs the same call on every rank"):
            comm.barrier() if comm.rank else comm.all_reduce(1.0)
        return comm.rank

    run = cluster(3, on_failure="continue", slowdowns=[Constant({2: 2.0})]).run(program)
    assert run.results == [0, 1, 2]


def test_a_rank_that_goes_on_after_another_collective_is_found_out(cluster):
    def program(comm):
        if comm.rank == 0:
            for _ in range(3):
                comm.broadcast("no")
        else:
            comm.work(0.05)
            comm.barrier()

    with pytest.raises(RankFailed, match="a collective needs the same call on every rank"):
        cluster(2, slowdowns=[Constant({1: 2.0})]).run(program)


def test_a_lock_waits_for_all_ranks(cluster):
    def program(comm):
        if comm.rank == 0:
            comm.recv(1)
        lock = comm.lock()
        comm.send(None, 0)
        return lock is not None

    with pytest.raises(Deadlock, match="rank 1 waits for rank 0 to call lock"):
        cluster(2).run(program)


# --------------------------------------------------------------- what each rank has alone


def test_a_rank_that_waits_without_gradients_leaves_them_to_the_others(cluster):
    def program(comm):
        if comm.rank == 1:
            with torch.no_grad():
                comm.recv(0, tag=1)
                inside = torch.is_grad_enabled()
            with torch.inference_mode():
                comm.recv(0, tag=1)
                return inside, torch.is_inference_mode_enabled()
        comm.recv(2, tag=2)
        states = []
        for _ in range(2):
            comm.work(1e-3)  # by now the other waits
            states += [torch.is_grad_enabled(), torch.is_inference_mode_enabled()]
            (gradient,) = torch.autograd.grad((w := torch.ones(2, requires_grad=True)) @ w, w)
            states.append(gradient.tolist())
            comm.send(None, 1, tag=1)
        return states

    def with_a_third(comm):
        return comm.send(None, 0, tag=2) if comm.rank == 2 else program(comm)

    with torch.no_grad():  # the caller's mode is the caller's
        run = cluster(3).run(with_a_third)
        assert not torch.is_grad_enabled()
    assert run.results[0] == [True, False, [2.0, 2.0]] * 2
    assert run.results[1] == (False, True)


def test_global_generators_are_each_ranks_own_and_the_same_everywhere():
    def program(comm):
        drawn = []
        for i in range(3):
            comm.barrier()
            if (comm.rank + i) % 2:  # at other times than the others
                drawn += [random.random(), random.gauss(), np.random.rand(), np.random.randn()]
                drawn += torch.rand(2, dtype=torch.float64).tolist() + torch.randn(1).tolist()
        return drawn

    def alone(comm):
        return program(comm) if comm.rank == 1 else [comm.barrier() for _ in range(3)]

    runs = on_all(3, program, seed=1)
    for a, b in itertools.pairwise(runs):
        assert a.results == b.results
    draws = list(itertools.chain(*runs[0].results))
    assert len(set(draws)) == len(draws)
    for run in on_all(3, alone, seed=1):  # what the others draw makes no difference
        assert run.results[1] == runs[0].results[1]


def test_the_callers_generators_are_as_they_were(cluster):
    def program(comm):
        random.seed(3), np.random.seed(3), torch.manual_seed(3)
        return random.random() + np.random.rand() + torch.rand(1).item()

    random.seed(1), np.random.seed(1), torch.manual_seed(1)
    expected = [(random.gauss(), np.random.randn(), torch.randn(1).item()) for _ in range(4)]
    random.seed(1), np.random.seed(1), torch.manual_seed(1)
    drawn = [(random.gauss(), np.random.randn(), torch.randn(1).item())]
    cluster(2).run(program)
    drawn += [(random.gauss(), np.random.randn(), torch.randn(1).item()) for _ in range(3)]
    assert drawn == expected


def test_arguments_cannot_be_changed(cluster):
    def changes(comm, x):
        x += 1

    def replaces(comm, things, *, named):
        things.append(comm.rank)
        named["rank"] = comm.rank
        comm.barrier()
        return things, named

    x = np.zeros(3)
    with pytest.raises(RankFailed, match="read-only"):
        cluster(2).run(changes, x)
    np.testing.assert_array_equal(x, np.zeros(3))

    things, named = ["a"], {}
    run = cluster(2).run(replaces, things, named=named)
    assert run.results == [(["a", 0], {"rank": 0}), (["a", 1], {"rank": 1})]
    assert (things, named) == (["a"], {})


# ------------------------------------------------------------------------------ failures


def test_a_rank_that_raises_ends_the_run_with_its_error(cluster):
    def program(comm):
        comm.record(step=1)
        if comm.rank == 1:
            comm.work(0)
            raise ValueError("nonsense in, nonsense out")
        comm.recv(1)

    with pytest.raises(RankFailed) as caught:
        cluster(3).run(program)
    failure = caught.value
    assert (failure.rank, failure.reason) == (1, "ValueError: nonsense in, nonsense out")
    assert str(failure).startswith("rank 1 failed at ")
    assert failure.seconds >= 0
    assert isinstance(failure.__cause__, ValueError)
    assert 'raise ValueError("nonsense' in failure.worker_traceback
    assert "in program" in failure.worker_traceback
    run = failure.run
    assert run.results == [None] * 3
    assert run.failures == {1: failure}
    assert not run.stopped
    assert set(run.metrics["rank"].tolist()) >= {1}
    assert "rank 1 failed" in repr(run)


def test_an_exit_is_a_failure(cluster):
    def program(comm):
        raise SystemExit(3)

    with pytest.raises(RankFailed, match=r"rank 0 failed at .*: SystemExit: 3"):
        cluster(1).run(program)


def test_a_rank_that_crashes_is_dead_even_while_it_waits(cluster):
    def program(comm):
        comm.recv(1 - comm.rank)

    with pytest.raises(RankFailed, match=r"rank 1 failed at .* s: crashed, as crashes=") as caught:
        cluster(2, crashes={1: 0.05}).run(program)
    assert caught.value.rank == 1
    assert caught.value.run.results == [None, None]


def test_the_others_go_on_without_the_dead(cluster):
    def program(comm):
        if comm.rank == 1:
            comm.send("last words", 0)
            raise ValueError("no")
        if comm.rank == 3:
            comm.recv(0, tag=9)  # never comes: it crashes here
        words = comm.recv(1).value if comm.rank == 0 else None
        said = []
        for source in (1, 3):
            with pytest.raises(RankFailed) as caught:
                comm.recv(source)
            said.append((caught.value.rank, caught.value.reason))
        with pytest.raises(RankFailed) as caught:
            comm.barrier()
        assert caught.value.rank in (1, 3)
        survivors = comm.group([0, 2])
        return words, said, survivors.all_reduce(comm.rank + 1)

    run = cluster(4, crashes={3: 0.05}, on_failure="continue").run(program)
    crashed = "crashed, as crashes={3: 0.05} asked"
    said = [(1, "ValueError: no"), (3, crashed)]
    assert run.results == [("last words", said, 4), None, (None, said, 4), None]
    assert {rank: f.reason for rank, f in run.failures.items()} == dict(said)
    assert isinstance(run.failures[1].__cause__, ValueError)


def test_recv_from_any_fails_when_all_others_are_dead(cluster):
    def program(comm):
        if comm.rank:
            raise ValueError("no")
        with pytest.raises(RankFailed, match="ValueError: no"):
            comm.recv()
        return "alive"

    run = cluster(3, on_failure="continue").run(program)
    assert run.results == ["alive", None, None]
    assert sorted(run.failures) == [1, 2]


def test_recv_from_any_in_a_group_fails_when_all_its_others_are_dead(cluster):
    def program(comm, late):
        if comm.rank == 3:
            comm.recv(tag=9)
            return None
        pair = comm.group([0, 2]) if comm.rank != 1 else None
        if comm.rank == 2:
            comm.work(late)
            raise ValueError("no")
        if comm.rank == 1:
            return None
        with pytest.raises(RankFailed, match="rank 2 failed"):
            pair.recv()
        with pytest.raises(RankFailed, match="rank 2 failed"):
            pair.recv()
        comm.send(None, 3, tag=9)
        return "alive"

    run = cluster(4, on_failure="continue", slowdowns=[Constant({2: 2.0})]).run(program, 0.02)
    assert run.results == ["alive", None, None, None]


def test_a_deadlock_says_who_waits_for_whom(cluster):
    def program(comm):
        if comm.rank == 0:
            comm.recv(1, tag=3)
        elif comm.rank == 2:
            comm.recv()

    with pytest.raises(Deadlock) as caught:
        cluster(3).run(program)
    sentence = str(caught.value)
    assert "rank 0 waits for a message from rank 1, tag 3" in sentence
    assert "rank 1 has finished" in sentence
    assert "rank 2 waits for a message from any rank" in sentence
    assert caught.value.run.results[0] is None


def test_a_deadlock_in_a_collective_or_at_a_lock(cluster):
    def collective(comm):
        return comm.barrier() if comm.rank else None

    with pytest.raises(Deadlock, match="rank 1 waits for rank 0 to call barrier"):
        cluster(2).run(collective)

    def gather(comm):
        return comm.all_gather(1) if comm.rank else None

    with pytest.raises(Deadlock, match="rank 1 waits for rank 0 to call all_gather"):
        cluster(2).run(gather)

    def lock(comm):
        lock = comm.lock()
        if comm.rank == 0:
            with lock:
                comm.send(None, 1)
                comm.recv(1)
        else:
            comm.recv(0)
            with lock:
                comm.send(None, 0)

    with pytest.raises(Deadlock, match="rank 1 waits for a lock that rank 0 holds"):
        cluster(2).run(lock)


def test_a_deadlock_has_one_text_everywhere():
    def program(comm):
        lock = comm.lock()
        if comm.rank == 0:
            with lock:
                comm.send(None, 1)
                comm.start(comm.recv, 2, 5)
                comm.start(comm.recv, 3, 6).wait()
        elif comm.rank == 1:
            comm.recv(0)
            with lock:
                pass
        elif comm.rank == 2:
            comm.group([1, 2]).all_gather(1)

    texts = []
    for cluster in CLUSTERS:
        with pytest.raises(Deadlock, match=r"deadlock at \S+ s: rank 0 waits for") as caught:
            cluster(4).run(program)
        texts.append(str(caught.value).partition(": ")[2])
    assert texts == [
        "rank 0 waits for its strand 2"
        " and in strand 1 waits for a message from rank 2, tag 5"
        " and in strand 2 waits for a message from rank 3, tag 6"
        "; rank 1 waits for a lock that rank 0 holds"
        "; rank 2 waits for rank 1 to call all_gather"
        "; rank 3 has finished"
    ] * len(CLUSTERS)


# -------------------------------------------------------------------------- live, stop


def endless(comm):
    step = 0
    while True:
        comm.work(1e-3)
        comm.record(step=step, half=step / 2)
        comm.snapshot(np.full(2, step, float))
        comm.barrier()
        step += 1


def by_value(program):
    """The same function, not found by its name: so it travels as a notebook's would."""
    return lambda comm, *args: program(comm, *args)


def test_points_come_while_the_run_goes_on_and_stop_ends_it(cluster):
    running = cluster(2).start(by_value(endless))
    seen = {Metric: 0, Snapshot: 0}
    for point in running:
        seen[type(point)] += 1
        assert point.rank in (0, 1)
        if min(seen.values()) >= 5:
            running.stop()
            running.stop()
    run = running.result()
    assert run.stopped
    assert run.results == [None, None]
    assert run.failures == {}
    assert len(run.points) >= seen[Metric] >= 5
    steps = run.metrics["step"][run.metrics["rank"] == 0]
    np.testing.assert_array_equal(steps, np.arange(len(steps)))
    for snapshot in run.snapshots:
        np.testing.assert_array_equal(snapshot.w, np.full(2, snapshot.step))
    assert running.result() is run
    assert list(running) == []


def test_stop_before_the_first_step(cluster):
    running = cluster(2).start(by_value(endless))
    running.stop()
    run = running.result()
    assert run.stopped
    assert run.results == [None, None]


def test_stop_after_the_end_changes_nothing(cluster):
    running = cluster(2).start(lambda comm: comm.rank)
    run = running.result()
    running.stop()
    assert running.result().results == run.results == [0, 1]
    assert not running.result().stopped


def test_stopped_is_raised_inside_the_program(cluster, tmp_path):
    def program(comm, path):
        try:
            comm.record(ready=1)
            while comm.rank == 0:
                comm.work(1e-3)  # so that the other's endless wait is no deadlock
            comm.recv(0)
        except Exception:
            raise AssertionError("Stopped is no Exception") from None
        finally:
            with open(f"{path}/{comm.rank}", "w") as file:
                file.write("tidied up")

    running = cluster(2).start(program, str(tmp_path))
    points = iter(running)
    next(points), next(points)
    running.stop()
    assert running.result().stopped
    assert sorted(os.listdir(tmp_path)) == ["0", "1"]


def test_an_interrupt_reaches_the_caller_and_ends_the_run(cluster):
    def program(comm):
        comm.record(ready=1)
        while True:
            comm.work(1e-3)
            comm.barrier()

    running = cluster(2).start(program)
    points = iter(running)
    next(points)
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        signal.signal(signal.SIGALRM, lambda *_: os.kill(os.getpid(), signal.SIGINT))
        with pytest.raises(KeyboardInterrupt):
            running.result()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.signal(signal.SIGINT, handler)
    assert running.result().stopped


# ------------------------------------------------------------------- the same everywhere


def test_books_are_the_same_everywhere():
    def program(comm, shares):
        x = np.full(100 + comm.size, comm.rank, np.float32)
        for step in range(3):
            comm.work(1e-4)
            comm.send((step, x), (comm.rank + 1) % comm.size, tag=step)
            comm.recv(tag=step)
            comm.all_reduce(x)
            comm.all_gather({"rank": comm.rank, "x": x[: comm.rank]})
            comm.broadcast(x, root=step % comm.size)
            comm.barrier()
            comm.group([0, comm.size - 1]).all_reduce(x[:5]) if comm.rank in (
                0,
                comm.size - 1,
            ) else None
        with comm.lock():
            pass
        if shares:
            comm.shared(x)
        comm.snapshot(x)
        comm.record(done=1)
        return comm.all_reduce(1)

    for size in (2, 3, 5):
        runs = [cluster(size).run(program, cluster in SHARING) for cluster in CLUSTERS]
        books = [
            collections.Counter(
                zip(
                    *(run.trace[column].tolist() for column in ("rank", "kind", "bytes", "tag")),
                    strict=True,
                )
            )
            for run in runs
        ]
        for a, b in itertools.pairwise(books):
            assert a == b
        assert len({run.bytes for run in runs}) == 1
        assert len({run.messages for run in runs}) == 1
        assert runs[0].messages == 3 * size


def test_error_feedback_has_the_same_bits_everywhere():
    def top_k_with_memory(comm, k):
        """A stateful reducer: what is not sent now is added the next time."""
        memory = None

        def reduce(x):
            nonlocal memory
            x = x if memory is None else x + memory
            kept = np.sort(np.argpartition(np.abs(x), -k)[-k:])
            memory = x.copy()
            memory[kept] = 0
            total = np.zeros_like(x)
            for part in comm.all_gather(Sparse(kept, x[kept])):
                part.add_to(total)
            return total / comm.size

        return reduce

    def program(comm, dim, steps):
        reduce, w = top_k_with_memory(comm, 3), np.zeros(dim)
        rng = comm.stream("noise")
        for _ in range(steps):
            w -= 0.1 * reduce(w - comm.rank + rng.standard_normal(dim))
        return w

    for size in SIZES:
        runs = on_all(size, program, 20, 6)
        assert_same_bits([np.array(run.results) for run in runs])
        assert_same_bits(runs[0].results)


def test_data_parallel_training_with_torch_has_the_same_bits_everywhere():
    def data_parallel(comm, x, y, *, steps, batch_size, lr):
        torch.manual_seed(0)
        model = torch.nn.Sequential(
            torch.nn.Linear(64, 48), torch.nn.ReLU(), torch.nn.Dropout(0.2), torch.nn.Linear(48, 10)
        )
        parameters = list(model.parameters())
        torch.manual_seed(comm.rank)
        rng = comm.stream("batches")
        shard = np.arange(comm.rank, len(x), comm.size)
        for _ in range(steps):
            batch = rng.choice(shard, batch_size)
            loss = torch.nn.functional.cross_entropy(
                model(torch.from_numpy(x[batch])), torch.from_numpy(y[batch])
            )
            gradients = torch.autograd.grad(loss, parameters)
            comm.work(1e-3)
            flat = torch.cat([gradient.reshape(-1) for gradient in gradients]).numpy()
            with torch.no_grad():
                mean = torch.from_numpy(comm.all_reduce(flat, "mean"))
                sizes = [p.numel() for p in parameters]
                for p, g in zip(parameters, mean.split(sizes), strict=True):
                    p -= lr * g.view_as(p)
            comm.record(loss=loss.item())
        return torch.cat([p.detach().reshape(-1) for p in parameters]).numpy()

    def program(comm, x, y):
        return data_parallel(comm, x, y, steps=4, batch_size=96, lr=0.1)

    rng = np.random.default_rng(0)
    x = rng.standard_normal((400, 64)).astype(np.float32)
    y = rng.integers(0, 10, 400)
    for size in SIZES:
        runs = on_all(size, program, x, y)
        assert_same_bits([np.array(run.results) for run in runs])
        assert_same_bits(runs[0].results)
        losses = [np.sort(run.metrics["loss"]) for run in runs]
        assert_same_bits(losses)


def test_matrix_products_have_the_bits_of_one_thread_everywhere():
    def program(comm, a, b):
        return a @ b, (torch.tensor(a) @ torch.tensor(b)).numpy()

    rng = np.random.default_rng(0)
    a = rng.standard_normal((256, 784)).astype(np.float32)
    b = rng.standard_normal((784, 128)).astype(np.float32)
    before = torch.get_num_threads()
    runs = on_all(2, program, a, b)
    assert torch.get_num_threads() == before
    for i in range(2):
        assert_same_bits([run.results[0][i] for run in runs])
