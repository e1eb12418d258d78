"""What a server does with a gradient: plain SGD, those of torch.optim, and Shampoo.

An optimiser is made once for a vector, (k,), and then changes it in place, gradient by gradient:

    step = from_torch(torch.optim.Adam, lr=0.01)(w)
    step(gradient, scale)

scale multiplies the step, for gradients that count less because they are stale.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ddml_kit.problems.sparse import Sparse

Gradient = np.ndarray | Sparse
Step = Callable[[Gradient, float], None]
Optimiser = Callable[[np.ndarray], Step]


def sgd(lr: float) -> Optimiser:
    """w -= scale lr gradient; of a sparse gradient only its coordinates are written."""
    if not lr > 0:
        raise ValueError(f"lr must be more than 0, got {lr}")

    def optimiser(w: np.ndarray) -> Step:
        def step(gradient: Gradient, scale: float = 1.0) -> None:
            if isinstance(gradient, Sparse):
                gradient.add_to(w, -scale * lr)
            else:
                w[...] -= (scale * lr) * gradient

        return step

    return optimiser


def from_torch(kind: Callable[..., Any], **options: Any) -> Optimiser:
    """One of torch.optim, such as torch.optim.Adam, with these options.

    scale multiplies the learning rate of a step, so that momenta see every gradient in full.
    Momentum: SGD(momentum=0.9); Nesterov: SGD(momentum=0.9, nesterov=True).
    """
    import torch

    def optimiser(w: np.ndarray) -> Step:
        parameter = torch.nn.Parameter(torch.from_numpy(w))  # the same memory
        inner = kind([parameter], **options)
        [group] = inner.param_groups
        lr = group["lr"]

        def step(gradient: Gradient, scale: float = 1.0) -> None:
            dense = gradient.dense(len(w)) if isinstance(gradient, Sparse) else gradient
            parameter.grad = torch.from_numpy(np.ascontiguousarray(dense, w.dtype))
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
    begun at epsilon I. A vector counts as a matrix with one column, whose power is -1/2.
    shapes: of the matrices inside the vector, in order; it has to hold whole ones.
    """
    if not lr > 0:
        raise ValueError(f"lr must be more than 0, got {lr}")
    sides = [(shape[0], int(np.prod(shape[1:]))) for shape in shapes]

    def optimiser(w: np.ndarray) -> Step:
        if sum(a * b for a, b in sides) != len(w):
            raise ValueError(
                f"Shampoo needs whole matrices on a server, {list(shapes)} are not {len(w)} "
                "parameters: give it one server"
            )
        ends = np.cumsum([a * b for a, b in sides])
        [part.reshape(side) for part, side in zip(np.split(w, ends[:-1]), sides, strict=False)]
        left = [epsilon * np.eye(a) for a, b in sides]
        right = [epsilon * np.eye(b) for a, b in sides]
        velocity = np.zeros_like(w)

        def step(gradient: Gradient, scale: float = 1.0) -> None:
            dense = gradient.dense(len(w)) if isinstance(gradient, Sparse) else gradient
            directions = []
            for k, g in enumerate(np.split(dense, ends[:-1])):
                G = g.reshape(sides[k]).astype(np.float64)
                left[k] += G @ G.T
                if sides[k][1] == 1:
                    directions.append((power(left[k], -1 / 2) @ G).ravel())
                else:
                    right[k] += G.T @ G
                    whole = power(left[k], -1 / 4) @ G @ power(right[k], -1 / 4)
                    directions.append(whole.ravel())
            velocity[...] = momentum * velocity + np.concatenate(directions)
            w[...] -= (scale * lr) * velocity

        return step

    return optimiser


def power(matrix: np.ndarray, exponent: float) -> np.ndarray:
    """A power of a symmetric positive definite matrix, by its eigenvalues."""
    values, vectors = np.linalg.eigh(matrix)
    return (vectors * np.maximum(values, 1e-30) ** exponent) @ vectors.T


def undamped(staleness: int) -> float:
    """Every gradient counts in full."""
    return 1.0


def by_staleness(staleness: int) -> float:
    """1 / (1 + staleness): DynSGD of J. Jiang, B. Cui, C. Zhang, L. Yu, "Heterogeneity-aware
    Distributed Parameter Servers", SIGMOD 2017, with our staleness counted from 0.
    """
    return 1 / (1 + staleness)
