"""What the collectives share: a copy to add up in, chunks of it, and what arrives to be added."""

from __future__ import annotations

from typing import Any

import numpy as np

from ddml_kit.cluster.comm import Comm
from ddml_kit.cluster.payload import chunk_bounds


def own_copy(x: Any) -> np.ndarray:
    """A copy of the array x, in C order, to add up in.

    A tensor is taken for an array. Raises TypeError for anything else, and for what has no sum.
    """
    if not hasattr(x, "dtype"):
        raise TypeError(f"a sum over ranks needs an array, got {type(x).__name__}")
    copy = np.array(x, order="C")
    if copy.dtype.kind not in "iufc":
        raise TypeError(f"a sum over ranks needs numbers, got an array of {copy.dtype}")
    return copy


def cut(flat: np.ndarray, n: int) -> list[np.ndarray]:
    """n chunks of a vector, as views; the first are the longer, the last may be empty."""
    bounds = chunk_bounds(len(flat), n)
    return [flat[bounds[i] : bounds[i + 1]] for i in range(n)]


def received(comm: Comm, source: int, like: np.ndarray) -> np.ndarray:
    """The vector that this rank has sent, of the length and dtype of `like`, (k,).

    Raises ValueError for another: then the ranks did not call the collective alike.
    """
    value = comm.recv(source).value
    if type(value) is np.ndarray and value.shape == like.shape and value.dtype == like.dtype:
        return value
    raise unlike(comm, source, value, like)


def unlike(comm: Comm, source: int, value: Any, like: np.ndarray) -> ValueError:
    """That what `source` sent is not like what this rank has, each in words; in world ranks."""
    return ValueError(
        "a sum needs a vector of the same length and dtype on every rank: "
        f"rank {comm.members[source]} sent {_in_words(value)}, "
        f"rank {comm.members[comm.rank]} expects {_in_words(like)}"
    )


def _in_words(value: Any) -> str:
    """ "3 values of float64"."""
    if not isinstance(value, np.ndarray) or value.ndim != 1:
        return f"a {type(value).__name__}"
    return f"{len(value)} value{'s' * (len(value) != 1)} of {value.dtype}"
