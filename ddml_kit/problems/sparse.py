"""A vector of which only the non-zero part is written."""

from __future__ import annotations

from typing import NamedTuple

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
        where = self.indices.astype(np.intp, copy=False)  # once, not for reading and for writing
        w[where] += float(scale) * self.values

    def dense(self, dim: int) -> np.ndarray:
        """The same vector in full, (dim,)."""
        full = np.zeros(dim, self.values.dtype)
        full[self.indices] = self.values
        return full
