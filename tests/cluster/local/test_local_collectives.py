"""Collectives among real processes: the bits of a fold in rank order, whatever the length."""

import numpy as np
import pytest
from local_ranks import Ranks, run

from ddml_kit.cluster import RankFailed
from ddml_kit.cluster.comm import OPERATIONS
from ddml_kit.cluster.local.collectives import BLOCK, PAIR, SLOT
from ddml_kit.cluster.local.meeting import ARRIVED, STEPS
from ddml_kit.cluster.payload import all_gather_bytes, all_reduce_bytes, broadcast_bytes, fold
from ddml_kit.cluster.trace import ALL_GATHER, ALL_REDUCE, BROADCAST

# in a slot, in one block, in several; even and ragged
LENGTHS = [0, 1, 7, SLOT // 8, SLOT // 8 + 1, 20_001, PAIR // 4 + 1, 3 * BLOCK // 8 + 5]


def vector(rank, length, dtype):
    """Numbers whose sum depends on the order."""
    rng = np.random.default_rng((rank, length))
    return (rng.random(length) * 10.0 ** rng.integers(-3, 4, length)).astype(dtype)


@pytest.mark.parametrize("n", [1, 2, 3, 5])
def test_all_reduce_is_a_fold_in_rank_order(n):
    def program(comm, vectors):
        for (length, dtype), parts in vectors.items():
            for op in OPERATIONS if length < 1000 else ("sum",):
                wanted = fold(parts, OPERATIONS[op])
                x = parts[comm.rank].copy()
                y = comm.all_reduce(x, op)
                if op == "mean":
                    wanted = wanted / n
                assert (y.shape, y.dtype) == (wanted.shape, wanted.dtype)
                assert y.tobytes() == wanted.tobytes(), f"{op} of {length} {dtype}"
                assert x.tobytes() == parts[comm.rank].tobytes()
                y[:] = 0  # it is this rank's own
        return "done"

    vectors = {
        (length, dtype): [vector(rank, length, dtype) for rank in range(n)]
        for length in LENGTHS
        for dtype in ("f8", "f4", "i2")
    }
    assert run(n, program, vectors) == ["done"] * n


def test_all_reduce_of_numbers_matrices_and_into_an_array():
    def program(comm):
        assert comm.all_reduce(comm.rank) == 3
        assert comm.all_reduce(0.5, "mean") == 0.5
        for length in (6, SLOT):
            x = np.full((2, length), comm.rank, np.float32)
            out = np.empty_like(x)
            assert comm.all_reduce(x, out=out) is out
            assert (out == 3).all()
            assert comm.all_reduce(x, out=x) is x, "in place"
            assert (x == 3).all()
            columns = np.empty((length, 2), np.float32).T
            assert comm.all_reduce(x, "max", out=columns) is columns
            assert (columns == 3).all()
            assert comm.all_reduce(x).shape == (2, length)
        return True

    assert run(3, program) == [True] * 3


def test_a_mean_of_whole_numbers_does_not_fit_into_whole_numbers():
    def program(comm):
        x = np.arange(3)
        assert comm.all_reduce(x, "mean").tolist() == [0.0, 1.0, 2.0]
        with pytest.raises(ValueError, match=r"out must be like the result, .* float64; got"):
            comm.all_reduce(x, "mean", out=x)
        y = np.arange(3.0)
        assert comm.all_reduce(y, "mean", out=y) is y
        return y.tolist()

    assert run(2, program) == [[0.0, 1.0, 2.0]] * 2


@pytest.mark.parametrize("n", [2, 3])
def test_many_in_a_row_do_not_disturb_each_other(n):
    def program(comm):
        rng = np.random.default_rng(5)  # the same lengths on all ranks
        for step in range(400):
            length = int(rng.choice([1, 100, SLOT // 8, SLOT // 4 + 1, 50_000, 200_000]))
            y = comm.all_reduce(np.full(length, step + comm.rank, np.int64))
            assert (y == n * step + n * (n - 1) // 2).all()
            if step % 50 == 0:
                comm.barrier()
        return True

    assert run(n, program) == [True] * n


@pytest.mark.parametrize("n", [2, 3])
@pytest.mark.parametrize("length", [5, SLOT])
def test_nobody_overwrites_what_a_slow_rank_still_reads(n, length):
    """The last rank reads what others have written only when they are in the next all-reduce."""

    def program(comm):
        def waits(*_):
            meeting = comm._endpoint._meetings[0]
            there = (meeting.number + 1) << STEPS
            while any(meeting.words[line + ARRIVED] < there for line in meeting.lines[:-1]):
                pass  # they have written by then

        def slowly(*operands):
            waits()
            return np.add(*operands)

        class Slow(np.ndarray):  # where the chunks of more than two ranks go
            def __setitem__(self, *item):
                waits()
                super().__setitem__(*item)

        comm.all_reduce(np.zeros(length))  # so that its plan is there
        reduce, last = comm._endpoint._all_reduces[0].reduce, comm.rank == n - 1
        out = np.empty(length).view(Slow) if last and n > 2 and length == SLOT else None
        op = slowly if last and out is None else np.add
        slowly.__name__ = "add"
        first, _ = reduce(np.full(length, 1.0), op, out)
        second = comm.all_reduce(np.full(length, 10.0))
        assert (first == n).all()
        assert (second == 10 * n).all()
        return True

    assert run(n, program) == [True] * n


@pytest.mark.parametrize("n", [2, 3])
def test_a_result_may_go_where_x_lies_or_near(n):
    def program(comm):
        for length in (6, SLOT // 8 + 1, 2 * BLOCK // 8 + 3):
            for first, second in ((0, 0), (0, 1), (1, 0)):
                memory = vector(comm.rank, length + 1, "f8")
                x, out = memory[first:][:length], memory[second:][:length]
                parts = [vector(rank, length + 1, "f8")[first:][:length] for rank in range(n)]
                assert comm.all_reduce(x, out=out) is out
                assert out.tobytes() == fold(parts, np.add).tobytes()
        return True

    assert run(n, program) == [True] * n


@pytest.mark.parametrize("n", [2, 3])
def test_an_overflow_in_one_block_is_raised_on_all_when_all_have_their_part(n):
    def program(comm):
        x = np.ones(3 * BLOCK // 8 + 1)
        x[5] = np.finfo(float).max
        with np.errstate(over="raise"), pytest.raises(FloatingPointError):
            comm.all_reduce(x)
        return comm.all_reduce(np.ones(len(x)))[-1]

    assert run(n, program) == [n] * n


def test_collectives_that_wait_and_that_do_not_can_be_mixed():
    def program(comm):
        rng = np.random.default_rng(6)  # the same calls on all ranks
        for step in range(600):
            root = int(rng.integers(3))
            match int(rng.integers(7)):
                case 0:
                    comm.barrier()
                case 1 | 2:
                    assert comm.broadcast((comm.rank, step), root) == (root, step)
                case 3:
                    assert comm.all_gather((comm.rank, step)) == [(r, step) for r in range(3)]
                case 4:
                    assert comm.shared(np.array([step + comm.rank])).tolist() == [step]
                case 5:
                    assert (comm.all_reduce(np.full(3, step + comm.rank)) == 3 * step + 3).all()
                case 6:
                    assert (comm.all_reduce(np.full(SLOT, step)) == 3 * step).all()
        return True

    assert run(3, program) == [True] * 3


def test_a_group_reduces_among_itself():
    def program(comm):
        if comm.rank == 1:
            return comm.recv(0).value
        group = comm.group([2, 0])
        small, long = vector(comm.rank, 9, "f8"), vector(comm.rank, 20_000, "f4")
        sums = group.all_reduce(small), group.all_reduce(long)
        group.barrier()
        if comm.rank == 0:
            comm.send("not a member", 1)
        return sums, group.all_gather(comm.rank), group.broadcast(comm.rank, root=1)

    first, outside, last = run(3, program)
    assert outside == "not a member"
    for sums, gathered, told in (first, last):
        assert gathered == [2, 0]
        assert told == 0
        for y, length, dtype in zip(sums, (9, 20_000), ("f8", "f4"), strict=True):
            order = [vector(2, length, dtype), vector(0, length, dtype)]
            assert y.tobytes() == fold(order, np.add).tobytes()


@pytest.mark.parametrize("length", [5, SLOT])
def test_ranks_that_differ_get_a_sentence(length):
    def program(comm):
        x = np.zeros(length + (comm.rank == 2), np.float32)
        with pytest.raises(ValueError, match="a collective needs the same call on every rank") as e:
            comm.all_reduce(x)
        return str(e.value)

    said = run(3, program)
    assert f"rank 0 called all_reduce(add) of float32 ({length},)" in said[0]
    assert f"rank 2 all_reduce(add) of float32 ({length + 1},)" in said[0]
    assert "rank 0 all_reduce" in said[2]


@pytest.mark.parametrize("n", [2, 3])
def test_ranks_that_differed_can_agree_again(n):
    def program(comm):
        for mine, theirs in ((5, SLOT), (SLOT, 5), (SLOT, 2 * SLOT), (5, 6)):
            with pytest.raises(ValueError, match="the same call on every rank"):
                comm.all_reduce(np.ones(theirs if comm.rank else mine))
            with pytest.raises(ValueError, match="the same call on every rank"):
                comm.all_reduce(np.ones(mine)) if comm.rank else comm.barrier()
            for length in (5, SLOT, 5, SLOT):
                assert (
                    comm.all_reduce(np.full(length, comm.rank + 1.0)) == sum(range(n + 1))
                ).all()
        return True

    assert run(n, program) == [True] * n


@pytest.mark.parametrize("n", [1, 2, 5])
def test_all_gather_and_broadcast(n):
    def program(comm):
        mine = {"rank": comm.rank, "x": np.full(comm.rank * 20_000, comm.rank)}
        gathered = comm.all_gather(mine)
        mine["x"][:] = -1
        assert [value["rank"] for value in gathered] == list(range(n))
        assert all((value["x"] == rank).all() for rank, value in enumerate(gathered))
        for root in range(n):
            told = comm.broadcast(np.full(3, comm.rank), root)
            assert told.tolist() == [root] * 3
            told[:] = -1
        return True

    with Ranks(n, program) as ranks:
        assert ranks.results() == [True] * n
        traces = [ranks.traces[rank] for rank in range(n)]
    for rank, trace in enumerate(traces):
        own = 8 + rank * 20_000 * 8
        assert trace.of(ALL_GATHER)["bytes"].tolist() == [all_gather_bytes(own, n)]
        expected = [broadcast_bytes(24, n, rank, root) for root in range(n)]
        assert trace.of(BROADCAST)["bytes"].tolist() == expected


def test_the_books_are_those_of_the_algorithm():
    def program(comm):
        comm.all_reduce(np.zeros(10, np.float32))

    with Ranks(3, program) as ranks:
        ranks.results()
        for rank, trace in ranks.traces.items():
            assert trace.of(ALL_REDUCE)["bytes"].tolist() == [all_reduce_bytes(10, 4, 3, rank)]


@pytest.mark.parametrize("length", [5, SLOT])
def test_an_all_reduce_of_two_of_which_one_is_dead_fails(length):
    def program(comm):
        comm.all_reduce(np.zeros(length))
        if comm.rank == 1:
            comm._endpoint._wiring.mark_dead(1, "it was told to", 2.5)
            return None
        with pytest.raises(RankFailed, match=r"rank 1 failed at 2.5 s: it was told to"):
            comm.all_reduce(np.zeros(length))
        return None

    assert run(2, program) == [None, None]


@pytest.mark.parametrize("length", [5, SLOT])
def test_a_collective_that_needs_the_dead_fails(length):
    def program(comm):
        if comm.rank == 1:
            comm._endpoint._wiring.mark_dead(1, "it was told to", 2.5)
            return None
        with pytest.raises(RankFailed, match=r"rank 1 failed at 2.5 s: it was told to"):
            comm.all_reduce(np.zeros(length))
        survivors = comm.group([0, 2])
        return survivors.all_reduce(comm.rank)

    assert run(3, program) == [2, None, 2]


def test_gather_and_broadcast_that_need_the_dead_fail():
    def program(comm):
        if comm.rank == 3:
            comm._endpoint._wiring.mark_dead(3)
            return None
        with pytest.raises(RankFailed, match="rank 3 failed: its process died"):
            comm.all_gather(1)
        if comm.rank == 0:
            return None
        with pytest.raises(RankFailed, match="rank 3 failed"):
            comm.group([1, 2, 3]).broadcast(1, root=2)
        return None

    run(4, program)


def test_shared_memory_is_one_memory():
    def program(comm):
        w = comm.shared(np.full((2, 3), comm.rank, np.float32))
        assert (w == 0).all(), "rank 0's values"
        comm.barrier()
        w[comm.rank] = comm.rank + 1
        comm.barrier()
        empty = comm.shared(np.zeros(0))
        return w.tolist(), empty.shape

    assert run(2, program) == [([[1] * 3, [2] * 3], (0,))] * 2


def test_shared_memory_holds_numbers_only():
    def program(comm):
        comm.shared(np.array(["text"]))

    with pytest.raises(TypeError, match="shared memory holds numbers, got dtype <U4"):
        run(1, program)


def test_a_lock_keeps_others_out():
    def program(comm):
        count = comm.shared(np.zeros(2, np.int64))
        lock, other = comm.lock(), comm.lock()

        def add(times):
            for _ in range(times):
                with lock:
                    seen = count[0]
                    with other:
                        count[1] += 1
                    count[0] = seen + 1

        strand = comm.start(add, 150)
        add(150)
        strand.wait()
        comm.barrier()
        return count.tolist()

    assert run(3, program) == [[900, 900]] * 3


def test_a_lock_whose_holder_dies_is_free():
    def program(comm):
        lock = comm.lock()
        if comm.rank == 0:
            with lock:
                comm.send("mine", 1)
                comm.recv(1)  # never comes
        comm.recv(0)
        comm._endpoint._emit("I ask for it")
        with lock:
            return "mine now"

    with Ranks(2, program) as ranks:
        assert ranks.said(1) == "I ask for it"
        ranks.processes[0].kill()
        assert ranks.results()[1] == "mine now"
