"""Sums of torch.distributed's own, and tensors on devices, with gloo in NCCL's place."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ddml_kit.cluster import ANY, Comm, RankFailed, Simulated, Torchrun
from ddml_kit.cluster.payload import fold

OPS = {"sum": np.add, "prod": np.multiply, "max": np.maximum, "min": np.minimum}


# ---------------------------------------------------------------------- order="any"


@pytest.mark.parametrize("size", [1, 3])
def test_any_order_is_the_same_sum_but_for_rounding(size):
    def program(comm, vectors, ops):
        x = vectors[comm.rank]
        out = np.empty_like(x)
        assert comm.all_reduce(x, order="any", out=out) is out
        results = {op: comm.all_reduce(x, op, order="any") for op in ops}
        own = x.copy()
        comm.all_reduce(own, order="any", out=own)
        return out, own, results, comm.all_reduce(x, "mean", order="any")

    rng = np.random.default_rng(0)
    vectors = [rng.standard_normal((7, 3)) for _ in range(size)]
    for out, own, results, mean in Torchrun(size).run(program, vectors, list(OPS)).results:
        for op, result in results.items():
            assert result.shape == (7, 3)
            np.testing.assert_allclose(result, fold(vectors, OPS[op]), rtol=1e-12)
        np.testing.assert_array_equal(out, results["sum"])
        np.testing.assert_array_equal(own, results["sum"])
        np.testing.assert_allclose(mean, fold(vectors, np.add) / size, rtol=1e-12)


def test_any_order_really_is_another_one():
    def program(comm, vectors):
        x = vectors[comm.rank]
        return comm.all_reduce(x, order="any"), comm.all_reduce(x)

    rng = np.random.default_rng(0)
    vectors = [rng.standard_normal(10_000).astype(np.float32) for _ in range(3)]
    (ours, folded), *others = Torchrun(3).run(program, vectors).results
    assert 100 < np.count_nonzero(ours != folded) < 9_900  # as gloo's ring differs from the fold
    for same, _ in others:
        np.testing.assert_array_equal(same, ours)


@pytest.mark.parametrize("x", [np.ones(3, complex), np.ones(0), np.ones(3, bool), np.uint16([3])])
def test_what_gloo_cannot_add_is_folded(x):
    def program(comm, x):
        return comm.all_reduce(x, "max" if x.dtype == bool else "sum", order="any")

    for result in Torchrun(2).run(program, x).results:
        assert result.dtype == x.dtype
        np.testing.assert_array_equal(result, x if x.dtype == bool else x + x)


def test_a_maximum_in_any_order_keeps_what_is_no_number():
    def program(comm, vectors):
        x = vectors[comm.rank]
        return [comm.all_reduce(x, op, order="any") for op in ("max", "min")]

    vectors = np.arange(21.0).reshape(3, 7)
    np.fill_diagonal(vectors, np.nan)
    for results in Torchrun(3).run(program, list(vectors)).results:
        for op, result in zip((np.maximum, np.minimum), results, strict=True):
            np.testing.assert_array_equal(result, fold(list(vectors), op))


def test_another_order_is_another_call():
    def program(comm):
        comm.all_reduce(1.0, order="any" if comm.rank else "rank")

    called = r"rank \d called all_reduce\(add.*\) of float64 \(1,\), rank \d all_reduce\(add"
    with pytest.raises(RankFailed, match=called):
        Torchrun(2).run(program)


def test_a_rank_that_dies_in_a_sum_of_gloos_is_named():
    def program(comm):
        group = comm.group([0, 1])
        group.all_reduce(np.ones(3), order="any")
        if comm.rank == 1:
            raise ValueError("no")
        with pytest.raises(RankFailed, match="rank 1 failed"):
            group.all_reduce(np.ones(3), order="any")
        return "alive"

    assert Torchrun(2, on_failure="continue").run(program).results == ["alive", None]


# ------------------------------------------------------------------------- devices


def with_devices(program):
    """The program, for which tensors of torch.float64 are on a device, and those are gloo's."""

    def wrapped(comm):
        from ddml_kit.cluster.distributed.device import Device

        endpoint = comm._endpoint
        groups = endpoint._groups

        def is_on(value):
            return isinstance(value, torch.Tensor) and value.dtype == torch.float64

        device = Device(groups, groups.gloo, is_on, "cpu")
        endpoint._device = endpoint._post._device = device
        comm.barrier()
        return program(comm)

    return wrapped


def test_tensors_on_devices_arrive_in_the_order_of_their_frames():
    def program(comm):
        other = 1 - comm.rank
        for i in range(20):
            comm.send(torch.full((3, 2), float(i), dtype=torch.float64), other, tag=i)
            comm.send(i, other, tag=i)
        x = torch.zeros(3, dtype=torch.float64)
        comm.send(x, other, tag=99)
        x += 1  # what is sent is the value at the time of sending
        values = [comm.recv(other, tag=i).value for i in reversed(range(20)) for _ in range(2)]
        tensors, numbers = values[::2], values[1::2]
        comm.send(torch.ones(2, dtype=torch.float64).requires_grad_(), comm.rank, tag=100)
        late, own = comm.recv(ANY, tag=99).value, comm.recv(comm.rank).value
        return [float(t[2, 1]) for t in tensors], numbers, late.sum().item(), own.requires_grad

    run = Torchrun(2).run(with_devices(program))
    down = list(range(19, -1, -1))
    assert run.results == [(list(map(float, down)), down, 0.0, False)] * 2
    sent = run.trace.of(1, rank=0)["bytes"].tolist()
    assert sent == [48, 8] * 20 + [24, 16]


def test_sums_on_devices_are_folded_in_rank_order():
    def program(comm):
        rng = np.random.default_rng(comm.rank)
        x = torch.from_numpy(rng.standard_normal((5, 3)) * 10.0 ** rng.integers(-8, 8))

        class OnDevice(torch.Tensor):
            is_cuda = True

        results = {}
        for op in ("sum", "prod", "max", "min", "mean"):
            for order in ("rank", "any"):
                y = x.as_subclass(OnDevice)
                results[op, order] = comm.all_reduce(y, op, order).as_subclass(torch.Tensor).numpy()
        out = torch.empty_like(x)
        assert comm.all_reduce(x.as_subclass(OnDevice), out=out) is out
        return x.numpy(), results, out.numpy()

    answers = Torchrun(3).run(with_devices(program)).results
    vectors = [x for x, _, _ in answers]
    for _, results, out in answers:
        for op, ufunc in OPS.items():
            np.testing.assert_array_equal(results[op, "rank"], fold(vectors, ufunc))
            np.testing.assert_allclose(results[op, "any"], fold(vectors, ufunc), rtol=1e-10)
        np.testing.assert_array_equal(results["mean", "rank"], fold(vectors, np.add) / 3)
        np.testing.assert_array_equal(out, fold(vectors, np.add))


def test_a_transposed_tensor_is_combined_by_its_indices_and_out_must_fit():
    def program(comm):
        class OnDevice(torch.Tensor):
            is_cuda = True

        x = torch.arange(6.0, dtype=torch.float64).reshape(2, 3)
        mine = x.T.contiguous().T if comm.rank else x  # the same values, laid out otherwise
        sums = comm.all_reduce(mine.as_subclass(OnDevice), order="any").as_subclass(torch.Tensor)
        errors = []
        for out in (torch.empty(2, 2, 3).double(), torch.empty(2, 3), np.empty((2, 3))):
            with pytest.raises((TypeError, ValueError)) as caught:
                comm.all_reduce(x.as_subclass(OnDevice), out=out)
            errors.append(str(caught.value))
        return sums.numpy(), errors

    for sums, errors in Torchrun(2).run(with_devices(program)).results:
        np.testing.assert_array_equal(sums, 2 * np.arange(6.0).reshape(2, 3))
        assert errors[:2] == [
            "out must be like the result, (2, 3) torch.float64; got (2, 2, 3) torch.float64",
            "out must be like the result, (2, 3) torch.float64; got (2, 3) torch.float32",
        ]
        assert errors[2].startswith("out must be a tensor, got array(")


def test_only_torchrun_combines_tensors_on_a_gpu():
    class OnDevice(torch.Tensor):
        is_cuda = True

    def program(comm: Comm):
        comm.all_reduce(torch.ones(3).as_subclass(OnDevice))

    with pytest.raises(RankFailed, match=r"combined by Torchrun alone; give x\.cpu\(\)"):
        Simulated(2).run(program)
    run = Torchrun(2).run(
        lambda comm: comm.all_reduce(torch.ones(3).as_subclass(OnDevice)).tolist()
    )
    assert run.results == [[2.0] * 3] * 2  # by way of the CPU, where not all have a GPU
