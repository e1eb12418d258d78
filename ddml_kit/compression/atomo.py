"""ATOMO: a few of a matrix's singular vectors, drawn so that the result is right on average.

H. Wang, S. Sievert, Z. Charles, S. Liu, S. Wright, D. Papailiopoulos, "ATOMO: Communication-
efficient Learning via Atomic Sparsification", NeurIPS 2018, arXiv 1806.04090. A vector is a sum of
atoms, sum_i lambda_i a_i; atom i is kept with probability p_i and divided by it, so that the mean
stays and the squared error is sum_i lambda_i^2 (1/p_i - 1) on average, where the a_i are
orthonormal. Among all p that keep s atoms on average, those of algorithm 1 have the least error. As
atoms we take a matrix's singular values and vectors (spectral ATOMO); entries would be TernGrad's
or QSGD's, which are algorithm 1 at budgets of ||x||_1 / ||x||_inf and ||x||_1 / ||x||_2.

A kept atom of an (n, m) matrix travels as n + m float32: a singular value, divided by its
probability, is multiplied into its left vector. Departures: tensors of one dimension are sent as
they are, where the authors' code folds them in two; those of more are seen as their first
dimension against the others (matrices.py). Their code also draws again where no atom has been
kept, which makes the mean wrong; here that matrix is then zero.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ddml_kit.cluster.checks import real
from ddml_kit.compression.codec import drawn, finite_vector
from ddml_kit.compression.matrices import Shapes, check_length, parts
from ddml_kit.compression.payload import Payload
from ddml_kit.compression.reading import Reader

VALUE, COUNT = np.dtype("<f4"), np.dtype("<u4")


@dataclass(frozen=True)
class ATOMO:
    """shapes: of the tensors inside the vector. budget: atoms of each matrix, on average."""

    shapes: Shapes
    budget: float

    def __post_init__(self) -> None:
        if not real("budget must be a number of atoms", self.budget) > 0:
            raise ValueError(f"budget must be more than 0 atoms, got {self.budget}")
        object.__setattr__(self, "shapes", tuple(tuple(shape) for shape in self.shapes))

    def encode(self, x: np.ndarray, rng: np.random.Generator | None = None) -> Payload:
        """Of each matrix the number of its atoms and these; what is no matrix as it is.

        Raises what `Codec.encode` raises, and ValueError if the shapes are not those of x, (d,).
        """
        rng = drawn(rng, "ATOMO")
        values = finite_vector(x)
        check_length(values, self.shapes)
        data = []
        for part in parts(self.shapes):
            if not part.is_matrix:
                data.append(values[part.where].astype(VALUE, copy=False).tobytes())
                continue
            U, sizes, Vt = np.linalg.svd(part.of(values), full_matrices=False)
            p = probabilities(sizes, self.budget)
            kept = np.flatnonzero(rng.random(len(p)) < p)
            left = (U[:, kept] * (sizes[kept] / p[kept])).astype(VALUE)
            data.append(np.array(len(kept), COUNT).tobytes())
            data.append(left.tobytes() + Vt[kept].astype(VALUE, copy=False).tobytes())
        return Payload(b"".join(data), len(values))

    def decode(self, payload: Payload) -> np.ndarray:
        """The atoms added up, (d,) float32. Raises ValueError as `Codec.decode` does."""
        x = np.zeros(payload.length, np.float32)
        check_length(x, self.shapes)
        reader = Reader(payload, "ATOMO")
        for part in parts(self.shapes):
            if not part.is_matrix:
                x[part.where] = reader.array(VALUE, part.rows * part.columns)
                continue
            atoms = int(reader.array(COUNT, 1)[0])
            if atoms > min(part.rows, part.columns):
                raise reader.wrong(f"a {part.rows} x {part.columns} matrix of {atoms} atoms")
            left = reader.array(VALUE, part.rows * atoms).reshape(part.rows, atoms)
            right = reader.array(VALUE, atoms * part.columns).reshape(atoms, part.columns)
            np.matmul(left, right, out=part.of(x))
        reader.end()
        return x


def probabilities(sizes: np.ndarray, budget: float) -> np.ndarray:
    """How probably each atom is kept, (n,) float64: algorithm 1.

    They add up to the budget, or to the number of atoms of a size above 0 if that is smaller.
    sizes: |lambda|, falling, (n,). budget: s. An atom so large that its share of the budget were
    more than 1 is kept for certain, and the others share what is left in proportion to their sizes.
    Atoms of size 0 are never kept. Raises ValueError unless budget > 0 and the sizes fall.
    """
    if not budget > 0:
        raise ValueError(f"budget must be more than 0 atoms, got {budget}")
    sizes = np.asarray(sizes, np.float64)
    if np.any(np.diff(sizes) > 0) or np.any(sizes < 0):
        raise ValueError(f"sizes must fall and not be negative, got {sizes}")
    left = budget - np.arange(len(sizes))  # of the budget, once the atoms before are kept
    tail = np.cumsum(sizes[::-1])[::-1]
    shared = sizes * left <= tail
    first = int(shared.argmax()) if shared.any() else len(sizes)
    p = np.ones(len(sizes))
    if first < len(sizes):
        p[first:] = sizes[first:] * left[first] / tail[first] if tail[first] > 0 else 0.0
    return p


def variance(sizes: np.ndarray, p: np.ndarray) -> float:
    """The squared error on average, sum lambda^2 (1/p - 1), of orthonormal atoms kept so."""
    sizes, p = np.asarray(sizes, np.float64), np.asarray(p, np.float64)
    met = sizes > 0
    return float(np.sum(sizes[met] ** 2 * (1 / p[met] - 1)))
