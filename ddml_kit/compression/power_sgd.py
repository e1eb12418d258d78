"""The linear algebra of PowerSGD: a matrix as the product of two thin ones.

T. Vogels, S. P. Karimireddy, M. Jaggi, "PowerSGD: Practical Low-Rank Gradient Compression for
Distributed Optimization", NeurIPS 2019, arXiv 1905.13727, algorithm 1. One step of the power method
for M, (n, m), from Q, (m, r): P = M Q; P's columns made orthonormal; Q = M^T P; M is about P Q^T,
which is P P^T M, the projection onto what P spans. Both products are linear in M, so the mean of
the ranks' thin matrices is that of their mean: training/low_rank.py sums them instead of M, which
are r (n + m) values instead of n m. Where the mean has rank r or less, and Q meets all of it, the
result is exact.

Departures: columns are made orthonormal by Householder's reflections, the paper's Gram-Schmidt
divides by zero where a matrix has a lower rank than r; a column of Q that has become zero is drawn
again, or it would stay zero for ever. A matrix goes uncompressed where r (n + m) values are not
fewer than n m.
"""

from __future__ import annotations

import numpy as np
from scipy.linalg import lapack

from ddml_kit.compression.matrices import Part

HOUSEHOLDER = {  # by the kind of number: LAPACK's factorisation, and its orthonormal columns
    np.dtype(np.float32): (lapack.sgeqrf, lapack.sorgqr),
    np.dtype(np.float64): (lapack.dgeqrf, lapack.dorgqr),
}


def pays(part: Part, rank: int) -> bool:
    """Whether two thin matrices of this rank are fewer values than the matrix."""
    return rank * (part.rows + part.columns) < part.rows * part.columns


def draw_empty(Q: np.ndarray, rng: np.random.Generator) -> None:
    """Fill those columns of Q, (m, r), that are zero with normal numbers."""
    empty = ~Q.any(axis=0)
    if empty.any():
        Q[:, empty] = rng.standard_normal((len(Q), int(np.count_nonzero(empty))))


def orthonormal(P: np.ndarray) -> np.ndarray:
    """Orthonormal columns that span those of P, (n, r), r <= n; of lower rank: and some more.

    P: finite, float32 or float64; it may be overwritten.
    """
    factorise, columns = HOUSEHOLDER[P.dtype]
    reflections, scales, _, _ = factorise(P)
    return columns(reflections, scales)[0]


def product(P: np.ndarray, Q: np.ndarray, out: np.ndarray) -> None:
    """Put P Q^T, (n, m), into out."""
    if P.shape[1] == 1:  # NumPy's matmul leaves BLAS for one column, and is five times slower
        np.multiply(P, Q.T, out=out)
    else:
        np.matmul(P, Q.T, out=out)
