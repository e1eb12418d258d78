"""The parameter server against sequential descent, and what its policies promise."""

import math

import numpy as np
import pytest
import torch

from ddml_kit.cluster import Constant, Exponential, Network, Processes, RankFailed, Simulated
from ddml_kit.cluster.comm import Comm
from ddml_kit.cluster.endpoint import generator
from ddml_kit.cluster.trace import COMPUTE, SEND
from ddml_kit.problems import Data, Logistic, TorchModule, sparse_logistic
from ddml_kit.training.optimisers import by_staleness, from_torch, sgd
from ddml_kit.training.parameter_server import Served, Worked, parameter_server, sleep
from ddml_kit.training.parameters import JOIN, PUSH, ranges
from ddml_kit.training.waiting import ASP, BSP, SSP, AdaptiveSSP, BackupWorkers

CLUSTERS = [Simulated, Processes]
LAYOUTS = [(1, 1), (2, 1), (3, 2), (4, 3), (2, 7)]  # workers, servers; 13 parameters
POLICIES = [BSP(), ASP(), SSP(0), SSP(2), AdaptiveSSP(), BackupWorkers(1), BackupWorkers(1, False)]


def dense(samples=120, features=13):
    rng = np.random.default_rng(3)
    x = rng.standard_normal((samples, features))
    return Logistic(x, (x @ rng.standard_normal(features) > 0).astype(int))


def lasting(problem, seconds):
    """The same problem, whose batches take so many virtual seconds."""
    problem.seconds = lambda batch: seconds
    return problem


def text(classes=2, samples=120):
    data = sparse_logistic(samples, 200, 5, seed=0)
    return Logistic(data.x, data.y if classes == 2 else np.arange(samples) % classes)


def serve(cluster, problem, optimiser=None, *, clocks=12, batch_size=5, **options):
    optimiser = optimiser or sgd(0.5)
    options = {"clocks": clocks, "batch_size": batch_size, **options}
    return cluster.run(parameter_server, problem, optimiser, **options)


def uneven(size, **options):
    """A cluster whose workers drift apart; its servers do not work."""
    return Simulated(size, slowdowns=[Exponential()], **options)


def worked(run):
    return [result for result in run.results if isinstance(result, Worked)]


def served(run):
    return [result for result in run.results if isinstance(result, Served)]


def by_hand(problem, workers, step, *, clocks=12, batch_size=5, fetch=1):
    """Sequential mini-batch descent over the same shards, folded in the order of workers."""
    w = problem.initial(seed=0)
    step = step(w)
    batches = [
        problem.shard(k, workers).batches(generator(0, k, "batches"), batch_size, clocks * fetch)
        for k in range(workers)
    ]
    for _ in range(clocks):
        total = None
        for mine in batches:
            parts = [dense_gradient(problem, w, next(mine)) for _ in range(fetch)]
            gradient = sum(parts[1:], parts[0]) / fetch if fetch > 1 else parts[0]
            total = gradient if total is None else total + gradient
        step(total / workers if workers > 1 else total, 1.0)
    return w


def dense_gradient(problem, w, batch):
    gradient = problem.gradient(w, batch)
    return gradient if isinstance(gradient, np.ndarray) else gradient.dense(problem.dim)


# ----------------------------------------------------------------------------- synchronous


@pytest.mark.parametrize("cluster", CLUSTERS)
@pytest.mark.parametrize(("workers", "servers"), LAYOUTS)
def test_bsp_is_sequential_descent_to_the_bit(cluster, workers, servers):
    problem = dense()
    run = serve(cluster(workers + servers), problem, servers=servers)
    expected = by_hand(problem, workers, sgd(0.5))
    for result in worked(run):
        np.testing.assert_array_equal(result.w, expected)
        assert (result.clocks, result.cancelled) == (12, 0)
    np.testing.assert_array_equal(np.concatenate([result.w for result in served(run)]), expected)
    assert all(not result.staleness.any() and result.steps == 12 for result in served(run))


def test_bsp_counts_the_same_everywhere():
    problem = dense()
    runs = [serve(cluster(5), problem, servers=2) for cluster in CLUSTERS]
    assert runs[0].messages == runs[1].messages
    assert runs[0].bytes == runs[1].bytes
    # A worker and a server: pull (8 bytes), model (16 + its share), push (16 + its share); at the
    # end nothing, and the share once more. 3 workers, 2 servers, 13 float32 in all.
    assert runs[0].bytes == 3 * (12 * (2 * (8 + 16 + 16) + 2 * 4 * 13) + 4 * 13)


@pytest.mark.parametrize("cluster", CLUSTERS)
def test_ssp_0_by_round_is_bsp(cluster):
    problem = dense()
    first, second = (
        serve(cluster(4), problem, waiting=waiting) for waiting in (BSP(), SSP(0, by_round=True))
    )
    np.testing.assert_array_equal(first.results[0].w, second.results[0].w)


def test_ssp_infinity_is_asp():
    problem = dense()
    runs = [serve(uneven(5), problem, waiting=waiting) for waiting in (ASP(), SSP(math.inf))]
    np.testing.assert_array_equal(runs[0].results[0].w, runs[1].results[0].w)
    np.testing.assert_array_equal(runs[0].results[-1].staleness, runs[1].results[-1].staleness)


@pytest.mark.parametrize("fetch", [1, 3])
@pytest.mark.parametrize("cluster", CLUSTERS)
def test_a_clock_of_several_batches_averages_them(cluster, fetch):
    problem = dense()
    run = serve(cluster(3), problem, fetch=fetch, clocks=4)
    expected = by_hand(problem, 2, sgd(0.5), clocks=4, fetch=fetch)
    np.testing.assert_array_equal(run.results[0].w, expected)


@pytest.mark.parametrize("cluster", CLUSTERS)
def test_optimisers_of_torch_are_whole_on_each_server(cluster):
    problem = dense()
    adam = from_torch(torch.optim.Adam, lr=0.05)
    run = serve(cluster(5), problem, adam, servers=2)
    np.testing.assert_array_equal(run.results[0].w, by_hand(problem, 3, adam))


@pytest.mark.parametrize("cluster", CLUSTERS)
def test_a_torch_module_is_trained(cluster):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((60, 4))
    module = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.Tanh(), torch.nn.Linear(3, 2))
    loss = torch.nn.functional.cross_entropy
    problem = TorchModule(module, loss, Data(x.astype(np.float32), (x[:, 0] > 0) * 1, "random"))
    run = serve(cluster(3), problem, batch_size=10)
    np.testing.assert_array_equal(run.results[0].w, by_hand(problem, 2, sgd(0.5), batch_size=10))


# ---------------------------------------------------------------------------------- sparse


@pytest.mark.parametrize("cluster", CLUSTERS)
@pytest.mark.parametrize("servers", [1, 3])
@pytest.mark.parametrize("classes", [2, 3])
def test_sparse_pulls_change_nothing_but_the_bytes(cluster, servers, classes):
    problem = text(classes)
    runs = [
        serve(cluster(2 + servers), problem, servers=servers, sparse=sparse)
        for sparse in (False, True)
    ]
    np.testing.assert_array_equal(runs[0].results[0].w, runs[1].results[0].w)
    assert runs[1].bytes < runs[0].bytes / 2
    expected = by_hand(problem, 2, sgd(0.5))
    np.testing.assert_allclose(runs[0].results[0].w, expected, rtol=1e-5, atol=1e-7)


# ----------------------------------------------------------------------- what policies promise


def starts_and_ends(run, workers):
    """When each worker began and ended the work of each clock, (workers, clocks) twice."""
    mine = [run.trace.of(COMPUTE, rank=k) for k in range(workers)]
    return [events["start"] for events in mine], [events["stop"] for events in mine]


def largest_gap(run, workers):
    """How many clocks anybody who began one was ahead of the slowest, at most."""
    starts, ends = starts_and_ends(run, workers)
    gaps = [
        clock - np.searchsorted(end, start, side="right")
        for begun in starts
        for clock, start in enumerate(begun)
        for end in ends
    ]
    return max(gaps)


@pytest.mark.parametrize("prefetch", [False, True])
@pytest.mark.parametrize("servers", [1, 2])
@pytest.mark.parametrize("staleness", [0, 1, 3])
@pytest.mark.parametrize("seed", range(3))
def test_nobody_is_further_ahead_than_the_bound(staleness, seed, servers, prefetch):
    problem, options = lasting(dense(), 1e-3), {"servers": servers, "prefetch": prefetch}
    cluster = uneven(5 + servers, seed=seed)
    run = serve(cluster, problem, waiting=SSP(staleness), clocks=25, **options)
    assert largest_gap(run, 5) == staleness
    run = serve(cluster, problem, waiting=AdaptiveSSP(most=staleness + 1), clocks=25, **options)
    assert largest_gap(run, 5) <= staleness + 1


def test_nobody_is_further_ahead_than_the_bound_on_processes():
    cluster = Processes(5, paced=True, slowdowns=[Exponential(range(4))])
    run = serve(cluster, lasting(dense(), 2e-3), waiting=SSP(2), clocks=25)
    assert largest_gap(run, 4) <= 2


@pytest.mark.parametrize("cluster", CLUSTERS)
@pytest.mark.parametrize("waiting", POLICIES)
@pytest.mark.parametrize("servers", [1, 2])
@pytest.mark.parametrize("prefetch", [False, True])
def test_every_gradient_is_folded_in_once_or_told_of(cluster, waiting, servers, prefetch):
    run = serve(cluster(4 + servers), dense(), waiting=waiting, servers=servers, prefetch=prefetch)
    pushed = sum(result.clocks for result in worked(run))
    for result in served(run):
        assert len(result.staleness) + result.unused == pushed
    whole = np.concatenate([result.w for result in served(run)])
    for result in worked(run):
        np.testing.assert_array_equal(result.w, whole)


def test_prefetching_hides_the_latency():
    problem = lasting(dense(), 1e-3)
    far = Simulated(5, network=Network(latency=4e-4))
    plain, ahead = (
        serve(far, problem, waiting=ASP(), prefetch=prefetch) for prefetch in (False, True)
    )
    assert (plain.messages, plain.bytes) == (ahead.messages, ahead.bytes)
    assert plain.results[0].seconds == pytest.approx(12 * 1.8e-3, rel=0.05)
    assert ahead.results[0].seconds == pytest.approx(12 * 1e-3 + 0.8e-3, rel=0.05)


def test_the_fast_ones_are_held_back_by_policies_that_wait():
    cluster = Simulated(5, slowdowns=[Constant({3: 4.0})])
    seconds = {}
    for waiting in (BSP(), SSP(4), ASP()):
        run = serve(cluster, lasting(dense(), 1e-2), waiting=waiting, clocks=30)
        seconds[waiting] = run.results[0].seconds
    assert seconds[BSP()] > seconds[SSP(4)] > 3 * seconds[ASP()]


def test_the_adaptive_bound_follows_the_speed():
    policy = AdaptiveSSP(least=2, most=10)
    seconds = {0: 1.0, 1: 1.5, 2: 3.0, 3: 0.01}
    assert [policy.bound(k, seconds) for k in range(5)] == [6, 4, 2, 10, 2]


def test_the_kth_of_n_arrives_as_order_statistics_say():
    """With exponential work a round of N - b takes 1/mu sum 1/i over i = b + 1 .. N."""
    workers, late, clocks = 8, 2, 400
    problem = dense(samples=8 * 40)
    free = Network(latency=0.0, bandwidth=1e15)
    once = problem.seconds(next(problem.batches(None, 40, 1)))
    expected = once * sum(1 / i for i in range(late + 1, workers + 1))
    means = {}
    for cancel in (True, False):
        cluster = Simulated(workers + 1, network=free, slowdowns=[Exponential(range(workers))])
        run = serve(
            cluster, problem, waiting=BackupWorkers(late, cancel), clocks=clocks, batch_size=40
        )
        means[cancel] = run.seconds / clocks
        assert (sum(r.cancelled for r in worked(run)) > 0) == cancel
    assert means[True] == pytest.approx(expected, rel=0.05)
    assert 1.05 < means[False] / means[True] < 1.3  # the late ones finish stale work


def test_staleness_can_be_damped():
    run = serve(uneven(5), dense(), waiting=ASP(), damping=by_staleness)
    other = serve(uneven(5), dense(), waiting=ASP())
    assert not np.array_equal(run.results[0].w, other.results[0].w)
    assert [by_staleness(s) for s in (0, 1, 3)] == [1.0, 0.5, 0.25]


# --------------------------------------------------------------------- those who die or come late


@pytest.mark.parametrize("waiting", [BSP(), ASP(), SSP(1), BackupWorkers(1)])
def test_the_servers_go_on_without_a_dead_worker(waiting):
    cluster = Simulated(6, crashes={1: 3e-4}, on_failure="continue")
    run = serve(cluster, dense(), waiting=waiting, servers=2, patience=0.01, clocks=20)
    assert list(run.failures) == [1]
    alive = worked(run)
    assert len(alive) == 3
    arrived = [len(result.staleness) + result.unused for result in served(run)]
    assert all(60 - 20 <= count <= 80 for count in arrived)
    whole = np.concatenate([result.w for result in served(run)])
    for result in alive:
        np.testing.assert_array_equal(result.w, whole)
    # What it had pushed counts once: all that was sent and nothing twice.
    sent = run.trace.of(SEND, rank=1)
    for server, count in zip((4, 5), arrived, strict=True):
        mine = np.sum((sent["tag"] == PUSH) & (sent["peer"] == server))
        assert count == sum(result.clocks for result in alive) + mine
        assert mine > 0


def test_on_processes_a_killed_worker_is_left_behind():
    cluster = Processes(4, paced=True, crashes={1: 0.1}, on_failure="continue")
    run = serve(cluster, lasting(dense(), 0.01), waiting=BSP(), patience=0.05, clocks=30)
    assert list(run.failures) == [1]
    assert [result.clocks for result in worked(run)] == [30, 30]
    assert run.results[3].steps == 30


@pytest.mark.parametrize("cluster", CLUSTERS)
@pytest.mark.parametrize("waiting", [BSP(), ASP(), SSP(1)])
@pytest.mark.parametrize("servers", [1, 2])
def test_a_worker_joins_late(cluster, waiting, servers):
    run = serve(
        cluster(3 + servers), dense(), waiting=waiting, servers=servers, late={2: 1e-3}, clocks=40
    )
    first, second, last = worked(run)
    assert (first.clocks, second.clocks) == (40, 40)
    assert last.clocks <= 40
    whole = np.concatenate([result.w for result in served(run)])
    np.testing.assert_array_equal(last.w, whole)


@pytest.mark.parametrize("waiting", [BSP(), ASP(), SSP(2), AdaptiveSSP(), BackupWorkers(1)])
def test_one_who_joins_late_does_the_rest(waiting):
    run = serve(Simulated(4), dense(), waiting=waiting, late={2: 2e-3}, clocks=40)
    assert 0 < run.results[2].clocks < 40


@pytest.mark.parametrize("waiting", [BSP(), ASP(), SSP(2), AdaptiveSSP()])
def test_one_who_comes_when_all_have_gone_does_nothing(waiting):
    run = serve(Simulated(4), dense(), waiting=waiting, late={2: 10.0}, clocks=40)
    assert run.results[2].clocks == 0
    np.testing.assert_array_equal(run.results[2].w, run.results[0].w)


@pytest.mark.parametrize("gap", [1e-4, 3e-4, 1e-3])
@pytest.mark.parametrize("waiting", POLICIES)
def test_servers_may_hear_of_it_at_different_times(waiting, gap, monkeypatch):
    """One who joins is held up between the two, so that they are at different clocks."""
    heard = []

    def send(comm, value, dest, tag=0):
        if (comm.rank, tag, value) == (2, JOIN, None):
            heard.append(dest)
            if len(heard) == 2:
                sleep(comm, gap)
        Comm_send(comm, value, dest, tag)

    Comm_send = Comm.send
    monkeypatch.setattr(Comm, "send", send)
    run = serve(Simulated(5), dense(), waiting=waiting, servers=2, late={2: 1e-3}, clocks=40)
    assert len(heard) == 2
    assert [result.clocks + result.cancelled for result in worked(run)[:2]] == [40, 40]


def test_no_clocks_are_no_training():
    run = serve(Simulated(3), dense(), clocks=0)
    assert not run.results[0].w.any()


def test_the_last_snapshot_is_the_model():
    run = serve(uneven(5), dense(), waiting=ASP())
    np.testing.assert_array_equal(run.snapshots[-1].w, run.results[0].w)


# ------------------------------------------------------------------------------- bad input


def test_shares_are_whole_and_even():
    for dim in range(1, 30):
        for servers in range(1, dim + 1):
            shares = ranges(dim, servers)
            assert [k for s in shares for k in range(s.start, s.stop)] == list(range(dim))
            lengths = [s.stop - s.start for s in shares]
            assert 1 <= min(lengths) <= max(lengths) <= min(lengths) + 1


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: SSP(-1), "SSP needs staleness >= 0, got -1"),
        (lambda: SSP(math.nan), "SSP needs staleness >= 0, got nan"),
        (lambda: AdaptiveSSP(least=3, most=2), "1 <= least <= most, got least=3, most=2"),
        (lambda: AdaptiveSSP(least=0), "1 <= least <= most, got least=0"),
        (lambda: BackupWorkers(-1), "BackupWorkers needs late >= 0, got -1"),
        (lambda: sgd(0), "lr must be more than 0, got 0"),
        (lambda: ranges(3, 4), "1 to 3 servers, one a parameter, got 4"),
    ],
)
def test_settings_that_cannot_be(make, sentence):
    with pytest.raises(ValueError, match=sentence):
        make()


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"waiting": BackupWorkers(3)}, "fewer workers may be late than there are, got late=3"),
        ({"servers": 4}, "there must be a worker beside the servers, got 4 ranks and 4 servers"),
        ({"servers": 0}, "there must be 1 to 13 servers, one a parameter, got 0"),
        ({"fetch": 0}, "fetch must be 1 batch a clock or more, got 0"),
        ({"patience": 0}, "patience must be more than 0 seconds, or None, got 0"),
        ({"clocks": -1}, "clocks must be 0 or more, got -1"),
        ({"sparse": True}, "sparse needs a Logistic over Rows, got Logistic"),
        ({"late": {3: 1.0}}, "late needs workers from 0 to 2 and seconds >= 0, got 3: 1.0"),
        ({"late": {0: -1.0}}, "late needs workers from 0 to 2 and seconds >= 0, got 0: -1.0"),
    ],
)
def test_runs_that_cannot_be(options, sentence):
    with pytest.raises(RankFailed, match=sentence):
        serve(Simulated(4), dense(), **options)
