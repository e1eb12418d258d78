"""A value as it arrives in another rank: its own copy, writable, with no gradient attached."""

from __future__ import annotations

import io
import pickle
import sys
from typing import Any

import cloudpickle
import numpy as np

# Nothing can change them, so that they need no copy.
CONSTANTS = frozenset({type(None), bool, int, float, complex, str, bytes})
DEEPEST = 4  # nesting that is copied without pickle, which also knows loops


class _NeedsPickle(Exception):
    """The value holds something other than arrays, tensors and constants."""


def copied(value: Any) -> Any:
    """A copy of `value` that shares nothing with it, arrays writable, tensors detached.

    Raises TypeError for what can't be copied.
    """
    try:
        return _copied(value, {}, 0)
    except _NeedsPickle:
        return _pickled(value)


def _copied(value: Any, copies: dict[int, Any], depth: int) -> Any:
    """`copies`, by id, keep two mentions of one array one array."""
    kind = type(value)
    if kind in CONSTANTS:
        return value
    if id(value) in copies:
        return copies[id(value)]
    copy: Any
    if kind is np.ndarray and not value.dtype.hasobject:
        copy = value.copy()
    elif _is_tensor(value):
        copy = value.detach().clone()
    elif depth == DEEPEST:
        raise _NeedsPickle
    elif kind is tuple or kind is list:
        copy = kind([_copied(item, copies, depth + 1) for item in value])
    elif kind is dict:
        copy = {
            _copied(key, copies, depth + 1): _copied(item, copies, depth + 1)
            for key, item in value.items()
        }
    elif issubclass(kind, tuple) and hasattr(kind, "_fields"):  # a NamedTuple, as Sparse is
        copy = tuple.__new__(kind, [_copied(item, copies, depth + 1) for item in value])
    else:
        raise _NeedsPickle
    copies[id(value)] = copy
    return copy


def _pickled(value: Any) -> Any:
    buffers: list[pickle.PickleBuffer] = []
    try:
        pickled = _dumps(value, buffers)
    except Exception as error:
        raise TypeError(f"a {type(value).__name__} can't be sent: {error}") from error
    return pickle.loads(pickled, buffers=[bytearray(buffer.raw()) for buffer in buffers])


def _dumps(value: Any, buffers: list[pickle.PickleBuffer]) -> bytes:
    """Pickle 5 with arrays beside it; by value what only a notebook's cell defines."""
    file = io.BytesIO()
    try:
        _Pickler(file, 5, buffer_callback=buffers.append).dump(value)
        return file.getvalue()
    except (pickle.PicklingError, AttributeError, TypeError):
        # Plain pickle looks classes and functions up by name. Those of a cell, as a rank has
        # them, can't be found so.
        buffers.clear()
        return cloudpickle.dumps(value, 5, buffer_callback=buffers.append)


class _Pickler(pickle.Pickler):
    """Sends arrays and tensors inside a value as it sends them by themselves."""

    def reducer_override(self, value: Any) -> Any:
        if type(value) is np.ndarray and not value.flags.writeable:
            return value.copy().__reduce_ex__(5)  # pickle would make it read-only there, too
        if _is_tensor(value):
            return value.detach().clone().__reduce_ex__(5)  # clone: not all that it is a view of
        return NotImplemented


def _is_tensor(value: Any) -> bool:
    torch = sys.modules.get("torch")
    return torch is not None and type(value) is torch.Tensor
