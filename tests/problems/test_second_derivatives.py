"""Second derivatives of the problems that have them: slopes of the gradient, and torch's."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ddml_kit.problems import (
    Batch,
    Data,
    LeastSquares,
    Logistic,
    Problem,
    Quadratic,
    TorchModule,
    sparse_logistic,
)
from ddml_kit.problems.sparse import dense

N = 17


def make(kind: str) -> Problem:
    rng = np.random.default_rng(5)
    x, numbers = rng.standard_normal((N, 4)), rng.standard_normal(N)
    rows = sparse_logistic(N, 12, 4, seed=0).x
    if kind == "quadratic":
        roots = rng.standard_normal((N, 4, 4))
        return Quadratic(roots @ roots.transpose(0, 2, 1), rng.standard_normal((N, 4)))
    if kind.startswith("torch"):
        module = torch.nn.Sequential(
            torch.nn.Linear(4, 3), torch.nn.Tanh(), torch.nn.Linear(3, 3, bias=kind == "torch")
        ).double()
        return TorchModule(
            module, torch.nn.functional.cross_entropy, Data(x, np.arange(N) % 3, "random")
        )
    return {
        "least squares": LeastSquares(x, numbers, l2=0.1),
        "logistic": Logistic(x, np.arange(N) % 2, l2=0.1, dtype=np.float64),
        "softmax": Logistic(x, np.arange(N) % 3, l2=0.1, dtype=np.float64),
        "softmax, no penalty": Logistic(x, np.arange(N) % 3, dtype=np.float64),
        "sparse logistic": Logistic(rows, np.arange(N) % 2, l2=0.1, dtype=np.float64),
        "sparse softmax": Logistic(rows, np.arange(N) % 3, l2=0.1, dtype=np.float64),
    }[kind]


KINDS = (
    *("quadratic", "least squares", "logistic", "softmax", "softmax, no penalty"),
    *("sparse logistic", "sparse softmax", "torch", "torch, no bias"),
)


@pytest.fixture(params=KINDS)
def problem(request: pytest.FixtureRequest) -> Problem:
    return make(request.param)


@pytest.fixture(params=[3, N])
def batch(request: pytest.FixtureRequest, problem: Problem) -> Batch:
    return next(problem.batches(None, request.param, 1))


def somewhere(problem: Problem, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(problem.dim) / 2


def test_a_product_is_the_slope_of_the_gradient(problem: Problem, batch: Batch) -> None:
    w, v, h = somewhere(problem, 0), somewhere(problem, 1), 1e-6
    ahead, behind = (dense(problem.gradient(w + s * h * v, batch), problem.dim) for s in (1, -1))
    product = problem.hvp(w, v, batch)
    assert product.shape == (problem.dim,)
    np.testing.assert_allclose(product, (ahead - behind) / (2 * h), atol=1e-8)


def test_the_hessian_holds_the_products(problem: Problem, batch: Batch) -> None:
    w, v = somewhere(problem, 0), somewhere(problem, 1)
    H = problem.hessian(w, batch)
    np.testing.assert_allclose(H, H.T, atol=1e-14)
    np.testing.assert_allclose(H @ v, problem.hvp(w, v, batch), atol=1e-12)


def test_a_parameter_that_is_not_used_has_no_curvature() -> None:
    class Half(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.used, self.idle = torch.nn.Linear(2, 2), torch.nn.Linear(2, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.used(x)

    x = np.random.default_rng(0).standard_normal((N, 2))
    problem = TorchModule(
        Half().double(), torch.nn.functional.cross_entropy, Data(x, np.arange(N) % 2, "random")
    )
    H = problem.hessian(problem.initial(), next(problem.batches(None, N, 1)))
    assert H[:6, :6].any()
    assert not H[6:].any()
    assert not H[:, 6:].any()


def test_it_keeps_the_dtype() -> None:
    x = np.random.default_rng(0).standard_normal((N, 4))
    problem = Logistic(x, np.arange(N) % 3, l2=0.1)
    batch = next(problem.batches(None, N, 1))
    w = np.ones(problem.dim, np.float32)
    assert problem.hvp(w, w, batch).dtype == np.float32
    assert problem.hessian(w, batch).dtype == np.float32


def test_a_hessian_costs_more_than_gradients(problem: Problem, batch: Batch) -> None:
    """At most two gradients for each product, and more the more samples there are."""
    seconds = problem.hessian_seconds(batch)
    assert 0 < seconds <= 2 * problem.dim * problem.seconds(batch)
    [one] = problem.batches(None, 1, 1)
    # sparse samples differ in nothing but their number here: each has 4 non-zeros
    assert seconds == pytest.approx(len(batch) * problem.hessian_seconds(one))


def test_a_problem_without_them_says_so() -> None:
    class Plain(Quadratic):
        hvp, hessian = Problem.hvp, Problem.hessian

    problem = Plain(np.eye(2), np.ones(2))
    [batch] = problem.batches(None, 1, 1)
    with pytest.raises(ValueError, match="second derivatives are needed, and Plain has none"):
        problem.hessian(problem.initial(), batch)
