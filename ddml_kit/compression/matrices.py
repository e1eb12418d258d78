"""The matrices inside a flat vector.

A gradient comes as one vector in which tensors lie one after the other (`Problem.shapes`). What
looks at matrices sees a tensor as its first dimension against all the others, as T. Vogels, S. P.
Karimireddy and M. Jaggi do (arXiv 1905.13727): a layer's outputs by its inputs, a convolution's
channels by all that each of them sees. Tensors of one dimension, such as biases, are no matrices.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

Shapes = Sequence[Sequence[int]]  # of the tensors, in the vector's order


class Part(NamedTuple):
    """A tensor inside a vector: where it lies, and its rows and columns; (n, 1) for no matrix."""

    where: slice
    rows: int
    columns: int

    @property
    def is_matrix(self) -> bool:
        return min(self.rows, self.columns) > 1

    def of(self, vector: np.ndarray) -> np.ndarray:
        """The matrix, (rows, columns), a view of the vector, (d,)."""
        return vector[self.where].reshape(self.rows, self.columns)


def parts(shapes: Shapes) -> list[Part]:
    """Each tensor of the vector, in order; none for those without elements.

    Raises ValueError for shapes that are no shapes.
    """
    found, start = [], 0
    for shape in shapes:
        if any(side < 0 for side in shape):
            raise ValueError(f"shapes must be those of tensors, got {tuple(shape)}")
        rows, columns = (shape[0] if shape else 1), math.prod(shape[1:])
        stop = start + rows * columns
        if stop > start:
            found.append(Part(slice(start, stop), rows, columns))
        start = stop
    return found


def size(shapes: Shapes) -> int:
    """The length of the vector that has tensors of these shapes."""
    return sum(math.prod(shape) for shape in shapes)


def check_length(x: np.ndarray, shapes: Shapes) -> None:
    """Raises ValueError unless x, (d,), is as long as its tensors together."""
    if x.shape != (size(shapes),):
        raise ValueError(f"shapes hold {size(shapes)} values, got a vector of shape {np.shape(x)}")
