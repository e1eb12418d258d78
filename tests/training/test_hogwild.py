"""The three programs against sequential oracles, and the claims of the paper in virtual time."""

import itertools

import numpy as np
import pytest

from ddml_kit.cluster.endpoint import generator
from ddml_kit.cluster.errors import RankFailed
from ddml_kit.cluster.faults import Constant, Exponential
from ddml_kit.cluster.network import Network
from ddml_kit.cluster.processes import Processes
from ddml_kit.cluster.simulated import Simulated
from ddml_kit.problems.csr import Rows
from ddml_kit.problems.logistic import Logistic
from ddml_kit.problems.synthetic import sparse_logistic
from ddml_kit.training.hogwild import hogwild, locked, round_robin

ONE_MACHINE = Network(latency=0.0)  # ranks that share memory
CLUSTERS = [Simulated, Processes]
PROGRAMS = [hogwild, locked, round_robin]


def text(samples=320, features=200, nonzeros=5, exponent=1.1):
    data = sparse_logistic(samples, features, nonzeros, seed=0, exponent=exponent)
    return Logistic(data.x, data.y)


def simulated(size, program, problem, steps, *, lr=0.5, drift=True, **options):
    """The ranks drift apart, as on a real machine, unless told to march in step."""
    slowdowns = [Exponential()] if drift else []
    cluster = Simulated(size, network=ONE_MACHINE, slowdowns=slowdowns)
    return cluster.run(program, problem, steps=steps, lr=lr, **options)


def share_lost(run):
    return run.results[0].lost_proxy / sum(result.written for result in run.results)


def rank_batches(problem, rank, size, steps):
    return problem.shard(rank, size).batches(generator(0, rank, "batches"), 1, steps)


# ------------------------------------------------------------------------------- oracles


@pytest.mark.parametrize("cluster", CLUSTERS)
@pytest.mark.parametrize("program", PROGRAMS)
def test_one_rank_is_sequential_descent_to_the_bit(program, cluster):
    problem, steps = text(), 700  # more than two passes
    run = cluster(1).run(program, problem, steps=steps, lr=0.5, decay=0.5)
    w = problem.initial(seed=0)
    for step, batch in enumerate(rank_batches(problem, 0, 1, steps)):
        problem.gradient(w, batch).add_to(w, -0.5 * 0.5 ** (step // 320))
    (result,) = run.results
    np.testing.assert_array_equal(result.w, w)
    assert not result.staleness.any()
    assert (result.updates, result.written, result.lost_proxy) == (steps, 5 * steps, 0)


@pytest.mark.parametrize("cluster", CLUSTERS)
@pytest.mark.parametrize("size", [2, 3])
def test_round_robin_is_descent_with_gradients_one_round_old_to_the_bit(size, cluster):
    problem, steps = text(exponent=2.0), 40
    run = cluster(size).run(round_robin, problem, steps=steps, lr=0.5)
    w = problem.initial(seed=0)
    read = [w.copy() for _ in range(size)]
    samples = [list(rank_batches(problem, rank, size, steps)) for rank in range(size)]
    for step, rank in itertools.product(range(steps), range(size)):
        problem.gradient(read[rank], samples[rank][step]).add_to(w, -0.5)
        read[rank] = w.copy()
    for result in run.results:
        np.testing.assert_array_equal(result.w, w)


def test_ranks_whose_features_differ_do_not_touch_each_other():
    even, odd = text(exponent=0.0), text(exponent=0.0)
    x, other = even.x, odd.x
    indices = np.concatenate([2 * x.indices, 2 * other.indices + 1])
    indptr = np.concatenate([x.indptr, x.indptr[-1] + other.indptr[1:]])
    rows = Rows(np.concatenate([x.values, other.values]), indices, indptr, 400)
    both = Logistic(rows, np.concatenate([even.y, odd.y]))
    run = simulated(2, hogwild, both, 300, drift=False)
    w = both.initial(seed=0)
    for rank in range(2):
        for batch in rank_batches(both, rank, 2, 300):
            both.gradient(w, batch).add_to(w, -0.5)
    np.testing.assert_array_equal(run.results[0].w, w)
    assert run.results[0].lost_proxy == 0


# ------------------------------------------------------------------- what is written


class Watched(np.ndarray):
    """An array that lists the coordinates that are written."""

    def __setitem__(self, key, value):
        self.seen.append(np.arange(len(self))[key])
        np.asarray(self)[key] = value


class Alone:
    """A communicator of one rank, as far as `hogwild` uses it; its first array is watched."""

    rank, size = 0, 1

    def __init__(self):
        self.seen = []
        self.shares = 0

    def shared(self, array):
        self.shares += 1
        if self.shares > 1:
            return array
        watched = array.view(Watched)
        watched.seen = self.seen
        return watched

    def stream(self, name):
        return generator(0, 0, name)

    def work(self, seconds):
        pass

    def snapshot(self, w):
        pass

    def now(self):
        return 0.0

    def all_reduce(self, x):
        return x


def test_it_writes_the_support_of_each_gradient_and_nothing_else():
    problem, comm = text(), Alone()
    hogwild(comm, problem, steps=50, lr=0.5)
    supports = [batch.x.indices for batch in rank_batches(problem, 0, 1, 50)]
    assert len(comm.seen) == 50
    for written, support in zip(comm.seen, supports, strict=True):
        np.testing.assert_array_equal(written, support)


@pytest.mark.parametrize("cluster", CLUSTERS)
@pytest.mark.parametrize("program", [locked, round_robin])
def test_with_a_lock_or_in_turn_nothing_is_lost(program, cluster):
    problem = text(features=8, nonzeros=8)  # all write everything
    run = cluster(4).run(program, problem, steps=80, lr=0.1)
    assert [result.written for result in run.results] == [640] * 4
    assert [result.lost_proxy for result in run.results] == [0] * 4


def test_what_is_lost_is_counted_exactly_in_virtual_time():
    problem = text(features=8, nonzeros=8)
    run = simulated(2, hogwild, problem, 1, drift=False)
    # Both load, both store, and the second store stands.
    w = problem.initial(seed=0)
    (batch,) = rank_batches(problem, 1, 2, 1)
    problem.gradient(w, batch).add_to(w, -0.5)
    np.testing.assert_array_equal(run.results[0].w, w)
    assert run.results[0].lost_proxy == 8


def test_without_a_window_nothing_is_lost_in_virtual_time():
    assert share_lost(simulated(8, hogwild, text(features=8, nonzeros=8), 40, window=0.0)) == 0


# ------------------------------------------------------------------------------- staleness


@pytest.mark.parametrize("cluster", CLUSTERS)
def test_in_turn_a_gradient_is_as_old_as_there_are_other_ranks(cluster):
    run = cluster(3).run(round_robin, text(), steps=20, lr=0.5)
    for rank, result in enumerate(run.results):
        assert result.staleness.tolist() == [rank] + 19 * [2]


@pytest.mark.parametrize("cluster", CLUSTERS)
def test_staleness_is_counted_for_each_update(cluster):
    run = cluster(3).run(hogwild, text(), steps=60, lr=0.5)
    for result in run.results:
        assert result.staleness.shape == (60,)
        assert result.updates == 60
        assert 0 <= result.staleness.min() <= result.staleness.max() <= 120


def test_equal_workers_in_step_are_size_minus_1_updates_stale():
    run = simulated(5, hogwild, text(), 20, drift=False)
    stale = np.concatenate([result.staleness[1:] for result in run.results])
    assert (stale == 4).all()


# --------------------------------------------------------------------- the paper's claims


def test_32_workers_lose_most_when_dense_and_little_when_sparse():
    dense = simulated(32, hogwild, text(features=5, nonzeros=5), 10)
    sparse = simulated(32, hogwild, text(features=5000, nonzeros=5, exponent=0.0), 10)
    assert share_lost(dense) > 0.5
    assert share_lost(sparse) < 0.02


def test_collisions_grow_with_density_and_with_hot_features():
    by_density = [
        share_lost(simulated(8, hogwild, text(features=64, nonzeros=k, exponent=0.0), 40))
        for k in (1, 8, 64)
    ]
    by_exponent = [
        share_lost(simulated(8, hogwild, text(features=1000, exponent=e), 40))
        for e in (0.0, 1.0, 2.0)
    ]
    assert by_density[0] < by_density[1] < by_density[2]
    assert by_exponent[0] < by_exponent[1] < by_exponent[2]


def seconds_to(loss, size, problem):
    run = simulated(size, hogwild, problem, len(problem) // size, lr=0.05)
    curve = run.curve(problem.loss)
    return curve.seconds[curve.value <= loss][0]


def test_sparse_workers_gain_their_number_and_dense_ones_much_less():
    gains = []
    for kind in ({"features": 5000, "exponent": 0.0}, {"features": 5}):
        problem = text(samples=640, **kind)
        start = problem.loss(problem.initial())
        end = problem.loss(simulated(1, hogwild, problem, 640, lr=0.05).results[0].w)
        halfway = (start + end) / 2
        gains.append(seconds_to(halfway, 1, problem) / seconds_to(halfway, 16, problem))
    sparse, dense = gains
    assert sparse > 12
    assert dense < 8


def test_a_lock_makes_workers_wait_where_hogwild_does_not():
    problem = text(features=5000, exponent=0.0)
    free, waiting = (
        max(result.seconds for result in simulated(32, program, problem, 10, drift=False).results)
        for program in (hogwild, locked)
    )
    assert waiting > 2 * free


def test_the_order_of_events_is_part_of_the_answer():
    problem = text(exponent=2.0)
    cluster = Simulated(3, network=ONE_MACHINE)
    other = Simulated(3, network=ONE_MACHINE, slowdowns=[Constant({1: 1.7})])
    first, again, differently = (
        c.run(hogwild, problem, steps=50, lr=0.5).results[0].w for c in (cluster, cluster, other)
    )
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, differently)


# ---------------------------------------------------------------------------- the rest


def test_processes_come_to_the_loss_of_one_worker():
    problem = text(samples=1000)
    alone = Processes(1).run(hogwild, problem, steps=1000, lr=0.5).results[0]
    run = Processes(2).run(hogwild, problem, steps=500, lr=0.5)
    assert problem.loss(run.results[0].w) == pytest.approx(problem.loss(alone.w), rel=0.05)
    np.testing.assert_array_equal(run.results[0].w, run.results[1].w)
    assert 0 <= run.results[0].lost_proxy <= 5000


@pytest.mark.parametrize("program", PROGRAMS)
def test_dense_gradients_are_written_whole(program):
    x = np.random.default_rng(0).standard_normal((30, 4))
    problem = Logistic(x, (x.sum(axis=1) > 0).astype(int))
    run = simulated(3, program, problem, 10)
    assert [result.written for result in run.results] == [40] * 3
    assert problem.loss(run.results[0].w) < problem.loss(problem.initial())


def test_rank_0_takes_the_snapshots_of_the_one_vector():
    run = simulated(3, hogwild, text(), 20)
    assert {snapshot.rank for snapshot in run.snapshots} == {0}
    assert len(run.snapshots) == 20


@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"lr": 0.0}, "lr must be more than 0, got 0.0"),
        ({"decay": 1.5}, "decay must lie above 0 and be 1 at most, got 1.5"),
        ({"window": -1.0}, "window must be 0 or more, got -1.0"),
    ],
)
def test_settings_that_make_no_sense_get_a_sentence(program, wrong, sentence):
    with pytest.raises(ValueError, match=sentence):
        program(Alone(), text(), **({"steps": 1, "lr": 0.5} | wrong))


@pytest.mark.parametrize("cluster", CLUSTERS)
@pytest.mark.parametrize("program", PROGRAMS)
def test_nan_in_a_gradient_ends_the_run_and_names_the_rank(program, cluster):
    problem = text()
    problem.x.values[-3:] = np.nan  # in the last row, which is the last rank's
    with pytest.raises(RankFailed, match="the gradient must be finite, got 5 of 5") as caught:
        cluster(3).run(program, problem, steps=320, lr=0.5)
    assert caught.value.rank == 2
    assert isinstance(caught.value.__cause__, FloatingPointError)
