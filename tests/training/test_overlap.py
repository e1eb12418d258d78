"""Buckets of gradients travel while others are computed: the same model, earlier messages."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from ddml_kit.cluster import Network, RankFailed, Simulated
from ddml_kit.cluster.trace import ALL_REDUCE, COMPUTE, SEND
from ddml_kit.collectives import ring
from ddml_kit.problems import Data, Logistic, TorchModule, digits
from ddml_kit.training.adaptive import adam
from ddml_kit.training.data_parallel import data_parallel
from ddml_kit.training.optimisers import sgd
from ddml_kit.training.overlap import overlapped
from ddml_kit.training.reducers import by, mean
from tests.clusters import CLUSTERS, SIZES

SLOW = 0.2  # seconds that a paced step computes


def network(kind=TorchModule):
    data = digits()
    module = torch.nn.Sequential(
        torch.nn.Flatten(),
        torch.nn.Linear(64, 32),
        torch.nn.ReLU(),
        torch.nn.Linear(32, 16),
        torch.nn.ReLU(),
        torch.nn.Linear(16, 10),
    )
    few = Data(data.x[:120], data.y[:120], "some digits")
    return kind(module, torch.nn.functional.cross_entropy, few)


LAST = 4 * (16 * 10 + 10)  # bytes of the last layer, which comes first


def trained(cluster, kind=TorchModule, **settings):
    settings = {"steps": 1, "batch_size": 16, "bucket_bytes": 1, **settings}
    return cluster.run(overlapped, network(kind), sgd(0.1), **settings)


class InOrder(TorchModule):
    """Batches as they lie in memory, so that each training of a run has the same ones."""

    def batches(self, rng, batch_size, steps):
        return super().batches(None, batch_size, steps)


@pytest.mark.parametrize("size", SIZES)
def test_the_model_is_that_of_data_parallel_to_the_bit_on_every_cluster(size):
    def program(comm, problem):
        optimiser = adam(0.01)
        options = {"steps": 3, "batch_size": 16}
        return [
            data_parallel(comm, problem, optimiser, **options),
            overlapped(comm, problem, optimiser, bucket_bytes=1, **options),
            overlapped(comm, problem, optimiser, bucket_bytes=LAST + 1, **options),
            overlapped(comm, problem, optimiser, bucket_bytes=1e9, **options),
            overlapped(comm, problem, optimiser, bucket_bytes=1, overlap=False, **options),
        ]

    problem = network(InOrder)
    results = [r for c in CLUSTERS for r in c(size).run(program, problem).results]
    for models in results:
        for a, b in itertools.pairwise(models):
            np.testing.assert_array_equal(a, b, strict=True)
        np.testing.assert_array_equal(models[0], results[0][0])


class Slow(TorchModule):
    """The same in so much time that messages have time to set out."""

    def seconds(self, batch):
        return SLOW


def first_message_and_last_gradient(run, kind, rank):
    """When the first message of a step sets out, and when the last gradient is there."""
    return (
        run.trace.of(kind, rank=rank)["start"].min(),
        run.trace.of(COMPUTE, rank=rank)["stop"].max(),
    )


@pytest.mark.parametrize("cluster", CLUSTERS, ids=lambda cluster: cluster.__name__)
@pytest.mark.parametrize(("reducer", "kind"), [(by(ring), SEND), (mean, ALL_REDUCE)])
def test_a_bucket_sets_out_before_the_last_gradient_is_there(cluster, reducer, kind):
    """Fails with overlap=False, which is tested right below."""
    paced = {} if cluster is Simulated else {"paced": True}
    for overlap in (True, False):
        run = trained(cluster(2, **paced), Slow, overlap=overlap, reducer=reducer)
        for rank in range(2):
            message, gradient = first_message_and_last_gradient(run, kind, rank)
            assert (message < gradient) == overlap


def test_a_bucket_that_holds_everything_waits_for_the_last_gradient():
    run = trained(Simulated(2), bucket_bytes=1e9, reducer=by(ring))
    for rank in range(2):
        message, gradient = first_message_and_last_gradient(run, SEND, rank)
        assert message >= gradient


def test_buckets_are_filled_from_the_end_of_the_vector():
    def shapes(comm, bucket_bytes):
        seen = []

        def noting(comm):
            def reduce(gradient):
                seen.append(gradient.nbytes)
                return gradient

            return reduce

        problem = network()
        options = {"steps": 2, "batch_size": 4, "reducer": noting}
        overlapped(comm, problem, sgd(0.1), bucket_bytes=bucket_bytes, **options)
        return seen

    middle, first = 4 * (32 * 16 + 16), 4 * (64 * 32 + 32)
    for nbytes, expected in (
        (1, [LAST, middle, first]),
        (LAST, [LAST, middle, first]),
        (LAST + 1, [LAST + middle, first]),
        (LAST + middle + 1, [LAST + middle + first]),
    ):
        assert Simulated(1).run(shapes, nbytes).results[0] == expected * 2


def test_each_bucket_has_a_reducer_of_its_own_that_lasts():
    def program(comm):
        made = []

        def counting(comm):
            made.append(0)
            mine = len(made) - 1

            def reduce(gradient):
                made[mine] += 1
                return comm.all_reduce(gradient, "mean")

            return reduce

        options = {"steps": 4, "batch_size": 4, "bucket_bytes": 1, "reducer": counting}
        overlapped(comm, network(), sgd(0.1), **options)
        return made

    assert Simulated(2).run(program).results == [[4, 4, 4]] * 2


def test_communication_hides_behind_computing():
    """On a network where both last about as long, a step takes less than their sum."""
    problem = network()
    link = Network(latency=1e-6, bandwidth=problem.dim * 4 / SLOW)
    taken = {}
    for overlap in (True, False):
        run = trained(Simulated(2, network=link), Slow, overlap=overlap, reducer=by(ring))
        taken[overlap] = run.seconds
    assert taken[False] == pytest.approx(2 * SLOW, rel=0.01)  # computing, then S / beta
    pieces = problem.pieces(problem.initial(), next(problem.batches(None, 1, 1)))
    *_, first_layer = pieces  # which comes last, and has nothing to hide behind
    hidden = 1 - len(first_layer.gradient) / problem.dim
    assert taken[True] == pytest.approx(2 * SLOW - hidden * SLOW, rel=0.01)


def test_a_problem_whose_gradient_comes_at_once_is_one_bucket():
    data = digits()
    problem = Logistic(data.x, data.y)
    for reducer in (mean, by(ring)):
        settings = {"steps": 5, "batch_size": 8, "reducer": reducer}
        plain = Simulated(3).run(data_parallel, problem, sgd(0.1), **settings)
        run = Simulated(3).run(overlapped, problem, sgd(0.1), bucket_bytes=1, **settings)
        np.testing.assert_array_equal(run.results[0], plain.results[0])
        assert run.bytes == plain.bytes


@pytest.mark.parametrize("cluster", CLUSTERS)
def test_strands_give_their_numbers_back(cluster):
    run = trained(cluster(2), steps=6)
    assert set(run.trace["strand"].tolist()) <= {0, 1, 2, 3}


def test_an_error_in_a_bucket_ends_the_run():
    def failing(comm):
        def reduce(gradient):
            raise ArithmeticError("a reason")

        return reduce

    with pytest.raises(RankFailed, match="ArithmeticError: a reason"):
        trained(Simulated(2), reducer=failing)


def test_a_bucket_has_a_size():
    for size in (0, -1, float("nan")):
        with pytest.raises(RankFailed, match="ValueError: bucket_bytes must be more than 0, got "):
            trained(Simulated(1), bucket_bytes=size)
