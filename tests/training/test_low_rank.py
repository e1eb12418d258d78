"""PowerSGD as a reducer: exact where low rank is all there is, and what else is sent later."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from ddml_kit.cluster import RankFailed, Simulated
from ddml_kit.cluster.trace import ALL_REDUCE
from ddml_kit.problems import Data, TorchModule, digits
from ddml_kit.training.data_parallel import data_parallel
from ddml_kit.training.low_rank import power_sgd
from ddml_kit.training.optimisers import sgd
from ddml_kit.training.reducers import mean
from tests.clusters import CLUSTERS, SIZES

ROWS, COLUMNS = 12, 9
SHAPES = ((ROWS, COLUMNS), (5,), (2, 2))
DIM = ROWS * COLUMNS + 5 + 4


def network():
    data = digits()
    module = torch.nn.Sequential(
        torch.nn.Flatten(), torch.nn.Linear(64, 24), torch.nn.ReLU(), torch.nn.Linear(24, 10)
    )
    few = Data(data.x[:300], data.y[:300], "some digits")
    return TorchModule(module, torch.nn.functional.cross_entropy, few)


def reduced(comm, gradients, **settings):
    """What the reducer makes of these gradients, (steps, ranks, d), one after the other."""
    reduce = power_sgd(SHAPES, **settings)(comm)
    return [reduce(step[comm.rank]) for step in gradients]


def results(gradients, **settings):
    """Those of all steps, (steps, d), which all ranks share."""
    run = Simulated(gradients.shape[1]).run(reduced, gradients, **settings)
    for other in run.results[1:]:
        np.testing.assert_array_equal(other, run.results[0])
    return np.array(run.results[0])


def noise(steps, ranks=3, seed=0):
    return np.random.default_rng(seed).standard_normal((steps, ranks, DIM))


def of_rank(rank, steps, ranks=3, seed=0):
    """Gradients whose mean is of this rank, though each one's own matrix has them all."""
    rng = np.random.default_rng(seed)
    gradients = rng.standard_normal((steps, ranks, DIM))
    low = rng.standard_normal((steps, ROWS, rank)) @ rng.standard_normal((steps, rank, COLUMNS))
    matrices = gradients[..., : ROWS * COLUMNS]
    matrices += (low.reshape(steps, -1) - matrices.mean(axis=1))[:, None]
    return gradients


@pytest.mark.parametrize("size", SIZES)
def test_the_same_bits_on_every_rank_of_every_cluster(size):
    def program(comm, problem):
        options = {"steps": 3, "batch_size": 16}
        low, cold = power_sgd(problem.shapes, rank=2), power_sgd(problem.shapes, rank=1)
        return [
            data_parallel(comm, problem, sgd(0.1), reducer=low, **options),
            data_parallel(comm, problem, sgd(0.1), reducer=cold, **options),
        ]

    problem = network()
    runs = [cluster(size).run(program, problem) for cluster in CLUSTERS]
    models = [np.array(result) for run in runs for result in run.results]
    for a, b in itertools.pairwise(models):
        np.testing.assert_array_equal(a, b, strict=True)
    assert len({run.bytes for run in runs}) == 1


@pytest.mark.parametrize("feedback", [True, False])
@pytest.mark.parametrize("rank", [1, 2, 3])
def test_it_is_exact_where_the_mean_has_this_rank_or_less(rank, feedback):
    for true_rank in range(rank + 1):
        gradients = of_rank(true_rank, 4)
        assert np.linalg.matrix_rank(gradients[0, 0, : ROWS * COLUMNS].reshape(ROWS, COLUMNS)) == 9
        found = results(gradients, rank=rank, feedback=feedback, warm_start=False)
        np.testing.assert_allclose(found, gradients.mean(axis=1), atol=1e-10)


def test_it_stays_exact_where_ranks_come_and_go():
    """A warm start from a matrix that has lost columns, or has none, draws them again."""
    steps = [of_rank(rank, 1, seed=rank)[0] for rank in (2, 0, 2, 0, 1, 2)]
    found = results(np.array(steps), rank=2)
    np.testing.assert_allclose(found, np.mean(steps, axis=1), atol=1e-8)


def test_a_column_that_is_lost_alone_is_drawn_again():
    """After a matrix of one row, the second column of Q is exactly zero."""
    row = np.zeros((1, 1, DIM))
    row[..., :COLUMNS] = np.arange(1, COLUMNS + 1)
    steps = np.concatenate([row, of_rank(2, 1, ranks=1)])
    found = results(steps, rank=2, feedback=False)
    np.testing.assert_allclose(found, steps[:, 0], atol=1e-8)


def test_it_is_not_exact_where_the_mean_has_a_higher_rank():
    gradients = of_rank(3, 1)
    assert np.abs(results(gradients, rank=2) - gradients.mean(axis=1)).max() > 0.1


def test_it_is_algorithm_1_in_matrix_form():
    """One worker's power method on the mean, with NumPy's QR; error feedback as in algorithm 2."""
    rank, gradients = 2, noise(6)
    found = results(gradients, rank=rank)
    first = found[0, : ROWS * COLUMNS].reshape(ROWS, COLUMNS)
    # the first Q is drawn inside; what it projects onto is what the first step shows
    Q = np.linalg.svd(first)[2][:rank].T
    mean_gradients = gradients.mean(axis=1)[:, : ROWS * COLUMNS].reshape(-1, ROWS, COLUMNS)
    memory = mean_gradients[0] - first
    for step in range(1, 6):
        M = mean_gradients[step] + memory
        P = np.linalg.qr(M @ Q)[0]
        Q = M.T @ P
        np.testing.assert_allclose(
            found[step, : ROWS * COLUMNS].reshape(ROWS, COLUMNS), P @ Q.T, atol=1e-10
        )
        memory = M - P @ Q.T


def test_tensors_that_are_no_matrices_or_too_small_ones_are_exact():
    gradients = noise(3)
    rest = slice(ROWS * COLUMNS, None)
    found = results(gradients, rank=2)
    np.testing.assert_allclose(found[:, rest], gradients.mean(axis=1)[:, rest], atol=1e-14)
    whole = results(gradients, rank=6)  # 6 (12 + 9) > 12 * 9
    np.testing.assert_allclose(whole, gradients.mean(axis=1), atol=1e-14)


@pytest.mark.parametrize("feedback", [True, False])
def test_what_is_left_out_is_sent_later(feedback):
    gradients = np.concatenate([noise(5), np.zeros((60, 3, DIM))])
    total, sent = gradients.mean(axis=1).sum(axis=0), results(gradients, rank=1, feedback=feedback)
    left = np.linalg.norm(sent.sum(axis=0) - total) / np.linalg.norm(total)
    assert (left < 1e-6) == feedback


def test_a_warm_start_comes_near_the_best_matrix_of_its_rank():
    gradients = noise(1)
    U, _, Vt = np.linalg.svd(gradients[0].mean(axis=0)[: ROWS * COLUMNS].reshape(ROWS, COLUMNS))
    falling = U[:, :9] * 0.6 ** np.arange(9)
    gradients[..., : ROWS * COLUMNS] = (falling @ Vt).reshape(-1)
    gradients = np.repeat(gradients, 40, axis=0)
    best = (falling[:, :2] @ Vt[:2]).reshape(-1)
    off = {}
    for warm in (True, False):
        found = results(gradients, rank=2, feedback=False, warm_start=warm)[-1]
        off[warm] = np.linalg.norm(found[: ROWS * COLUMNS] - best)
    assert off[True] < 1e-6 < 0.01 < off[False]


def test_so_many_times_fewer_bytes_travel():
    """n m / (r (n + m)), from the trace."""
    shapes, rank = ((64, 32),), 2

    def program(comm, reducer):
        reduce = reducer(comm)
        for step in range(3):
            reduce(np.random.default_rng(step).standard_normal(64 * 32).astype(np.float32))

    taken = []
    for reducer in (mean, power_sgd(shapes, rank=rank)):
        run = Simulated(4).run(program, reducer)
        taken.append(run.trace.of(ALL_REDUCE)["bytes"].sum())
    assert taken[0] == 3 * 2 * 3 * 4 * 64 * 32
    assert taken[0] / taken[1] == 64 * 32 / (rank * (64 + 32))


def test_a_step_has_two_sums_whatever_the_number_of_tensors():
    problem = network()
    reducer = power_sgd(problem.shapes, rank=1)
    options = {"steps": 5, "batch_size": 16, "reducer": reducer}
    run = Simulated(2).run(data_parallel, problem, sgd(0.1), **options)
    assert len(run.trace.of(ALL_REDUCE, rank=0)) == 2 * 5


def test_it_learns():
    problem = network()
    options = {"steps": 60, "batch_size": 16}
    exact = Simulated(3).run(data_parallel, problem, sgd(0.2), **options)
    low = Simulated(3).run(
        data_parallel, problem, sgd(0.2), reducer=power_sgd(problem.shapes, rank=2), **options
    )
    begin = problem.loss(problem.initial(seed=0))
    gains = [begin - problem.loss(run.results[0]) for run in (exact, low)]
    assert gains[1] > 0.8 * gains[0] > 0


def test_the_dtype_stays_and_results_are_the_callers():
    for dtype in (np.float32, np.float64):
        gradients = noise(3).astype(dtype)
        found = results(gradients, rank=2)
        assert found.dtype == dtype
        np.testing.assert_array_equal(found[0], results(gradients[:1], rank=2)[0])


@pytest.mark.parametrize("cluster", CLUSTERS, ids=lambda cluster: cluster.__name__)
def test_what_is_not_finite_on_one_rank_is_an_error_on_all(cluster):
    def program(comm, where, wrong):
        gradient = np.ones(DIM, np.float32)
        if comm.rank == 1:
            gradient[where] = wrong
        reduce = power_sgd(SHAPES, rank=2)(comm)
        try:
            reduce(gradient)
        except FloatingPointError as error:
            return str(error)

    sentence = "gradients must be finite, got 1 of 117 values of rank 1 that are NaN or infinite"
    for where, wrong in ((3, np.nan), (110, np.inf)):
        assert cluster(3).run(program, where, wrong).results == [sentence] * 3


def test_a_sum_beyond_the_largest_number_is_an_error():
    def program(comm):
        reduce = power_sgd(((4,),), rank=1)(comm)
        reduce(np.full(4, 3e38, np.float32))

    with pytest.raises(RankFailed, match="got a sum beyond the largest float32"):
        Simulated(2).run(program)


SECOND = np.ones((3, DIM))
SECOND[:, : ROWS * COLUMNS] = np.finfo(float).max / 20  # P is finite, and Q = M^T P is not


@pytest.mark.parametrize("wrong", [np.full((3, DIM), np.nan), SECOND], ids=["first", "second"])
def test_after_a_refused_step_the_next_is_as_if_it_had_not_been(wrong):
    def program(comm, gradients):
        reduce, said = power_sgd(SHAPES, rank=2)(comm), []
        for step in gradients:
            try:
                said.append(reduce(step[comm.rank]))
            except FloatingPointError:
                said.append(None)
        return said

    gradients = noise(4)
    gradients_with = np.insert(gradients, 2, wrong, axis=0)
    for without, found in zip(
        Simulated(3).run(program, gradients).results,
        Simulated(3).run(program, gradients_with).results,
        strict=True,
    ):
        assert found.pop(2) is None
        np.testing.assert_array_equal(found, without)


def test_bad_input_gets_a_sentence():
    with pytest.raises(ValueError, match="rank must be 1 or more, got 0"):
        power_sgd(SHAPES, rank=0)
    with pytest.raises(TypeError, match="rank must be a whole number"):
        power_sgd(SHAPES, rank=1.5)
    with pytest.raises(RankFailed, match=r"shapes hold 117 values, got a vector of shape \(3,\)"):
        Simulated(1).run(reduced, np.zeros((1, 1, 3)), rank=1)
    for dtype in (np.float16, np.int64):
        sentence = f"power_sgd takes float32 or float64, got {np.dtype(dtype)}"
        with pytest.raises(RankFailed, match=sentence):
            Simulated(1).run(reduced, np.zeros((1, 1, DIM), dtype), rank=1)
