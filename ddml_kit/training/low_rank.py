"""Gradients averaged as products of two thin matrices: PowerSGD as a reducer.

T. Vogels, S. P. Karimireddy, M. Jaggi, "PowerSGD: Practical Low-Rank Gradient Compression for
Distributed Optimization", NeurIPS 2019, arXiv 1905.13727, algorithms 1 and 2. Each rank multiplies
its matrix with a thin one, the products are averaged, and that twice: what travels are sums, so
that twice as many ranks are no more bytes for each. What the approximation leaves out is added to
the next gradient (error feedback), and each step starts from the last one's matrix (warm start), so
that the power method goes on over the steps. Its linear algebra is compression/power_sgd.py, with
what departs from the paper.

All first products of a step travel as one vector, together with the tensors that are not
compressed, and all second ones as another. They are of the gradient's own type.
"""

from __future__ import annotations

import numpy as np

from ddml_kit.cluster.checks import whole
from ddml_kit.cluster.comm import Comm
from ddml_kit.compression.matrices import Part, Shapes, check_length, parts, size
from ddml_kit.compression.power_sgd import HOUSEHOLDER, draw_empty, orthonormal, pays, product
from ddml_kit.training.compressed import common_stream, mean_over
from ddml_kit.training.reducers import Reduce, Reducer


def power_sgd(
    shapes: Shapes, *, rank: int, feedback: bool = True, warm_start: bool = True
) -> Reducer:
    """The mean gradient as matrices of low rank, the same bits on every rank and every cluster.

    shapes: of the tensors inside the gradient. rank: columns of each thin matrix. feedback: add
    what a step leaves out to the next gradient. warm_start: begin each step with the last one's
    thin matrix, not with a random one. Raises ValueError unless rank >= 1; a call raises ValueError
    for a gradient of another length, TypeError for one that is not float32 or float64, and
    FloatingPointError on every rank where one rank's is not finite: then the step counts as if it
    had not been.
    """
    shapes = tuple(tuple(shape) for shape in shapes)
    if whole("rank must be a whole number", rank) < 1:
        raise ValueError(f"rank must be 1 or more, got {rank}")

    def reducer(comm: Comm) -> Reduce:
        return _PowerSGD(comm, shapes, rank, feedback, warm_start).reduce

    return reducer


class _Thin:
    """A matrix, its two thin factors, and what earlier steps have left out of it."""

    def __init__(self, part: Part, P: np.ndarray, Q: np.ndarray) -> None:
        self.part, self.P, self.Q = part, P, Q
        self.M = np.empty((part.rows, part.columns), P.dtype)
        self.left = np.zeros_like(self.M)


class _PowerSGD:
    """What a rank remembers from step to step."""

    def __init__(
        self, comm: Comm, shapes: Shapes, rank: int, feedback: bool, warm_start: bool
    ) -> None:
        self._comm, self._shapes, self._rank = comm, shapes, rank
        self._feedback, self._warm_start = feedback, warm_start
        found = parts(shapes)
        self._pay = [part for part in found if pays(part, rank)]
        self._whole = [part for part in found if not pays(part, rank)]
        self._rng = common_stream(comm, "power_sgd")
        self._thin: list[_Thin] | None = None

    def reduce(self, gradient: np.ndarray) -> np.ndarray:
        """The mean over the ranks, (d,), but for what low rank leaves out.

        A step that is refused leaves the memory and the thin matrices as they were.
        """
        check_length(gradient, self._shapes)
        if gradient.dtype not in HOUSEHOLDER:
            raise TypeError(f"power_sgd takes float32 or float64, got {gradient.dtype}")
        if self._thin is None:
            self._thin = self._allocated(gradient.dtype)
        thin = self._thin
        with np.errstate(invalid="ignore", over="ignore"):  # NaN is told below, on all ranks
            for one in thin:
                g = one.part.of(gradient)
                np.add(one.left, g, out=one.M) if self._feedback else np.copyto(one.M, g)
                if not self._warm_start:
                    one.Q[:] = 0
                draw_empty(one.Q, self._rng)
                np.matmul(one.M, one.Q, out=one.P)
        if self._whole:
            np.concatenate([gradient[part.where] for part in self._whole], out=self._rest)
        mean_over(self._comm, self._first, gradient)
        before = self._second.copy()
        with np.errstate(invalid="ignore", over="ignore"):
            for one in thin:
                one.P[:] = orthonormal(one.P)
                np.matmul(one.M.T, one.P, out=one.Q)
        if thin:
            try:
                mean_over(self._comm, self._second, gradient)
            except FloatingPointError:
                self._second[:] = before
                raise
        return self._product(thin)

    def _product(self, thin: list[_Thin]) -> np.ndarray:
        """The vector of all P Q^T; what they leave out of M is remembered."""
        result = np.empty(size(self._shapes), self._first.dtype)
        for one in thin:
            low = one.part.of(result)
            product(one.P, one.Q, out=low)
            if self._feedback:
                np.subtract(one.M, low, out=one.left)
        start = 0
        for part in self._whole:
            stop = start + part.rows * part.columns
            result[part.where] = self._rest[start:stop]
            start = stop
        return result

    def _allocated(self, dtype: np.dtype) -> list[_Thin]:
        """The two vectors that travel, and the thin factors as views of them."""
        left = [self._rank * part.rows for part in self._pay]
        right = [self._rank * part.columns for part in self._pay]
        rest = sum(part.rows * part.columns for part in self._whole)
        self._first, self._second = np.zeros(sum(left) + rest, dtype), np.zeros(sum(right), dtype)
        self._rest = self._first[sum(left) :]
        Ps = np.split(self._first[: sum(left)], np.cumsum(left)[:-1])
        Qs = np.split(self._second, np.cumsum(right)[:-1])
        return [
            _Thin(part, P.reshape(-1, self._rank), Q.reshape(-1, self._rank))
            for part, P, Q in zip(self._pay, Ps, Qs, strict=False)  # of no part, split makes one
        ]
