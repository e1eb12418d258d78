"""Quadratics: the functions on which a method can be computed by hand."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
import numpy.typing as npt

from ddml_kit.problems.problem import FLOPS, Batch
from ddml_kit.problems.supervised import Supervised


class Quadratic(Supervised):
    """The mean of 1/2 w^T A_i w - b_i^T w over components i, as a function of w, (d,).

    A: (n, d, d), symmetric; b: (n, d). One component, (d, d) and (d,), will do as well. The
    components are the samples: a shard has some of them, and batches are drawn from them.
    """

    def __init__(self, A: np.ndarray, b: np.ndarray, *, dtype: npt.DTypeLike = np.float64) -> None:
        self.dtype = np.dtype(dtype)
        A, b = np.asarray(A, self.dtype), np.asarray(b, self.dtype)
        if A.ndim == 2 and b.ndim == 1:
            A, b = A[None], b[None]
        if b.ndim != 2 or 0 in b.shape or A.shape != (*b.shape, b.shape[1]):
            raise ValueError(
                f"Quadratic needs A (n, d, d) and b (n, d), got A {A.shape} and b {b.shape}"
            )
        if not np.allclose(A, A.transpose(0, 2, 1)):
            raise ValueError("Quadratic needs symmetric matrices A, got one that differs from A^T")
        self.x, self.y = A, b
        self.dim = b.shape[1]
        self.shapes = ((self.dim,),)

    def on(self, x: Any, y: np.ndarray) -> Self:
        return type(self)(x, y, dtype=self.dtype)

    def initial(self, seed: int = 0) -> np.ndarray:
        """Zeros, (d,), whatever the seed."""
        return np.zeros(self.dim, self.dtype)

    def _gradient(self, w: np.ndarray, batch: Batch) -> np.ndarray:
        """The mean of A_i w - b_i over the batch, (d,)."""
        return (batch.x @ w - batch.y).mean(axis=0)

    def loss(self, w: np.ndarray) -> float:
        return float(np.mean((self.x @ w / 2 - self.y) @ w))

    def accuracy(self, w: np.ndarray) -> float:
        return np.nan

    def seconds(self, batch: Batch) -> float:
        """A multiplication and an addition for each number in the batch's A_i, at 1e9 a second."""
        return 2 * batch.x.size / FLOPS

    def hvp(self, w: np.ndarray, v: np.ndarray, batch: Batch) -> np.ndarray:
        return (batch.x @ v).mean(axis=0)

    def hessian(self, w: np.ndarray, batch: Batch) -> np.ndarray:
        """The mean of A_i, (d, d), wherever w is."""
        return batch.x.mean(axis=0)

    def hessian_seconds(self, batch: Batch) -> float:
        """An operation for each number of each sample's A_i, at 1e9 a second."""
        return len(batch) * self.dim**2 / FLOPS


class LeastSquares(Supervised):
    """The mean of 1/2 (x_i^T w - y_i)^2, plus l2/2 |w|^2, as a function of w, (features,).

    x: (n, features); y: (n,) numbers.
    """

    def __init__(
        self, x: np.ndarray, y: np.ndarray, *, l2: float = 0.0, dtype: npt.DTypeLike = np.float64
    ) -> None:
        self.dtype = np.dtype(dtype)
        self.x, self.y = np.asarray(x, self.dtype), np.asarray(y, self.dtype)
        if self.x.ndim != 2 or 0 in self.x.shape or self.y.shape != self.x.shape[:1]:
            raise ValueError(
                f"LeastSquares needs x (n, features) and y (n,), got {self.x.shape} and "
                f"{self.y.shape}"
            )
        if not l2 >= 0:
            raise ValueError(f"l2 must be 0 or more, got {l2}")
        self.l2 = float(l2)
        self.dim = self.x.shape[1]
        self.shapes = ((self.dim,),)

    def on(self, x: Any, y: np.ndarray) -> Self:
        return type(self)(x, y, l2=self.l2, dtype=self.dtype)

    def initial(self, seed: int = 0) -> np.ndarray:
        """Zeros, (features,), whatever the seed."""
        return np.zeros(self.dim, self.dtype)

    def _gradient(self, w: np.ndarray, batch: Batch) -> np.ndarray:
        return batch.x.T @ ((batch.x @ w - batch.y) / len(batch)) + self.l2 * w

    def loss(self, w: np.ndarray) -> float:
        residual = self.x @ w - self.y
        return float(np.mean(residual**2) / 2 + self.l2 / 2 * (w @ w))

    def accuracy(self, w: np.ndarray) -> float:
        return np.nan

    def seconds(self, batch: Batch) -> float:
        """4 operations for each number in the batch's inputs, at 1e9 a second."""
        return 4 * batch.x.size / FLOPS

    def hvp(self, w: np.ndarray, v: np.ndarray, batch: Batch) -> np.ndarray:
        return batch.x.T @ (batch.x @ v) / len(batch) + self.l2 * v

    def hessian(self, w: np.ndarray, batch: Batch) -> np.ndarray:
        """X^T X / b + l2 I, (features, features), wherever w is."""
        return batch.x.T @ batch.x / len(batch) + self.l2 * np.eye(self.dim, dtype=self.dtype)

    def hessian_seconds(self, batch: Batch) -> float:
        """An operation for each number of each sample's outer product, at 1e9 a second.

        A multiplication and an addition for half of the numbers, as it is symmetric.
        """
        return len(batch) * self.dim**2 / FLOPS
