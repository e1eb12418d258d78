"""What is learned: data and a model, as the loss and the gradient of one flat vector."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from ddml_kit.problems.sharding import Split, contiguous
from ddml_kit.problems.sparse import Sparse, dense

FLOPS = 1e9  # a second, of one core of the machine that virtual time imagines

BatchSize = int | Callable[[int], int]  # a number of samples, or one for each step: 0, 1, ...


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """Samples as data, so that they can be poisoned or perturbed: inputs and labels.

    x, y = batch unpacks it; dataclasses.replace(batch, y=...) changes a part. Its arrays may be
    views of the data set: make new ones rather than write into them.
    """

    x: Any  # (b, ...) array, or problems.csr.Rows for sparse inputs
    y: np.ndarray  # (b,), or (b, ...)

    @property
    def nbytes(self) -> int:
        return self.x.nbytes + self.y.nbytes

    def __len__(self) -> int:  # of samples, not of fields
        return len(self.y)

    def __iter__(self) -> Iterator[Any]:
        return iter((self.x, self.y))


class Piece(NamedTuple):
    """A part of a gradient: where it lies in the vector, its values, (k,), and its cost.

    seconds: virtual, for what is computed between the piece before and this one.
    """

    where: slice
    gradient: np.ndarray
    seconds: float


def check_finite(values: np.ndarray, what: str) -> None:
    """Raises FloatingPointError if some of the values, (k,), are NaN or infinite."""
    finite = np.isfinite(values)
    if not finite.all():
        raise FloatingPointError(
            f"{what} must be finite, got {finite.size - np.count_nonzero(finite)} of "
            f"{finite.size} values that are NaN or infinite: the data have such values, or the "
            "step size is too large"
        )


class Problem(ABC):
    """The mean loss of a model over a data set, as a function of a flat vector w, (dim,).

    dtype: of w and gradients. shapes: the matrices inside w, in order; their sizes add up to dim.
    """

    dim: int
    dtype: np.dtype
    shapes: tuple[tuple[int, ...], ...]

    @abstractmethod
    def __len__(self) -> int:
        """The number of samples."""

    @abstractmethod
    def initial(self, seed: int = 0) -> np.ndarray:
        """Where training starts, (dim,)."""

    @abstractmethod
    def shard(self, rank: int, size: int, by: Split = contiguous) -> Problem:
        """Rank's part of the data as a problem of its own: the same model, one of `size` parts.

        by: how the samples are shared out, one of problems.sharding. The part's samples lie in
        memory in the order that `by` lists them.
        """

    @abstractmethod
    def batches(
        self, rng: np.random.Generator | None, batch_size: BatchSize, steps: int
    ) -> Iterator[Batch]:
        """`steps` batches: passes over the data in an order drawn from rng, a new one each pass.

        With rng None, each pass takes the samples as they lie in memory. The last batch of a pass
        is smaller where batch_size does not divide the number of samples.
        batch_size: a number, or a function of the step, so that batches can grow.
        """

    def gradient(self, w: np.ndarray, batch: Batch) -> np.ndarray | Sparse:
        """The gradient of the batch's mean loss at w, (dim,).

        Raises FloatingPointError where it is NaN or infinite.
        """
        gradient = self._gradient(w, batch)
        check_finite(gradient.values if isinstance(gradient, Sparse) else gradient, "the gradient")
        return gradient

    def pieces(self, w: np.ndarray, batch: Batch) -> Iterator[Piece]:
        """The gradient in parts, each computed when it is asked for, as backpropagation finds them.

        The first is the end of the vector, the next what lies before it, and so on to the
        beginning; together they have the bits of `gradient` and the cost of `seconds`. A gradient
        that comes all at once is one piece; Sparse ones are written out. w must stay as it is
        until the last piece. Raises what `gradient` raises.
        """
        gradient = dense(self.gradient(w, batch), self.dim)
        yield Piece(slice(0, self.dim), gradient, self.seconds(batch))

    @abstractmethod
    def _gradient(self, w: np.ndarray, batch: Batch) -> np.ndarray | Sparse:
        """What `gradient` returns, whatever its values are."""

    @abstractmethod
    def loss(self, w: np.ndarray) -> float:
        """The mean loss over all samples."""

    @abstractmethod
    def accuracy(self, w: np.ndarray) -> float:
        """The share of samples classified rightly; NaN where nothing is classified."""

    @abstractmethod
    def seconds(self, batch: Batch) -> float:
        """What the batch's gradient costs in virtual seconds: a fixed figure of its size."""

    # ------------------------------------------------------------ second derivatives

    def hvp(self, w: np.ndarray, v: np.ndarray, batch: Batch) -> np.ndarray:
        """The Hessian of the batch's mean loss at w, times a vector v, (dim,).

        Raises ValueError for a problem that has none.
        """
        raise ValueError(f"second derivatives are needed, and {type(self).__name__} has none")

    def hessian(self, w: np.ndarray, batch: Batch) -> np.ndarray:
        """The Hessian of the batch's mean loss at w, (dim, dim), a column for each `hvp`."""
        units = np.eye(self.dim, dtype=self.dtype)
        return np.stack([self.hvp(w, unit, batch) for unit in units], axis=1)

    def hessian_seconds(self, batch: Batch) -> float:
        """What the batch's Hessian costs in virtual seconds.

        A product with a vector costs about two gradients (B. A. Pearlmutter, "Fast Exact
        Multiplication by the Hessian", Neural Computation 6(1), 1994), and there are dim.
        """
        return 2 * self.dim * self.seconds(batch)
