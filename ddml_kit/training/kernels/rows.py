"""Sparse rows copied into the order and the numbering in which they will be read.

What NumPy does through index arrays as long as the data is done here in one pass.
"""

from __future__ import annotations

import numba

compiled = numba.njit(cache=True, nogil=True)


@compiled
def count(indices, frequency):
    """Add to frequency[j] how often j occurs among the indices."""
    for j in indices:
        frequency[j] += 1


@compiled
def lay(values, indices, indptr, order, place, new_values, new_indices, new_indptr):
    """Write the rows of these numbers one after the other, index j turned into place[j].

    values, indices, indptr: the rows, as in problems.csr. order: (n,) row numbers. The new arrays
    have room for just those rows. (They come from NumPy, which asks for large pages.)
    """
    end = 0
    new_indptr[0] = end
    for i, row in enumerate(order):
        for j in range(indptr[row], indptr[row + 1]):
            new_values[end] = values[j]
            new_indices[end] = place[indices[j]]
            end += 1
        new_indptr[i + 1] = end
