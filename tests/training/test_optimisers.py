"""Optimisers on the server: against the formulas of their papers, torch by hand, plain loops."""

import math

import numpy as np
import pytest
import scipy.linalg
import torch

from ddml_kit.cluster import RankFailed, Simulated
from ddml_kit.problems import Logistic, Sparse
from ddml_kit.training.adaptive import adagrad as our_adagrad
from ddml_kit.training.adaptive import adam as our_adam
from ddml_kit.training.adaptive import rmsprop as our_rmsprop
from ddml_kit.training.momentum import momentum as our_momentum
from ddml_kit.training.momentum import nesterov as our_nesterov
from ddml_kit.training.optimisers import by_staleness, from_torch, power, sgd, shampoo
from ddml_kit.training.parameter_server import parameter_server

DIM, STEPS = 7, 12
SCALES = [1.0, 0.5, 1.0, 0.25, 1 / 3] * 3


def gradients(dim=DIM, steps=STEPS, dtype=np.float64, seed=0):
    """(steps, dim); coordinates differ in size, so that methods differ in direction."""
    rng = np.random.default_rng(seed)
    return (rng.standard_normal((steps, dim)) * np.logspace(-2, 1, dim)).astype(dtype)


def start(dim=DIM, dtype=np.float64):
    return np.random.default_rng(1).standard_normal(dim).astype(dtype)


def run(optimiser, w, gradients, scales=SCALES):
    step = optimiser(w)
    for gradient, scale in zip(gradients, scales, strict=False):
        step(gradient, scale)
    return w


# --------------------------------------------------- the formulas, each as in its source


def plain(w, gradients, scales, lr=0.1):
    """Robbins & Monro 1951: w -= lr g."""
    for g, scale in zip(gradients, scales, strict=False):
        w = w - scale * lr * g
    return w


def momentum(w, gradients, scales, lr=0.1, mu=0.9):
    """Polyak 1964, as torch writes it: v = mu v + g, w -= lr v."""
    v = 0.0
    for g, scale in zip(gradients, scales, strict=False):
        v = mu * v + g
        w = w - scale * lr * v
    return w


def nesterov(w, gradients, scales, lr=0.1, mu=0.9):
    """Nesterov 1983 in the form of Sutskever et al. 2013 at the looked-ahead point."""
    v = 0.0
    for g, scale in zip(gradients, scales, strict=False):
        v = mu * v + g
        w = w - scale * lr * (g + mu * v)
    return w


def adagrad(w, gradients, scales, lr=0.1, eps=1e-10):
    """Duchi, Hazan & Singer 2011, the diagonal form: w -= lr g / sqrt(sum of g^2)."""
    s = 0.0
    for g, scale in zip(gradients, scales, strict=False):
        s = s + g**2
        w = w - scale * lr * g / (np.sqrt(s) + eps)
    return w


def rmsprop(w, gradients, scales, lr=0.1, alpha=0.99, eps=1e-8):
    """Tieleman & Hinton 2012, lecture 6e: s = alpha s + (1 - alpha) g^2."""
    s = 0.0
    for g, scale in zip(gradients, scales, strict=False):
        s = alpha * s + (1 - alpha) * g**2
        w = w - scale * lr * g / (np.sqrt(s) + eps)
    return w


def adam(w, gradients, scales, lr=0.1, beta=(0.9, 0.999), eps=1e-8):
    """Kingma & Ba 2015, arXiv 1412.6980, algorithm 1."""
    m = v = 0.0
    for t, (g, scale) in enumerate(zip(gradients, scales, strict=False), 1):
        m = beta[0] * m + (1 - beta[0]) * g
        v = beta[1] * v + (1 - beta[1]) * g**2
        step = (m / (1 - beta[0] ** t)) / (np.sqrt(v / (1 - beta[1] ** t)) + eps)
        w = w - scale * lr * step
    return w


FORMULAS = [
    (plain, torch.optim.SGD, {}),
    (momentum, torch.optim.SGD, {"momentum": 0.9}),
    (nesterov, torch.optim.SGD, {"momentum": 0.9, "nesterov": True}),
    (adagrad, torch.optim.Adagrad, {}),
    (rmsprop, torch.optim.RMSprop, {}),
    (adam, torch.optim.Adam, {}),
]
NAMES = [formula.__name__ for formula, _, _ in FORMULAS]


@pytest.mark.parametrize(("formula", "kind", "options"), FORMULAS, ids=NAMES)
@pytest.mark.parametrize("scales", [[1.0] * STEPS, SCALES], ids=["whole", "scaled"])
def test_torch_on_the_server_is_the_formula(formula, kind, options, scales):
    gs = gradients()
    w = run(from_torch(kind, lr=0.1, **options), start(), gs, scales)
    np.testing.assert_allclose(w, formula(start(), gs, scales), rtol=1e-6, atol=1e-6)


def test_the_formulas_differ_on_these_gradients():
    ends = [formula(start(), gradients(), SCALES) for formula, _, _ in FORMULAS]
    for k, one in enumerate(ends):
        assert all(np.abs(one - other).max() > 1e-2 for other in ends[:k])


@pytest.mark.parametrize(("formula", "kind", "options"), FORMULAS, ids=NAMES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_torch_on_the_server_is_torch_by_hand_to_the_bit(formula, kind, options, dtype):
    gs = gradients(dtype=dtype)
    ours = run(from_torch(kind, lr=0.1, **options), start(dtype=dtype), gs)
    parameter = torch.nn.Parameter(torch.tensor(start(dtype=dtype)))
    inner = kind([parameter], lr=0.1, **options)
    for g, scale in zip(gs, SCALES, strict=False):
        inner.param_groups[0]["lr"] = scale * 0.1
        parameter.grad = torch.tensor(g)
        inner.step()
    assert ours.dtype == dtype
    np.testing.assert_array_equal(ours, parameter.detach().numpy())


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_sgd_is_that_of_torch(dtype):
    gs = gradients(dtype=dtype)
    ours = run(sgd(0.1), start(dtype=dtype), gs)
    assert ours.dtype == dtype
    theirs = run(from_torch(torch.optim.SGD, lr=0.1), start(dtype=dtype), gs)
    np.testing.assert_allclose(ours, theirs, rtol=10 * np.finfo(dtype).eps)


def test_without_a_rate_torch_takes_its_own():
    gs = gradients()
    ours, theirs = (
        run(from_torch(torch.optim.Adam, **options), start(), gs) for options in ({}, {"lr": 1e-3})
    )
    np.testing.assert_array_equal(ours, theirs)


# ---------------------------------------------------------------- what all of them promise

ALL = {
    "sgd": sgd(0.1),
    "momentum": our_momentum(0.1),
    "nesterov": our_nesterov(0.1),
    "adagrad": our_adagrad(0.1),
    "rmsprop": our_rmsprop(0.1),
    "adam": our_adam(0.1),
    "torch's adam": from_torch(torch.optim.Adam, lr=0.1),
    "torch's nesterov": from_torch(torch.optim.SGD, lr=0.1, momentum=0.9, nesterov=True),
    "shampoo": shampoo(0.1, shapes=[(2, 3), ()], momentum=0.5),
}


@pytest.mark.parametrize("optimiser", ALL.values(), ids=ALL)
def test_the_vector_is_changed_in_place_and_the_gradient_is_not(optimiser):
    w = start(dtype=np.float32)
    gs = gradients(dtype=np.float32)
    gs.flags.writeable = False
    before, kept = w.copy(), gs.copy()
    assert run(optimiser, w, gs) is w
    assert w.dtype == np.float32
    assert (w != before).all()
    np.testing.assert_array_equal(gs, kept)


@pytest.mark.parametrize("optimiser", ALL.values(), ids=ALL)
def test_the_scale_scales_the_step(optimiser):
    [g] = gradients(steps=1)
    whole, quarter, again = start(), start(), start()
    optimiser(whole)(g, 1.0)
    optimiser(quarter)(g, np.float64(0.25))
    optimiser(again)(g, 1.0)
    np.testing.assert_allclose(quarter - start(), (whole - start()) / 4, rtol=1e-12)
    np.testing.assert_array_equal(again, whole)  # a step's state is its own


@pytest.mark.parametrize("optimiser", ALL.values(), ids=ALL)
def test_a_scale_of_numpy_widens_nothing(optimiser):
    gs = gradients(steps=200, dtype=np.float32)
    scales = np.random.default_rng(0).uniform(0, 1, 200)
    by_float, by_numpy = (
        run(optimiser, start(dtype=np.float32), gs, [kind(s) for s in scales])
        for kind in (float, np.float64)
    )
    np.testing.assert_array_equal(by_float, by_numpy)


@pytest.mark.parametrize("optimiser", ALL.values(), ids=ALL)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_sparse_gradient_is_a_dense_one_with_zeros(optimiser, dtype):
    gs = gradients(dtype=dtype)
    gs[:, [0, 2, 5]] = 0
    where = np.array([1, 3, 4, 6])
    sparse = [Sparse(where, g[where]) for g in gs]
    ours, expected = (run(optimiser, start(dtype=dtype), g) for g in (sparse, gs))
    assert ours.dtype == dtype
    np.testing.assert_allclose(ours, expected, rtol=10 * np.finfo(dtype).eps)


def test_sgd_and_adagrad_leave_what_a_sparse_gradient_lacks():
    for optimiser in (sgd(0.1), from_torch(torch.optim.Adagrad, lr=0.1)):
        w = start()
        run(optimiser, w, [Sparse(np.array([3]), np.array([2.0]))] * 4)
        assert list(np.flatnonzero(w != start())) == [3]


# --------------------------------------------------------------------------------- Shampoo


def root(matrix, exponent):
    """By scipy's Schur-Padé, whose rounding may leave imaginary parts of 1e-10."""
    found = scipy.linalg.fractional_matrix_power(matrix, exponent)
    assert np.abs(found.imag).max() < 1e-6 * np.abs(found).max()
    return found.real


def by_loops(w, gradients, scales, shapes, lr=0.1, epsilon=1e-4, momentum=0.0):
    """Algorithm 1 of arXiv 1802.09568, sums written out, roots by scipy."""
    w, position = w.astype(np.float64), 0
    for shape in shapes:
        rows = shape[0] if shape else 1
        columns = math.prod(shape[1:])
        L, R = epsilon * np.eye(rows), epsilon * np.eye(columns)
        V = np.zeros((rows, columns))
        size = rows * columns
        for g, scale in zip(gradients, scales, strict=False):
            G = np.array(
                [[g[position + i * columns + j] for j in range(columns)] for i in range(rows)],
                np.float64,
            )
            for i in range(rows):
                for k in range(rows):
                    L[i, k] += sum(G[i, j] * G[k, j] for j in range(columns))
            for j in range(columns):
                for k in range(columns):
                    R[j, k] += sum(G[i, j] * G[i, k] for i in range(rows))
            if len(shape) < 2:
                direction = root(L, -1 / 2) @ G
            else:
                direction = root(L, -1 / 4) @ G @ root(R, -1 / 4)
            V = momentum * V + direction
            w[position : position + size] -= scale * lr * V.ravel()
        position += size
    return w


SHAPES = [
    [(3, 4)],
    [(4, 3)],
    [(5,)],
    [()],
    [(1, 4)],
    [(4, 1)],
    [(2, 3, 2)],
    [(2, 1, 3, 2)],
    [(3, 2), (2,), (2, 2, 2), (), (1, 3)],
]


@pytest.mark.parametrize("shapes", SHAPES, ids=str)
@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_shampoo_is_the_plain_reference(shapes, momentum):
    dim = sum(map(math.prod, shapes))
    gs, w = gradients(dim), start(dim)
    expected = by_loops(w, gs, SCALES, shapes, momentum=momentum)
    run(shampoo(0.1, shapes=shapes, momentum=momentum), w, gs)
    np.testing.assert_allclose(w, expected, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("shapes", SHAPES, ids=str)
def test_shampoo_in_float32_is_near_that_in_float64(shapes):
    dim = sum(map(math.prod, shapes))
    gs = gradients(dim, dtype=np.float32)
    w = run(shampoo(0.1, shapes=shapes), start(dim, np.float32), gs)
    assert w.dtype == np.float32
    expected = by_loops(start(dim, np.float32), gs, SCALES, shapes)
    np.testing.assert_allclose(w, expected, rtol=1e-5, atol=1e-5)


def test_a_long_row_of_equal_gradients_keeps_its_eigenvalues_above_epsilon():
    """Rounding makes the least eigenvalues of so large a matrix negative."""
    G = np.outer(np.arange(1.0, 9), np.arange(1.0, 7)) * 1e8
    w = run(shampoo(0.1, shapes=[G.shape], epsilon=1e-8), np.zeros(G.size), [G.ravel()] * 5)
    assert np.abs(w).max() < 1.0


def test_power_is_that_of_scipy():
    root = np.random.default_rng(0).standard_normal((6, 6))
    matrix = root @ root.T + 0.1 * np.eye(6)
    for exponent in (-1 / 2, -1 / 4, 1 / 3, 1.0):
        expected = scipy.linalg.fractional_matrix_power(matrix, exponent)
        np.testing.assert_allclose(power(matrix, exponent, 0.1), expected, rtol=1e-9, atol=1e-9)


def test_shampoo_is_faster_than_sgd_where_the_problem_is_ill_conditioned():
    """Least squares |A W B - C|^2 whose sides have condition numbers of 30: best rate of each."""
    rng = np.random.default_rng(0)
    m, n = 8, 6

    def skewed(k):
        q, _ = np.linalg.qr(rng.standard_normal((k, k)))
        return q @ np.diag(np.logspace(0, -1.5, k)) @ q.T

    A, B, C = skewed(m), skewed(n), rng.standard_normal((m, n))
    C = A @ C @ B  # the least loss is 0

    def loss_after(optimiser, steps=200):
        w = np.zeros(m * n)
        step = optimiser(w)
        for _ in range(steps):
            step((A.T @ (A @ w.reshape(m, n) @ B - C) @ B.T).ravel(), 1.0)
        return 0.5 * np.sum((A @ w.reshape(m, n) @ B - C) ** 2)

    rates = np.logspace(-2, 0.25, 10)  # sgd diverges from 2 on
    plain = min(loss_after(sgd(lr)) for lr in rates)
    better = min(loss_after(shampoo(lr, shapes=[(m, n)])) for lr in rates)
    assert better < plain / 10


def test_shampoo_trains_on_a_server_and_refuses_a_cut_matrix():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((60, 5))
    problem = Logistic(x, (x @ rng.standard_normal((5, 3))).argmax(axis=1))
    optimiser = shampoo(0.1, shapes=problem.shapes)
    options = {"clocks": 20, "batch_size": 10}
    run = Simulated(3).run(parameter_server, problem, optimiser, **options)
    assert problem.loss(run.results[0].w) < 0.7 * problem.loss(problem.initial())
    sentence = r"whole matrices on a server, \[\(5, 3\)\] are not 7 parameters: give it one server"
    with pytest.raises(RankFailed, match=sentence):
        Simulated(4).run(parameter_server, problem, optimiser, servers=2, **options)


# ------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: sgd(0), "lr must be more than 0, got 0"),
        (lambda: sgd(math.nan), "lr must be more than 0, got nan"),
        (lambda: from_torch(torch.optim.Adam, lr=-1.0), "Invalid learning rate: -1.0"),
        (lambda: from_torch(torch.optim.SGD, lr=1.0, nesterov=True), "Nesterov momentum requires"),
        (lambda: shampoo(-1, shapes=[(2,)]), "lr must be more than 0, got -1"),
        (lambda: shampoo(1, shapes=[(2,)], epsilon=0), "Shampoo needs epsilon > 0, got 0"),
        (lambda: shampoo(1, shapes=[(2,)], momentum=1), "needs 0 <= momentum < 1, got 1"),
        (lambda: shampoo(1, shapes=[(2, 5000)]), r"sides up to 4096, got \(2, 5000\)"),
        (lambda: shampoo(1, shapes=[(2, 2)])(np.zeros(3)), "are not 3 parameters"),
    ],
)
def test_settings_that_cannot_be(make, sentence):
    with pytest.raises(ValueError, match=sentence):
        make()


def test_an_option_that_torch_does_not_have():
    with pytest.raises(TypeError, match="momentun"):
        from_torch(torch.optim.SGD, lr=0.1, momentun=0.9)


def test_damping_by_staleness():
    assert [by_staleness(s) for s in (0, 1, 3)] == [1.0, 0.5, 0.25]
