"""Sparse rows: what most text and click data looks like.

Compressed sparse rows (CSR) of single-precision values. Rows that are visited one after the other
lie one after the other in memory, which is most of the speed of stochastic gradients on sparse
data; `take` puts them so.
"""

from __future__ import annotations

from typing import overload

import numpy as np
import scipy.sparse

from ddml_kit.problems.sparse import Sparse


class Rows:
    """n sparse rows of `features` columns: row i is zero but at its indices.

    values: (nonzeros,) float32. indices: (nonzeros,) int32, distinct and rising within a row.
    indptr: (n + 1,) int64 from 0: row i lies at indptr[i]:indptr[i + 1] of the two.
    The constructor trusts its arguments; `from_scipy` takes any matrix.
    """

    def __init__(
        self, values: np.ndarray, indices: np.ndarray, indptr: np.ndarray, features: int
    ) -> None:
        self.values = values
        self.indices = indices
        self.indptr = indptr
        self.features = features

    @classmethod
    def from_scipy(cls, matrix: scipy.sparse.sparray | scipy.sparse.spmatrix) -> Rows:
        """The rows of a scipy matrix of any format; entries given twice are added up."""
        csr = scipy.sparse.csr_array(matrix, copy=True)
        csr.sum_duplicates()
        return cls(
            np.ascontiguousarray(csr.data, np.float32),
            np.ascontiguousarray(csr.indices, np.int32),
            np.ascontiguousarray(csr.indptr, np.int64),
            csr.shape[1],
        )

    def to_scipy(self) -> scipy.sparse.csr_array:
        """The same rows as a scipy CSR array, (n, features), which shares values and indices."""
        narrow = len(self.values) <= np.iinfo(np.int32).max  # scipy wants both of one width
        indptr = self.indptr.astype(np.int32) if narrow else self.indptr
        return scipy.sparse.csr_array((self.values, self.indices, indptr), self.shape)

    @property
    def shape(self) -> tuple[int, int]:
        return len(self.indptr) - 1, self.features

    @property
    def nbytes(self) -> int:
        return self.values.nbytes + self.indices.nbytes + self.indptr.nbytes

    def __len__(self) -> int:
        return len(self.indptr) - 1

    def __repr__(self) -> str:
        n, features = self.shape
        return f"Rows({n} x {features}, {len(self.values)} non-zeros)"

    @overload
    def __getitem__(self, key: int) -> Sparse: ...
    @overload
    def __getitem__(self, key: slice | np.ndarray) -> Rows: ...
    def __getitem__(self, key: int | slice | np.ndarray) -> Sparse | Rows:
        """Row i as a Sparse, or the rows of a slice or of an array of row numbers as Rows.

        A row and a slice share memory with these rows; an array of numbers copies (`take`).
        """
        if isinstance(key, slice):
            start, stop, step = key.indices(len(self))
            if step != 1:
                raise ValueError(f"a slice of rows needs step 1, got {step}")
            return self._between(start, max(start, stop))
        if isinstance(key, np.ndarray):
            return self.take(key)
        n = len(self)
        if not -n <= key < n:
            raise IndexError(f"there are {n} rows, got row {key}")
        start, stop = self.indptr[key % n], self.indptr[key % n + 1]
        return Sparse(self.indices[start:stop], self.values[start:stop])

    def take(self, order: np.ndarray) -> Rows:
        """The rows of these numbers, copied so that they lie in this order in memory."""
        order = np.asarray(order)
        starts = self.indptr[order]
        lengths = self.indptr[order + 1] - starts
        indptr = np.zeros(len(order) + 1, np.int64)
        np.cumsum(lengths, out=indptr[1:])
        where = np.repeat(starts - indptr[:-1], lengths)
        where += np.arange(indptr[-1])
        return Rows(self.values[where], self.indices[where], indptr, self.features)

    def _between(self, start: int, stop: int) -> Rows:
        first, last = self.indptr.item(start), self.indptr.item(stop)
        return Rows(
            self.values[first:last],
            self.indices[first:last],
            self.indptr[start : stop + 1] - first,
            self.features,
        )
