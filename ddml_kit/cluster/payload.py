"""What a value weighs on the wire, and what a collective books: the same on every cluster."""

from __future__ import annotations

import pickle
from collections.abc import Collection, Sequence
from types import BuiltinFunctionType, FunctionType, MethodType
from typing import Any

import cloudpickle
import numpy as np

CODE = (type, FunctionType, BuiltinFunctionType, MethodType)
NUMBER = (int, float, np.integer, np.floating)  # what `nbytes` may be; 250e6 reads better


def payload_bytes(value: Any) -> int:
    """The bytes of `value` as a packed payload.

    An array or tensor: its bytes. A number: 8, a complex one 16. None: 0. Text and bytes: their
    length. A tuple, list or dict: the sum of its values. Anything with `nbytes`: that. A class or
    function: 0, as if it were known where it arrives. Another object: the sum of its attributes
    (its pickle would be longer where its class is not known, as a cell's is in a worker); one
    without attributes: its pickle. A container or object that is met again counts once.
    """
    return _payload_bytes(value, set())


def _payload_bytes(value: Any, seen: set[int]) -> int:
    """seen: the ids of the containers and objects that have been counted."""
    kind = type(value)
    if kind is float or kind is int:
        return 8
    if isinstance(value, CODE):
        return 0
    nbytes = getattr(value, "nbytes", None)
    if nbytes is not None and isinstance(nbytes, NUMBER):
        if isinstance(value, np.generic):
            return 16 if isinstance(value, np.complexfloating) else 8
        return int(nbytes)
    if value is None:
        return 0
    if isinstance(value, bool | int | float):
        return 8
    if isinstance(value, complex):
        return 16
    if isinstance(value, bytes | bytearray):
        return len(value)
    if isinstance(value, str):
        return len(value.encode())
    parts: Collection[Any]
    if isinstance(value, tuple | list):
        parts = value
    elif isinstance(value, dict):
        parts = value.values()
    elif hasattr(value, "__dict__"):
        parts = vars(value).values()
    else:
        return _pickled_bytes(value)
    if id(value) in seen:
        return 0
    seen.add(id(value))
    return sum(_payload_bytes(part, seen) for part in parts)


def _pickled_bytes(value: Any) -> int:
    try:
        return len(pickle.dumps(value, 5))
    except Exception:  # of a class that only a notebook's cell knows
        return len(cloudpickle.dumps(value, 5))


def chunk_bounds(length: int, n: int) -> list[int]:
    """Where a vector of `length` is cut into n chunks: n + 1 bounds; the first are the longer."""
    short, longer = divmod(length, n)
    return [i * short + min(i, longer) for i in range(n + 1)]


def all_reduce_bytes(length: int, itemsize: int, n: int, position: int) -> int:
    """Bytes that one of n ranks sends in an all-reduce, as a reduce-scatter and an all-gather.

    All of its chunks but its own, then its own sum to the n - 1 others; over all ranks exactly
    2 (n - 1) length itemsize. A cluster that shares memory may move fewer for a short vector; the
    books are those of the algorithm.
    """
    if n == 1:
        return 0
    own = length // n + (position < length % n)  # as chunk_bounds cuts it
    return (length + (n - 2) * own) * itemsize


def all_gather_bytes(own: int, n: int) -> int:
    """Bytes that one of n ranks sends in an all-gather: its own value to each of the others."""
    return (n - 1) * own


def binomial_tree(position: int, root: int, n: int) -> tuple[int | None, list[int]]:
    """In a broadcast among n ranks: from whom one of them has the value, None for the root, and to
    whom it sends it, in order. In round k the 2^k ranks that have the value each send it on.
    """
    distance = (position - root) % n
    step = 1 << distance.bit_length()
    parent = (root + distance - step // 2) % n if distance else None
    children = []
    while distance + step < n:
        children.append((root + distance + step) % n)
        step <<= 1
    return parent, children


def broadcast_bytes(nbytes: int, n: int, position: int, root: int) -> int:
    """Bytes that one of n ranks sends in a broadcast down a binomial tree from `root`."""
    return len(binomial_tree(position, root, n)[1]) * nbytes


def fold(vectors: Sequence[np.ndarray], op: np.ufunc, out: np.ndarray | None = None) -> np.ndarray:
    """vectors[0] op vectors[1] op ..., from the left, in a new array or in `out`."""
    if out is None:
        out = np.empty_like(vectors[0])
    np.copyto(out, vectors[0])
    for vector in vectors[1:]:
        op(out, vector, out=out)
    return out
