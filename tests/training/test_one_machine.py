"""Training on one machine: plain loops, the same bits on every cluster, and what is booked."""

from __future__ import annotations

import itertools
from functools import partial

import numpy as np
import pytest

from ddml_kit.cluster import Processes, RankFailed, Simulated
from ddml_kit.problems import Logistic, digits
from ddml_kit.problems.surfaces import bowl
from ddml_kit.training.adaptive import adam
from ddml_kit.training.data_parallel import data_parallel
from ddml_kit.training.momentum import momentum
from ddml_kit.training.newton import newton
from ddml_kit.training.one_machine import mini_batch, whole_batch
from ddml_kit.training.optimisers import sgd
from ddml_kit.training.quasi_newton import bfgs, lbfgs

IMAGES, _ = digits().take(np.arange(300)).split(test=0.2, seed=0)


def softmax() -> Logistic:
    return Logistic(IMAGES.x, IMAGES.y, l2=1e-2, dtype=np.float64)


@pytest.mark.parametrize("optimiser", [sgd(0.5), momentum(0.1), adam(0.01)])
def test_it_is_the_plain_loop_and_data_parallel_training_of_one(optimiser) -> None:
    problem, options = softmax(), {"steps": 30, "batch_size": 16}
    run = Simulated(1, seed=3).run(mini_batch, problem, optimiser, **options)
    stream = Simulated(1, seed=3).run(lambda comm: comm.stream("batches")).results[0]
    w = problem.initial()
    step = optimiser(w)
    for batch in problem.batches(stream, 16, 30):
        step(problem.gradient(w, batch), 1.0)
    np.testing.assert_array_equal(run.results[0], w)
    parallel = Simulated(1, seed=3).run(data_parallel, problem, optimiser, **options)
    np.testing.assert_array_equal(parallel.results[0], w)
    measured = Processes(1, seed=3).run(mini_batch, problem, optimiser, **options)
    np.testing.assert_array_equal(measured.results[0], w)


def test_batch_and_rate_may_follow_the_step() -> None:
    problem = softmax()
    run = Simulated(1).run(
        mini_batch,
        problem,
        sgd(0.5),
        steps=4,
        batch_size=lambda k: 10 * (k + 1),
        schedule=lambda k: 1.0 if k < 2 else 0.0,
    )
    assert [s.step for s in run.snapshots] == [0, 1, 2, 3, 4]
    moved = [np.abs(b.w - a.w).max() > 0 for a, b in itertools.pairwise(run.snapshots)]
    assert moved == [True, True, False, False]
    assert run.seconds == pytest.approx(sum(10 * k for k in (1, 2, 3, 4)) * 4 * 640 / 1e9)


def test_seconds_are_those_of_the_batches() -> None:
    problem = softmax()
    run = Simulated(1).run(mini_batch, problem, sgd(0.5), steps=6, batch_size=40)
    assert run.seconds == pytest.approx(240 * 4 * 640 / 1e9)


@pytest.mark.parametrize("method", [newton, bfgs, partial(lbfgs, memory=5)])
def test_whole_batch_training_is_the_method_and_ends_where_it_is_flat(method) -> None:
    problem = softmax()
    [everything] = problem.batches(None, len(problem), 1)
    runs = [
        where.run(whole_batch, problem, method, steps=200, tolerance=1e-5)
        for where in (Simulated(1), Processes(1))
    ]
    [simulated], [measured] = (run.results for run in runs)
    np.testing.assert_array_equal(simulated.w, measured.w)
    assert (simulated.steps, simulated.evaluations) == (measured.steps, measured.evaluations)
    flat = [np.abs(problem.gradient(s.w, everything)).max() <= 1e-5 for s in runs[0].snapshots]
    assert flat == [False] * (len(flat) - 1) + [True]
    assert len(flat) == simulated.steps + 1 < 200
    assert simulated.evaluations > simulated.steps
    curve = runs[0].curve(problem.loss)
    assert (np.diff(curve.value) < 0).all()
    assert problem.accuracy(simulated.w) > 0.9


def test_whole_batch_training_takes_so_many_steps_and_no_more() -> None:
    for steps in (0, 1, 3):
        run = Simulated(1).run(whole_batch, softmax(), lbfgs, steps=steps)
        assert len(run.snapshots) == steps + 1
        assert run.results[0].steps == steps
        np.testing.assert_array_equal(run.results[0].w, run.snapshots[-1].w)
    run = Simulated(1).run(whole_batch, softmax(), lbfgs, steps=99, loss=1.0)
    above = [softmax().loss(s.w) > 1.0 for s in run.snapshots]
    assert above == [True] * (len(above) - 1) + [False]


def test_a_step_of_newton_is_dearer_than_one_of_lbfgs() -> None:
    problem = softmax()
    one = {
        method: Simulated(1).run(whole_batch, problem, method, steps=1).seconds
        for method in (newton, lbfgs)
    }
    [everything] = problem.batches(None, len(problem), 1)
    hessian = problem.hessian_seconds(everything) + 2 / 3 * problem.dim**3 / 1e9
    assert one[newton] == pytest.approx(2 * problem.seconds(everything) + hessian)
    assert one[lbfgs] < 5 * problem.seconds(everything)


def test_a_step_too_large_is_an_error_that_says_so() -> None:
    with pytest.raises(RankFailed, match=r"the gradient must be finite.* step size is too large"):
        Simulated(1).run(mini_batch, bowl(10), sgd(1e3), steps=200, batch_size=256)
