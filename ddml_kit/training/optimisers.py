"""What is done with a gradient: the shape of an optimiser, plain SGD, torch.optim's, and Shampoo.

An optimiser is made once for a vector, (k,), and then changes it in place, gradient by gradient,
on one machine, on every rank, or on a server:

    step = from_torch(torch.optim.Adam, lr=0.01)(w)
    step(gradient, scale)

Momentum and Nesterov are in momentum.py, AdaGrad, RMSprop and Adam in adaptive.py, each with its
rule written out.

The gradient, (k,) or Sparse, is left as it is, and the vector keeps its dtype. scale multiplies the
step, for gradients that count less because they are stale; momenta and preconditioners see every
gradient in full.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ddml_kit.problems.sparse import Sparse, dense

Gradient = np.ndarray | Sparse
Step = Callable[[Gradient, float], None]
Optimiser = Callable[[np.ndarray], Step]

WIDEST = 4096  # rows or columns of a matrix that Shampoo takes: its eigenvalues last seconds


def check_rate(lr: float) -> None:
    """Raises ValueError unless lr > 0."""
    if not lr > 0:
        raise ValueError(f"lr must be more than 0, got {lr}")


def check_decay(what: str, value: float) -> None:
    """Raises ValueError unless 0 <= value < 1: how much of a memory is kept from step to step."""
    if not 0 <= value < 1:
        raise ValueError(f"{what} must be 0 or more and less than 1, got {value}")


def sgd(lr: float) -> Optimiser:
    """w -= scale lr gradient; of a sparse gradient only its coordinates are written.

    H. Robbins, S. Monro, "A Stochastic Approximation Method", Annals of Mathematical Statistics
    22(3), 1951. Raises ValueError unless lr > 0.
    """
    check_rate(lr)

    def optimiser(w: np.ndarray) -> Step:
        change = np.empty_like(w)  # takes no memory until it is written

        def step(gradient: Gradient, scale: float = 1.0) -> None:
            rate = float(scale * lr)
            if isinstance(gradient, Sparse):
                gradient.add_to(w, -rate)
            else:
                np.multiply(gradient, rate, out=change)
                np.subtract(w, change, out=w)

        return step

    return optimiser


def from_torch(kind: Callable[..., Any], **options: Any) -> Optimiser:
    """One of torch.optim, such as torch.optim.Adam, with these options.

    Momentum: SGD(momentum=0.9); Nesterov: SGD(momentum=0.9, nesterov=True). scale multiplies the
    learning rate of the step. To torch a sparse gradient is a dense one with zeros, so what moves
    a coordinate without a gradient, such as momentum, moves those too.
    Raises what torch raises for options that it doesn't take, here rather than on a server.
    """
    import torch

    kind([torch.nn.Parameter(torch.zeros(1))], **options)

    def optimiser(w: np.ndarray) -> Step:
        parameter = torch.nn.Parameter(torch.from_numpy(w))  # the same memory
        inner = kind([parameter], **options)
        [group] = inner.param_groups
        lr = group["lr"]

        def step(gradient: Gradient, scale: float = 1.0) -> None:
            full = np.ascontiguousarray(dense(gradient, len(w)), w.dtype)
            parameter.grad = torch.from_numpy(full if full.flags.writeable else full.copy())
            group["lr"] = scale * lr
            inner.step()

        return step

    return optimiser


def shampoo(
    lr: float, *, shapes: Sequence[tuple[int, ...]], epsilon: float = 1e-4, momentum: float = 0.0
) -> Optimiser:
    """Shampoo: each matrix of the vector has a preconditioner a side.

    V. Gupta, T. Koren, Y. Singer, "Shampoo: Preconditioned Stochastic Tensor Optimization", ICML
    2018, arXiv 1802.09568, algorithm 1: L += G G^T, R += G^T G, W -= lr L^(-1/4) G R^(-1/4), both
    begun at epsilon I. A vector has one side, whose power is -1/2 (algorithm 2 with one mode).
    Departure: a tensor is flattened to a matrix, (a, b, c) to (a, b c), rather than given a
    preconditioner a mode. momentum: V = momentum V + the direction, and W -= lr V, as in their
    experiments. Preconditioners and their powers are in float64.
    shapes: of the matrices inside the vector, in order, as `Problem.shapes`; (k,) is a vector.
    Raises ValueError for settings out of bounds, and on a server that does not hold whole matrices.
    """
    check_rate(lr)
    if not epsilon > 0:
        raise ValueError(f"Shampoo needs epsilon > 0, got {epsilon}")
    if not 0 <= momentum < 1:
        raise ValueError(f"Shampoo needs 0 <= momentum < 1, got {momentum}")
    sides = [
        (shape[0], math.prod(shape[1:])) if len(shape) > 1 else shape or (1,) for shape in shapes
    ]
    if wide := [shape for shape, side in zip(shapes, sides, strict=True) if max(side) > WIDEST]:
        raise ValueError(
            f"Shampoo keeps a square matrix a side and takes sides up to {WIDEST}, got {wide[0]}"
        )
    ends = np.cumsum([0, *map(math.prod, sides)])

    def optimiser(w: np.ndarray) -> Step:
        if ends[-1] != len(w):
            raise ValueError(
                f"Shampoo needs whole matrices on a server, {list(shapes)} are not {len(w)} "
                "parameters: give it one server"
            )
        preconditioners = [[epsilon * np.eye(k) for k in side] for side in sides]
        velocity = np.zeros(len(w))

        def step(gradient: Gradient, scale: float = 1.0) -> None:
            full = dense(gradient, len(w)).astype(np.float64, copy=False)
            velocity[...] *= momentum
            for k, side in enumerate(sides):
                part = slice(ends[k], ends[k + 1])
                direction = _preconditioned(full[part].reshape(side), preconditioners[k], epsilon)
                velocity[part] += direction.reshape(-1)
            w[...] -= float(scale * lr) * velocity

        return step

    return optimiser


def _preconditioned(G: np.ndarray, sides: list[np.ndarray], epsilon: float) -> np.ndarray:
    """G, a matrix or a vector, between the powers of its preconditioners, which it is added to."""
    if G.ndim == 1:
        [L] = sides
        L += np.outer(G, G)
        return power(L, -1 / 2, epsilon) @ G
    L, R = sides
    L += G @ G.T
    R += G.T @ G
    return power(L, -1 / 4, epsilon) @ G @ power(R, -1 / 4, epsilon)


def power(matrix: np.ndarray, exponent: float, least: float) -> np.ndarray:
    """A power of a symmetric positive definite matrix, (k, k), by its eigenvalues.

    least: what no eigenvalue is below, but for rounding.
    """
    values, vectors = np.linalg.eigh(matrix)
    return (vectors * np.maximum(values, least) ** exponent) @ vectors.T


def undamped(staleness: int) -> float:
    """Every gradient counts in full."""
    return 1.0


def by_staleness(staleness: int) -> float:
    """1 / (1 + staleness): DynSGD of J. Jiang, B. Cui, C. Zhang, L. Yu, "Heterogeneity-aware
    Distributed Parameter Servers", SIGMOD 2017, with our staleness counted from 0.
    """
    return 1 / (1 + staleness)
