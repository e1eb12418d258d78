"""What the collectives share: the vector as it is sent, chunks of it, and what arrives."""

from __future__ import annotations

from typing import Any

import numpy as np

from ddml_kit.cluster.comm import Comm
from ddml_kit.cluster.payload import chunk_bounds


def summable(x: Any) -> np.ndarray:
    """The array x in C order; a tensor is taken for an array.

    Raises TypeError for anything else, and for what has no sum.
    """
    if not hasattr(x, "dtype"):
        raise TypeError(f"a sum over ranks needs an array, got {type(x).__name__}")
    array = np.asarray(x, order="C")
    if array.dtype.kind not in "iufc":
        raise TypeError(f"a sum over ranks needs numbers, got an array of {array.dtype}")
    return array


def cut(flat: np.ndarray, n: int) -> list[np.ndarray]:
    """n chunks of a vector, as views; the first are the longer, the last may be empty."""
    bounds = chunk_bounds(len(flat), n)
    return [flat[bounds[i] : bounds[i + 1]] for i in range(n)]


def received(comm: Comm, source: int, like: np.ndarray, any_length: bool = False) -> np.ndarray:
    """The vector that `source` has sent, of the length and dtype of `like`, (k,); one's own.

    Raises ValueError for another, in world ranks: the ranks did not call the collective alike.
    """
    value = comm.recv(source).value
    fits = type(value) is np.ndarray and value.dtype == like.dtype and value.ndim == 1
    if fits and (any_length or len(value) == len(like)):
        return value
    raise ValueError(
        "the ranks need vectors of one length and dtype: "
        f"rank {comm.members[source]} sent {_in_words(value)}, "
        f"rank {comm.members[comm.rank]} expects {_in_words(like)}"
    )


def _in_words(value: Any) -> str:
    """For example "3 values of float64"."""
    if not isinstance(value, np.ndarray) or value.ndim != 1:
        return f"a {type(value).__name__}"
    return f"{len(value)} value{'s' * (len(value) != 1)} of {value.dtype}"
