"""Surfaces: slopes, minima, tilts that add up to nothing, and their maps."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.optimize

from ddml_kit.problems import LeastSquares, Logistic
from ddml_kit.problems.surfaces import Surface, bowl, rosenbrock, saddle, survey

SURFACES = {
    "bowl": bowl(25, noise=0.3),
    "turned bowl": bowl(100, angle=30, noise=0.3),
    "Rosenbrock": rosenbrock(noise=0.3),
    "saddle": saddle(noise=0.3),
}


@pytest.fixture(params=SURFACES)
def surface(request: pytest.FixtureRequest) -> Surface:
    return SURFACES[request.param]


def whole(surface: Surface):
    return next(surface.batches(None, len(surface), 1))


def test_gradient_and_hessian_are_slopes(surface: Surface) -> None:
    h = 1e-6
    for w in (surface.initial(), np.array([0.4, -0.7])):
        for batch in (whole(surface), *surface.batches(None, 3, 1)):
            tilt = batch.x.mean(axis=0)
            ahead = [surface.shape.value(w + h * e) + tilt @ (w + h * e) for e in np.eye(2)]
            behind = [surface.shape.value(w - h * e) + tilt @ (w - h * e) for e in np.eye(2)]
            slopes = (np.array(ahead) - behind) / (2 * h)
            np.testing.assert_allclose(surface.gradient(w, batch), slopes, rtol=1e-5, atol=1e-6)
            products = [
                (surface.gradient(w + h * e, batch) - surface.gradient(w - h * e, batch)) / (2 * h)
                for e in np.eye(2)
            ]
            np.testing.assert_allclose(surface.hessian(w, batch), products, rtol=1e-5, atol=1e-6)
            np.testing.assert_allclose(
                surface.hvp(w, np.array([1.0, 2.0]), batch),
                surface.hessian(w, batch) @ [1.0, 2.0],
            )


def test_the_least_is_at_the_minima_and_nowhere_lower(surface: Surface) -> None:
    for w in np.array(surface.shape.minima):
        assert surface.loss(w) == pytest.approx(surface.shape.least, abs=1e-12)
        assert np.abs(surface.gradient(w, whole(surface))).max() < 1e-12
    plane = survey(surface, surface.shape.x, surface.shape.y, 31)
    assert plane.height.min() >= surface.shape.least - 1e-12
    found = scipy.optimize.minimize(
        surface.loss, surface.initial() + np.array([0, 0.1]), method="BFGS"
    )
    assert found.fun == pytest.approx(surface.shape.least, abs=1e-6)


def test_start_and_minima_are_on_the_map(surface: Surface) -> None:
    shape = surface.shape
    for a, b in (shape.start, *shape.minima):
        assert shape.x[0] < a < shape.x[1]
        assert shape.y[0] < b < shape.y[1]


def test_noise_falls_with_the_root_of_the_batch(surface: Surface) -> None:
    w = surface.initial()
    exact = surface.shape.gradient(w)
    rng = np.random.default_rng(0)
    for size in (1, 16):
        off = [
            surface.gradient(w, batch) - exact for batch in surface.batches(rng, size, 4096 // size)
        ]
        assert np.std(off) == pytest.approx(0.3 / np.sqrt(size), rel=0.15)
    np.testing.assert_allclose(surface.gradient(w, whole(surface)), exact, atol=1e-14)


@pytest.mark.parametrize("angle", [0.0, 30.0, 45.0, 90.0])
def test_a_bowl_has_the_condition_that_was_asked_for_and_lies_as_asked(angle: float) -> None:
    straight, turned = bowl(50), bowl(50, angle=angle)
    H = turned.hessian(np.zeros(2), whole(turned))
    values, vectors = np.linalg.eigh(H)
    np.testing.assert_allclose(values, [1 / 50, 1.0])
    along = vectors[:, 0] * np.sign(vectors[:, 0].sum())
    np.testing.assert_allclose(along, [np.cos(np.radians(angle)), np.sin(np.radians(angle))],
                               atol=1e-12)  # fmt: skip
    assert turned.loss(turned.initial()) == pytest.approx(straight.loss(straight.initial()))


def test_a_slope_out_of_sight_counts_as_infinite() -> None:
    surface = rosenbrock()
    with pytest.raises(FloatingPointError, match="the gradient must be finite, got 2 of 2"):
        surface.gradient(np.array([1e60, 1.0]), whole(surface))
    with pytest.raises(FloatingPointError, match="the gradient must be finite"):
        surface.gradient(np.array([1e200, 1.0]), whole(surface))
    assert surface.loss(np.array([1e200, 1.0])) == np.inf


def test_a_map_holds_the_loss_at_each_point() -> None:
    problem = LeastSquares(np.array([[1.0, 2.0], [0.0, 1.0]]), np.array([1.0, -1.0]))
    plane = survey(problem, (-1, 3), (0, 2), 5)
    assert plane.height.shape == (5, 5)
    assert plane.height[1, 3] == problem.loss(np.array([plane.x[3], plane.y[1]]))
    assert (plane.x[0], plane.x[-1], plane.y[0], plane.y[-1]) == (-1, 3, 0, 2)
    with pytest.raises(ValueError, match="a map is of two numbers, this problem has 3"):
        survey(Logistic(np.eye(3), np.array([0, 1, 0])), (0, 1), (0, 1))


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: bowl(0.5), "a condition number is 1 or more, got 0.5"),
        (lambda: saddle(noise=-1), "noise must be 0 or more, got -1"),
        (lambda: rosenbrock(samples=0), "a surface needs 1 sample or more, got 0"),
        (
            lambda: Surface(bowl(2).shape, np.zeros(3)),
            r"a surface needs tilts \(n, 2\), got \(3,\)",
        ),
    ],
)
def test_bad_input_gets_a_sentence(make, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        make()
