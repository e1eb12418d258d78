"""A vector of which only the non-zero part is written."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


class Sparse(NamedTuple):
    """A vector that is zero but at `indices`, where it is `values`; both (k,), indices distinct.

    values may also be (k, m): a matrix of which only some rows are written.
    """

    indices: np.ndarray
    values: np.ndarray

    @property
    def nbytes(self) -> int:
        return self.indices.nbytes + self.values.nbytes

    def add_to(self, w: np.ndarray, scale: float = 1.0) -> None:
        """w += scale * self, in place; writes the support only."""
        where = self.indices.astype(np.intp, copy=False)  # once, not for reading and for writing
        w[where] += float(scale) * self.values

    def dense(self, dim: int) -> np.ndarray:
        """The same vector in full, (dim,)."""
        full = np.zeros(dim, self.values.dtype)
        full[self.indices] = self.values
        return full


def total(parts: Sequence[Sparse]) -> Sparse:
    """The sum of one or more, added up in order, over the union of their indices, in order."""
    indices = np.unique(np.concatenate([part.indices for part in parts]))
    shape = (len(indices), *parts[0].values.shape[1:])
    values = np.zeros(shape, parts[0].values.dtype)
    for part in parts:
        values[np.searchsorted(indices, part.indices)] += part.values
    return Sparse(indices, values)


def dense(gradient: np.ndarray | Sparse, dim: int) -> np.ndarray:
    """The gradient in full, (dim,); itself if it is."""
    return gradient.dense(dim) if isinstance(gradient, Sparse) else gradient
