"""Whole-batch methods: against SciPy's, the dense formulas, and what is proved of quadratics."""

from __future__ import annotations

import itertools
import math
from functools import partial

import numpy as np
import pytest
import scipy.optimize
import scipy.sparse.linalg
from hypothesis import given
from hypothesis import strategies as st

from ddml_kit.problems import LeastSquares, Logistic, Problem, Quadratic, digits
from ddml_kit.problems.surfaces import bowl, rosenbrock, saddle
from ddml_kit.training.conjugate_gradient import FLAT, conjugate_gradient
from ddml_kit.training.line_search import backtracking, exact_on_quadratics, strong_wolfe
from ddml_kit.training.newton import damped_newton, newton
from ddml_kit.training.objective import Objective, Point, following
from ddml_kit.training.objective import minimise as walk
from ddml_kit.training.optimisers import sgd
from ddml_kit.training.quasi_newton import bfgs, lbfgs, two_loops, updated

METHODS = {
    "BFGS": (bfgs, "BFGS"),
    "L-BFGS": (lbfgs, "L-BFGS-B"),
    "conjugate gradient": (conjugate_gradient, "CG"),
}


def odd_digits() -> Logistic:
    """Is the digit odd? With rows and a penalty that make it ill-conditioned."""
    images, _ = digits().split(test=0.2, seed=0)
    return Logistic(images.x, images.y % 2, l2=1e-3, dtype=np.float64)


def of_numbers() -> LeastSquares:
    rng = np.random.default_rng(2)
    x = rng.standard_normal((60, 8)) * np.logspace(0, -1.5, 8)
    return LeastSquares(x, rng.standard_normal(60))


PROBLEMS = {
    "bowl": lambda: bowl(100, angle=30),
    "Rosenbrock": rosenbrock,
    "saddle": saddle,
    "odd digits": odd_digits,
    "numbers": of_numbers,
}


def unbooked(seconds: float) -> None:
    """What is asked of the objective costs nothing."""


def objective(problem: Problem) -> Objective:
    return Objective.of(problem, unbooked)


def minimise(*args, **options) -> list[Point]:
    return list(walk(*args, **options))


def by_scipy(problem: Problem, method: str, tolerance: float, **options):
    [everything] = problem.batches(None, len(problem), 1)
    if method == "L-BFGS-B":
        options |= {"ftol": 0.0, "maxfun": 10**6}
    return scipy.optimize.minimize(
        lambda w: (problem.loss(w), problem.gradient(w, everything)),
        problem.initial(),
        jac=True,
        method=method,
        options={"gtol": tolerance, "maxiter": 10**5, **options},
    )


# ------------------------------------------------------------------------------ SciPy


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", PROBLEMS)
def test_the_same_minimum_as_scipy_after_about_as_many_steps(method: str, name: str) -> None:
    """Searches differ in their first lengths and their interpolation, so steps do as well."""
    problem, (ours, theirs) = PROBLEMS[name](), METHODS[method]
    f, tolerance = objective(problem), 1e-6
    points = minimise(ours, f, problem.initial(), steps=2000, tolerance=tolerance)
    found = by_scipy(problem, theirs, tolerance)
    assert np.abs(points[-1].gradient).max() <= tolerance
    assert points[-1].value == pytest.approx(found.fun, abs=1e-7)
    np.testing.assert_allclose(np.abs(points[-1].w), np.abs(found.x), atol=0.02)
    assert len(points) - 1 <= 1.5 * found.nit + 3
    assert f.evaluations <= 1.5 * found.nfev + 3
    values = [point.value for point in points]
    assert all(after < before for before, after in itertools.pairwise(values))


@pytest.mark.parametrize("name", ["bowl", "Rosenbrock", "odd digits", "numbers"])
@pytest.mark.parametrize("method", [newton, damped_newton])
def test_newton_finds_the_minimum_of_scipy(method, name: str) -> None:
    problem = PROBLEMS[name]()
    f = objective(problem)
    points = minimise(method, f, problem.initial(), steps=60, tolerance=1e-9)
    found = by_scipy(problem, "BFGS", 1e-9)
    assert np.abs(points[-1].gradient).max() <= 1e-9
    np.testing.assert_allclose(points[-1].w, found.x, atol=1e-5)
    assert f.hessians == len(points) - 1


# ---------------------------------------------------------------------------- quadratics


def quadratic(dim: int, condition: float, seed: int = 0) -> Quadratic:
    rng = np.random.default_rng(seed)
    turn, _ = np.linalg.qr(rng.standard_normal((dim, dim)))
    A = turn @ np.diag(np.logspace(0, -math.log10(condition), dim)) @ turn.T
    return Quadratic((A + A.T) / 2, rng.standard_normal(dim))


@given(dim=st.integers(1, 12), condition=st.floats(1, 1e4), seed=st.integers(0, 99))
def test_newton_needs_one_step_on_a_quadratic(dim: int, condition: float, seed: int) -> None:
    problem = quadratic(dim, condition, seed)
    for method in (newton, damped_newton):
        points = minimise(method, objective(problem), problem.initial(), steps=1)
        solution = np.linalg.solve(problem.x[0], problem.y[0])
        scale = np.abs(solution).max()
        np.testing.assert_allclose(points[1].w, solution, rtol=1e-7, atol=1e-9 * scale)


def test_conjugate_gradients_are_those_of_the_linear_method_step_by_step() -> None:
    problem = quadratic(9, 50.0)
    A, b = problem.x[0], problem.y[0]
    theirs = [np.zeros(9)]
    scipy.sparse.linalg.cg(A, b, rtol=0, atol=0, maxiter=9, callback=lambda w: theirs.append(w + 0))
    method = partial(conjugate_gradient, search=exact_on_quadratics)
    ours = minimise(method, objective(problem), problem.initial(), steps=9)
    assert len(ours) == len(theirs) == 10
    for point, w in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(point.w, w, atol=1e-8)
    assert np.abs(ours[-1].gradient).max() < 1e-9 < 1e-3 < np.abs(ours[-2].gradient).max()


def test_bfgs_on_a_quadratic_with_exact_searches_learns_its_hessian() -> None:
    """Theorem 6.4 of Nocedal and Wright: at the minimum after dim steps, as conjugate gradients."""
    problem = quadratic(6, 30.0)
    f = objective(problem)
    for method in (bfgs, partial(lbfgs, memory=6)):
        exact = partial(method, search=exact_on_quadratics)
        points = minimise(exact, f, problem.initial(), steps=6)
        conjugate = minimise(
            partial(conjugate_gradient, search=exact_on_quadratics), f, problem.initial(), steps=6
        )
        for ours, theirs in zip(points, conjugate, strict=True):
            np.testing.assert_allclose(ours.w, theirs.w, atol=1e-6)
    B = np.eye(6)
    for before, after in itertools.pairwise(points):
        B = updated(B, after.w - before.w, after.gradient - before.gradient)
    np.testing.assert_allclose(B @ problem.x[0], np.eye(6), atol=1e-6)


# -------------------------------------------------------------------------------- L-BFGS


@given(dim=st.integers(1, 10), memory=st.integers(0, 12), seed=st.integers(0, 99))
def test_two_loops_are_the_dense_formula(dim: int, memory: int, seed: int) -> None:
    """Equation 6.17 with whole matrices, from the multiple of the identity that 7.20 gives."""
    rng = np.random.default_rng(seed)
    root = rng.standard_normal((dim, dim))
    H = root @ root.T + np.eye(dim)
    steps = [rng.standard_normal(dim) for _ in range(memory)]
    changes = [H @ s for s in steps]
    gradient = rng.standard_normal(dim)
    B = np.eye(dim)
    if memory:
        B *= (steps[-1] @ changes[-1]) / (changes[-1] @ changes[-1])
    for s, y in zip(steps, changes, strict=True):
        rho, identity = 1 / (y @ s), np.eye(dim)
        left, right = identity - rho * np.outer(s, y), identity - rho * np.outer(y, s)
        expected = left @ B @ right + rho * np.outer(s, s)
        np.testing.assert_allclose(updated(B, s, y), expected, rtol=1e-6, atol=1e-9)
        np.testing.assert_allclose(expected @ y, s, rtol=1e-6, atol=1e-9)  # the secant equation
        B = expected
    before = gradient.copy()
    np.testing.assert_allclose(
        two_loops(gradient, steps, changes), B @ gradient, rtol=1e-6, atol=1e-9
    )
    np.testing.assert_array_equal(gradient, before)


def test_lbfgs_s_first_step_is_that_of_scipy() -> None:
    problem = odd_digits()
    [_, first, *_] = minimise(lbfgs, objective(problem), problem.initial(), steps=1)
    theirs = by_scipy(problem, "L-BFGS-B", 0.0, maxiter=1)
    np.testing.assert_allclose(first.w, theirs.x, rtol=1e-9)


def test_after_a_step_bfgs_and_lbfgs_have_the_same_matrix() -> None:
    """Both have taken its scale from the first pair (6.20 and 7.20)."""
    problem = odd_digits()
    whole, limited = (
        minimise(method, objective(problem), problem.initial(), steps=2) for method in (bfgs, lbfgs)
    )
    for ours, theirs in zip(whole, limited, strict=True):
        np.testing.assert_allclose(ours.w, theirs.w, rtol=1e-9, atol=1e-12)


def test_a_longer_memory_needs_fewer_steps() -> None:
    problem = odd_digits()

    def steps(memory: int) -> int:
        method = partial(lbfgs, memory=memory)
        return len(
            minimise(method, objective(problem), problem.initial(), steps=2000, tolerance=1e-6)
        )

    assert steps(1) > steps(5) > steps(40)


def test_a_memory_of_all_steps_is_bfgs_with_another_start() -> None:
    """On a function of two numbers both have forgotten the start after some steps."""
    problem = rosenbrock()
    long = minimise(partial(lbfgs, memory=10**6), objective(problem), problem.initial(), steps=200,
                    tolerance=1e-6)  # fmt: skip
    full = minimise(bfgs, objective(problem), problem.initial(), steps=200, tolerance=1e-6)
    assert abs(len(long) - len(full)) <= 5


# ---------------------------------------------------------------------------- searches


@pytest.mark.parametrize("c2", [0.1, 0.9])
@pytest.mark.parametrize("first", [1e-6, 0.01, 1.0, 300.0])
@pytest.mark.parametrize("name", PROBLEMS)
def test_strong_wolfe_fulfils_its_conditions(name: str, first: float, c2: float) -> None:
    problem = PROBLEMS[name]()
    f = objective(problem)
    at = f.at(problem.initial() + 0.1)
    direction = -at.gradient / np.linalg.norm(at.gradient)
    new = strong_wolfe(f, at, direction, first, c2=c2)
    assert new is not None
    length, slope = (new.w - at.w) @ direction, at.gradient @ direction
    assert new.value <= at.value + 1e-4 * length * slope
    assert abs(new.gradient @ direction) <= c2 * abs(slope)
    assert f.evaluations <= 20


def test_flat_enough_is_nine_tenths_of_the_slope_if_nothing_else_is_said() -> None:
    problem = bowl(4)
    f = objective(problem)
    at = f.at(np.array([0.0, 1.0]))
    down = np.array([0.0, -1.0])
    for first, trials in ((0.09, 2), (0.11, 1)):  # the slope falls from -1 by as much as one goes
        before = f.evaluations
        new = strong_wolfe(f, at, down, first)
        assert new is not None
        assert f.evaluations - before == trials


def line(value, slope):
    """A function of one number as an objective."""
    return Objective(lambda w: (value(w[0]), np.array([slope(w[0])])))


def test_strong_wolfe_goes_far_where_it_has_to_and_gives_up_where_there_is_no_end() -> None:
    f = line(lambda x: (x - 1e6) ** 2, lambda x: 2 * (x - 1e6))
    new = strong_wolfe(f, f.at(np.zeros(1)), np.ones(1), 1.0, c2=1e-3)
    assert new is not None
    assert new.w[0] == pytest.approx(1e6, rel=1e-3)
    assert f.evaluations <= 15  # fourfold lengths: 10 to get there, and some in between
    endless = line(lambda x: -x, lambda x: -1.0)
    new = strong_wolfe(endless, endless.at(np.zeros(1)), np.ones(1), 1.0)
    assert new is not None
    assert new.value < -1e9
    assert endless.evaluations == 31


def test_a_search_survives_an_infinite_value() -> None:
    f = line(
        lambda x: -math.log(x) + x if 0 < x < 100 else math.inf,
        lambda x: 1 - 1 / x if 0 < x < 100 else math.nan,
    )
    new = strong_wolfe(f, f.at(np.array([0.01])), np.ones(1), 5000.0, c2=1e-3)
    assert new is not None
    assert new.w[0] == pytest.approx(1.0, abs=0.1)


@pytest.mark.parametrize("search", [backtracking, exact_on_quadratics, strong_wolfe, FLAT])
def test_a_search_uphill_finds_nothing(search) -> None:
    problem = bowl(4)
    f = objective(problem)
    at = f.at(problem.initial())
    assert search(f, at, at.gradient, 1.0) is None
    assert search(f, at, np.zeros(2), 1.0) is None


@pytest.mark.parametrize("search", [backtracking, exact_on_quadratics, strong_wolfe, FLAT])
def test_a_step_that_rounding_cannot_tell_from_none_is_none(search) -> None:
    f = line(lambda x: 1.0, lambda x: -1e-20 * (1 - x))
    assert search(f, f.at(np.zeros(1)), np.ones(1), 1.0) is None


def test_backtracking_halves_until_it_is_lower() -> None:
    f = line(lambda x: x**4, lambda x: 4 * x**3)
    at = f.at(np.ones(1))
    new = backtracking(f, at, -at.gradient, 1.0)
    assert new is not None
    assert f.evaluations == 1 + 3  # 1, 1/2 (to -1: as high), 1/4
    assert new.w[0] == 0.0


def test_an_exact_search_needs_a_line_that_bends_up() -> None:
    f = line(lambda x: -(x**2), lambda x: -2 * x)
    at = f.at(np.ones(1))
    assert exact_on_quadratics(f, at, np.ones(1), 1.0) is None


# ------------------------------------------------------------- where there is no minimum


def test_newton_walks_to_the_saddle_and_the_others_past_it() -> None:
    problem = saddle()
    start, f = problem.initial(), objective(problem)
    [*_, end] = minimise(newton, f, start, steps=20, tolerance=1e-9)
    np.testing.assert_allclose(end.w, 0.0, atol=1e-9)
    for method in (damped_newton, bfgs, lbfgs, conjugate_gradient):
        [*_, end] = minimise(method, f, start, steps=100, tolerance=1e-9)
        np.testing.assert_allclose(np.abs(end.w), [0, 1], atol=1e-6)


def test_damped_newton_bends_a_step_that_would_lead_up() -> None:
    """Where all curvatures are negative, and exactly on the ridge of a saddle."""
    f = Objective(
        lambda w: (float(np.cos(w).sum()), -np.sin(w)), hessian=lambda w: np.diag(-np.cos(w))
    )
    [*_, end] = minimise(damped_newton, f, np.array([0.3, -0.2]), steps=50, tolerance=1e-10)
    np.testing.assert_allclose(np.abs(end.w) % (2 * np.pi), np.pi, atol=1e-8)


def test_a_method_ends_at_the_minimum_whatever_rounding_does() -> None:
    problem = odd_digits()
    for method in (bfgs, lbfgs, conjugate_gradient, damped_newton):
        points = minimise(method, objective(problem), problem.initial(), steps=3000)
        assert len(points) < 3000
        assert np.abs(points[-1].gradient).max() < 1e-6


def test_a_start_at_the_minimum_is_the_end() -> None:
    problem = Quadratic(np.eye(3), np.zeros(3))
    for method in (bfgs, lbfgs, conjugate_gradient, damped_newton):
        assert len(list(method(objective(problem), np.zeros(3)))) == 1
        [only] = minimise(method, objective(problem), np.zeros(3), steps=9)
        assert only.value == 0


# ------------------------------------------------------------------------------ bad input


def test_what_a_method_needs_is_said_in_a_sentence() -> None:
    f = Objective(lambda w: (float(w @ w), 2 * w))
    with pytest.raises(ValueError, match="needs second derivatives: give the objective a hessian"):
        minimise(newton, f, np.ones(2), steps=1)
    singular = Objective(lambda w: (w[0] ** 2, np.array([2 * w[0], 0])), lambda w: np.diag([2, 0]))
    with pytest.raises(ValueError, match="that can be inverted, got one of rank 1 for 2 numbers"):
        minimise(newton, singular, np.ones(2), steps=1)
    with pytest.raises(ValueError, match="a memory of 1 or more, got 0"):
        minimise(partial(lbfgs, memory=0), f, np.ones(2), steps=1)


def test_an_optimiser_is_a_method_and_a_value_ends_it() -> None:
    problem = quadratic(4, 5.0)
    f = objective(problem)
    points = minimise(following(sgd(0.7)), f, problem.initial(), steps=9)
    w = problem.initial()
    for point in points:
        np.testing.assert_allclose(point.w, w, atol=1e-12)
        w = w - 0.7 * (problem.x[0] @ w - problem.y[0])
    assert len(points) == 10
    level = points[3].value
    again = minimise(following(sgd(0.7)), f, problem.initial(), steps=9, value=level)
    assert [p.value for p in again] == [p.value for p in points[:4]]


def test_an_objective_counts() -> None:
    problem = quadratic(3, 2.0)
    seconds = []
    f = Objective.of(problem, seconds.append)
    minimise(newton, f, problem.initial(), steps=2, tolerance=-1.0)
    [everything] = problem.batches(None, 1, 1)
    assert (f.evaluations, f.hessians) == (3, 2)
    assert sum(seconds) == pytest.approx(
        3 * problem.seconds(everything)
        + 2 * problem.hessian_seconds(everything)
        + 2 * (2 / 3 * 3**3) / 1e9
    )
    assert isinstance(f.at(problem.initial()), Point)
