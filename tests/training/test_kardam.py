"""Kardam: what its filters let pass, what they cost, and what they can't see."""

import math
from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ddml_kit.attacks import gaussian, label_flip, nan, sign_flip
from ddml_kit.cluster import Exponential, Processes, RankFailed, Simulated, Torchrun
from ddml_kit.problems import LeastSquares, Logistic, digits
from ddml_kit.training.kardam import (
    HELD,
    PASSES,
    REFUSED,
    Judge,
    among_most,
    exponential,
    kardam,
    slowdown_bounds,
)
from ddml_kit.training.optimisers import by_staleness, sgd

N, F = 10, 3


@pytest.fixture(scope="module")
def of_digits():
    train, test = digits().split()
    problem = Logistic(train.x, train.y)
    return problem, problem.on(test.x, test.y)


def uneven(seed=0):
    """A cluster whose workers drift apart; its server does not work."""
    return Simulated(N + 1, slowdowns=[Exponential(range(1, N + 1))], seed=seed)


def judged(problem, cluster=None, **options):
    """What the server says of a run with f = 3 of 10."""
    options = {"clocks": 60, "batch_size": 16, "f": F, "frequency": False, **options}
    run = (cluster or uneven()).run(kardam, problem, sgd(1.0), **options)
    for w in run.results[1:]:
        np.testing.assert_array_equal(w, run.results[0].w)
    return run.results[0]


def still(honest, a, rng):
    """Always the same small vector: its coefficient is 0."""
    return np.full((a, honest.shape[1]), 1e-6, honest.dtype)


def stuck(honest, a, rng):
    """Always the same large vector."""
    lie = 5 * np.random.default_rng(5).standard_normal(honest.shape[1])
    return np.tile(lie.astype(honest.dtype), (a, 1))


# ----------------------------------------------------------------------------- training


def test_it_learns_where_nobody_lies_and_where_three_of_ten_send_noise(of_digits):
    problem, test = of_digits
    assert test.accuracy(judged(problem).w) > 0.9
    among_liars = judged(problem, attack=gaussian, attackers=3)
    assert test.accuracy(among_liars.w) > 0.9
    assert not among_liars.passed[-3:].any()
    unfiltered = judged(problem, attack=gaussian, attackers=3, filters=False)
    assert test.loss(unfiltered.w) > 10 * test.loss(problem.initial())


def test_both_filters_together_learn_too(of_digits):
    problem, test = of_digits
    done = judged(problem, attack=gaussian, attackers=3, frequency=True)
    assert test.accuracy(done.w) > 0.8
    assert not done.passed[-3:].any()
    # With f loud liars 2f + 1 are left, who must then take turns: all but one wait for the slowest.
    assert np.ptp(done.passed[:-3]) <= 1


def test_without_filters_and_in_step_it_is_asynchronous_descent(of_digits):
    problem, _ = of_digits
    run = Simulated(2).run(kardam, problem, sgd(0.5), clocks=6, batch_size=9, filters=False)
    judgement = run.results[0]
    w = problem.initial()
    batches = Simulated(2).run(lambda comm: list(problem.batches(comm.stream("batches"), 9, 6)))
    for batch in batches.results[1]:
        w = w - np.float32(0.5) * problem.gradient(w, batch)
    np.testing.assert_array_equal(judgement.w, w)
    assert judgement.passed.tolist() == [6]
    assert not judgement.staleness.any()
    assert len(run.snapshots) == 7


@pytest.mark.parametrize("cluster", [Processes, Torchrun])
def test_it_runs_on_real_clusters_too(cluster, of_digits):
    problem, test = of_digits
    # NaN, which never passes: noise does if it comes n + 1 times in a row.
    settings = {"clocks": 25, "batch_size": 16, "f": 1, "attack": nan, "attackers": 1}
    run = cluster(5).run(kardam, problem, sgd(1.0), **settings)
    done = run.results[0]
    assert (done.passed + done.refused + done.held).tolist() == [25] * 4
    assert done.passed[-1] == 0
    assert test.loss(done.w) < test.loss(problem.initial())
    for w in run.results[1:]:
        np.testing.assert_array_equal(w, done.w)


def test_nan_never_passes(of_digits):
    problem, test = of_digits
    done = judged(problem, attack=nan, attackers=3)
    assert done.refused[-3:].tolist() == [60] * 3
    assert test.accuracy(done.w) > 0.9


@pytest.mark.parametrize("length", [0, 1, 9, 651])
def test_a_gradient_of_another_length_never_passes(length, of_digits):
    def attack(honest, a, rng):
        return np.full((a, length), 1e-6, honest.dtype)

    problem, test = of_digits
    done = judged(problem, attack=attack, attackers=3)
    assert done.refused[-3:].tolist() == [60] * 3
    assert test.accuracy(done.w) > 0.9


def test_there_is_no_slowdown_of_nothing(of_digits):
    nothing = judged(of_digits[0], clocks=0)
    with pytest.raises(ValueError, match="a slowdown needs gradients that were judged, got none"):
        nothing.slowdown()
    with pytest.raises(ValueError, match="leave an honest worker, got 10 of 10 workers"):
        nothing.slowdown(10)


def test_samples_with_flipped_labels_never_fit_and_their_gradients_jump(of_digits):
    done = judged(of_digits[0], poison=label_flip(10), attackers=3)
    assert 0 < done.passed[-3:].mean() < 0.6 * done.passed[:-3].mean()


# ----------------------------------------------------------------------------- slowdown


def slowdown(problem, attack, attackers):
    """Its mean over some seeds, and its standard error, as if all gradients were independent."""
    shares = [
        judged(problem, uneven(seed), clocks=150, attack=attack, attackers=attackers).slowdown(
            attackers
        )
        for seed in range(3)
    ]
    share = float(np.mean(shares))
    return share, math.sqrt(share * (1 - share) / (3 * 150 * (N - attackers)))


def test_the_slowdown_is_within_its_bounds_and_comes_up_to_both(of_digits):
    least, most = slowdown_bounds(N, F)
    assert (least, most) == (4 / 7, 7 / 10)
    for attack, attackers, bound in ((None, 0, most), (still, 3, least), (sign_flip, 3, most)):
        share, error = slowdown(of_digits[0], attack, attackers)
        assert least - 3 * error <= share <= most + 3 * error
        assert share == pytest.approx(bound, abs=0.03)  # the first gradients of all are refused


def test_loud_liars_are_refused_in_the_place_of_the_honest(of_digits):
    """Above the bound: it counts on liars who hide, or on none."""
    done = judged(of_digits[0], attack=gaussian, attackers=3)
    assert done.slowdown(3) > 0.95 > slowdown_bounds(N, F)[1]


def test_with_f_0_nothing_is_refused(of_digits):
    assert slowdown_bounds(N, 0) == (1.0, 1.0)
    done = judged(of_digits[0], f=0)
    assert done.slowdown() == 1.0
    assert done.passed.tolist() == [60] * N


@given(st.integers(0, 30), st.integers(1, 30))
def test_the_bounds_are_in_order(f, more):
    least, most = slowdown_bounds(3 * f + more, f)
    assert 0.5 < least <= most <= 1


# ----------------------------------------------------------------------------- blindness


def test_a_liar_who_repeats_himself_or_turns_gradients_round_passes(of_digits):
    problem, test = of_digits
    repeats = judged(problem, attack=stuck, attackers=3)
    assert repeats.passed[-3:].min() > 50  # of 60; of the honest about half
    assert test.accuracy(repeats.w) < 0.5
    turned = judged(problem, attack=sign_flip, attackers=3)
    assert turned.passed[-3:].sum() == pytest.approx(3 / 10 * turned.passed.sum(), rel=0.2)
    loud = judged(problem, attack=partial(sign_flip, scale=10.0), attackers=3)
    assert loud.passed[-3:].sum() <= 3  # ten times the gradient, ten times the coefficient


# ----------------------------------------------------------------------------- the filters


def vector(*values):
    return np.array(values, float)


def test_a_coefficient_is_the_gradients_change_over_the_models():
    judge = Judge(4, 0, vector(0, 0))
    assert judge.judge(2, vector(1, 1)) == PASSES
    assert np.isnan(judge.coefficients).all()
    judge.answers(2, vector(3, 4))
    judge.judge(2, vector(1, 11))
    assert judge.coefficients[2] == 2.0  # 10 / 5
    judge.answers(2, vector(3, 3))
    judge.judge(2, vector(1, 10))
    assert judge.coefficients[2] == 1.0  # against the last one, not the first
    judge.judge(2, vector(9, 9))  # of the same model: no coefficient
    assert judge.coefficients[2] == 1.0


def test_the_f_largest_coefficients_are_refused():
    n, f = 7, 2
    judge = Judge(n, f, vector(0.0), frequency=False)
    for worker in range(n):
        judge.judge(worker, vector(0.0))
        judge.answers(worker, vector(1.0))
    for worker in range(n):  # the coefficients are 0, 1, ..., 6
        judge.judge(worker, vector(float(worker)))
        judge.answers(worker, vector(2.0))
    again = [judge.judge(worker, vector(2.0 * worker)) for worker in range(n)]
    assert judge.coefficients.tolist() == list(range(n))
    assert again == [PASSES] * 5 + [REFUSED] * 2


def test_nothing_passes_before_a_majority_could_be_honest():
    judge = Judge(7, 2, vector(0.0))
    verdicts = [judge.judge(worker, vector(1.0)) for worker in range(7)]
    assert verdicts == [REFUSED] * 4 + [PASSES] * 3
    loud = Judge(7, 2, vector(0.0))
    verdicts = [loud.judge(worker, vector(1e6 if worker < 2 else 1.0)) for worker in range(7)]
    assert verdicts == [REFUSED] * 4 + [PASSES] * 3


def test_after_n_refusals_in_a_row_the_next_is_let_through():
    n = 4
    judge = Judge(n, 1, vector(0.0), frequency=False)
    for worker in range(n):
        judge.judge(worker, vector(1.0))
    verdicts = [judge.judge(0, vector(float(10**k))) for k in range(1, 8)]
    assert verdicts == [REFUSED] * 4 + [PASSES] + [REFUSED] * 2
    assert judge.judge(1, vector(1.0)) == PASSES
    assert judge.judge(0, vector(1e9)) == REFUSED  # the count begins again


def test_what_is_not_finite_is_not_even_let_through_after_n():
    judge = Judge(4, 1, vector(0.0), frequency=False)
    for worker in range(4):
        judge.judge(worker, vector(1.0))
    for value in (np.nan, np.inf, -np.inf) * 4:
        assert judge.judge(3, vector(value)) == REFUSED
    assert judge.coefficients[3] == np.inf
    assert judge.judge(0, vector(1.0)) == PASSES
    judge.answers(3, vector(1.0))
    judge.judge(3, vector(1.0))  # it has recovered; its last honest one was at another model
    assert judge.coefficients[3] == 0.0


@given(st.integers(1, 3), st.integers(0, 200))
def test_of_2f_plus_1_in_a_row_that_pass_f_workers_have_at_most_f(f, seed):
    rng = np.random.default_rng(seed)
    n = 3 * f + 1
    judge = Judge(n, f, np.zeros(2))
    passed = []
    for _ in range(300):
        worker = int(rng.integers(n, size=2).min())  # some are much faster than others
        if judge.judge(worker, rng.standard_normal(2)) == PASSES:
            passed.append(worker)
        judge.answers(worker, rng.standard_normal(2))
    for k in range(len(passed) - 2 * f):
        counts = np.bincount(passed[k : k + 2 * f + 1], minlength=n)
        assert np.sort(counts)[-f:].sum() <= f
    assert len(passed) > 2 * f  # else nothing has been tested


def test_held_is_what_the_frequency_filter_alone_stops():
    judge = Judge(4, 1, vector(0.0))
    verdicts = [judge.judge(worker, vector(1.0)) for worker in (0, 1, 2, 2, 0, 2, 1, 2)]
    assert verdicts == [REFUSED, REFUSED, PASSES, HELD, PASSES, HELD, PASSES, PASSES]


@given(st.lists(st.floats(0, 10), min_size=1, max_size=12), st.integers(0, 4))
def test_most_are_all_but_f(values, f):
    known = np.array([*values, np.nan])
    inside = [among_most(known, k, f) for k in range(len(values))]
    if len(values) <= 2 * f:
        assert not any(inside)
    else:
        assert sum(inside) >= len(values) - f
        assert sum(not x for x in inside) <= f


# ----------------------------------------------------------------------------- dampening, errors


def test_dampening():
    assert [exponential(0.5)(tau) for tau in (0, 1, 4)] == [1, math.exp(-0.5), math.exp(-2)]
    assert exponential(0.0)(100) == 1
    for wrong in (-0.1, math.nan):
        with pytest.raises(ValueError, match=f"exponential damping needs alpha >= 0, got {wrong}"):
            exponential(wrong)


def test_a_stale_gradient_counts_less(of_digits):
    problem, _ = of_digits
    moved = {}
    for name, damping in (("none", exponential(0.0)), ("inverse", by_staleness)):
        done = judged(problem, filters=False, damping=damping, clocks=10)
        assert done.staleness.max() > 5
        moved[name] = np.linalg.norm(done.w)
    assert moved["inverse"] < moved["none"] / 2


@pytest.mark.parametrize(
    ("size", "options", "words"),
    [
        (4, {"f": 1}, "Kardam needs n > 3f workers, got n=3 with f=1"),
        (5, {"f": -1}, "f must be 0 liars or more, got -1"),
        (1, {}, "Kardam needs a worker beside its server, got 1 rank"),
        (5, {"attackers": -1}, "attackers must be 0 or more .*, got -1 of 4 workers"),
        (5, {"attackers": 4}, "leave an honest worker, got 4 of 4 workers"),
        (5, {"clocks": -1}, "clocks must be 0 or more, got -1"),
        (5, {"clocks": 1.5}, r"clocks must be a whole number, got 1\.5"),
        (5, {"f": 1.5}, r"f must be a whole number of liars, got 1\.5"),
        (5, {"attackers": 0.5}, r"attackers must be a whole number, got 0\.5"),
    ],
)
def test_bad_numbers_are_refused_before_anything_is_sent(size, options, words):
    problem = LeastSquares(np.ones((8, 2)), np.ones(8))
    with pytest.raises(RankFailed, match=words) as caught:
        Simulated(size).run(kardam, problem, sgd(0.1), **{"clocks": 2, "batch_size": 1, **options})
    assert isinstance(caught.value.__cause__, TypeError if "whole" in words else ValueError)
    assert caught.value.run.messages == 0
    with pytest.raises(ValueError, match="Kardam needs n > 3f workers, got n=6 with f=2"):
        slowdown_bounds(6, 2)
