"""What is learned: data and a model, as the loss and the gradient of one flat vector."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np


class Sparse(NamedTuple):
    """A vector that is zero but at `indices`, where it is `values`; both (k,), indices distinct."""

    indices: np.ndarray
    values: np.ndarray

    @property
    def nbytes(self) -> int:
        return self.indices.nbytes + self.values.nbytes

    def add_to(self, w: np.ndarray, scale: float = 1.0) -> None:
        """w += scale * self, in place; writes the support only."""
        w[self.indices] += w.dtype.type(scale) * self.values

    def dense(self, dim: int) -> np.ndarray:
        """The same vector in full, (dim,)."""
        full = np.zeros(dim, self.values.dtype)
        full[self.indices] = self.values
        return full


class Batch(NamedTuple):
    """Samples as data, so that they can be poisoned or perturbed: inputs and labels."""

    x: Any  # (b, ...) array, or problems.csr.Rows for sparse inputs
    y: np.ndarray  # (b,)

    def __len__(self) -> int:  # of samples, not of fields
        return len(self.y)


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
    def shard(self, rank: int, size: int) -> Problem:
        """Rank's part of the data as a problem of its own: the same model, every size-th part."""

    @abstractmethod
    def batches(self, rng: np.random.Generator, batch_size: int, steps: int) -> Iterator[Batch]:
        """`steps` batches: passes over the data in an order drawn from rng, a new one each pass."""

    @abstractmethod
    def gradient(self, w: np.ndarray, batch: Batch) -> np.ndarray | Sparse:
        """The gradient of the batch's mean loss at w, (dim,)."""

    @abstractmethod
    def loss(self, w: np.ndarray) -> float:
        """The mean loss over all samples."""

    @abstractmethod
    def accuracy(self, w: np.ndarray) -> float:
        """The share of samples classified rightly; NaN where nothing is classified."""

    @abstractmethod
    def seconds(self, batch: Batch) -> float:
        """What the batch's gradient costs in virtual seconds: a fixed figure of its size."""
