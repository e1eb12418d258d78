"""How a value becomes bytes in shared memory, and a value again.

Arrays and tensors: their bytes. The rest: pickle protocol 5 with the bytes of arrays beside it
(PEP 574). What pickle can't find by name, say a class from a notebook's cell, cloudpickle sends by
value.
"""

from __future__ import annotations

import ast
import copyreg
import io
import mmap
import pickle
import struct
import sys
from collections.abc import Callable
from functools import cache, lru_cache
from typing import Any, NamedTuple

import cloudpickle
import numpy as np

from ddml_kit.cluster.payload import payload_bytes

ARRAY, TENSOR, OBJECT = range(3)
ALIGN = 64
_BYTE = np.dtype(np.uint8)


class Encoded(NamedTuple):
    """A value on its way: what `write` puts down, and what `decode` needs to know."""

    kind: int
    head: bytes  # dtype and shape, or the lengths of an object's parts
    nbytes: int  # room that the content takes
    booked: int  # its payload, as the trace counts it
    content: Any  # an array, or the parts of an object


def encode(value: Any) -> Encoded:
    """`value`, ready to be written; nothing is copied yet."""
    kind = type(value)
    if kind is np.ndarray:
        dtype = value.dtype
        if dtype.num < 17 or dtype.num == 23:  # the plain numbers; 17 up: objects, text, records
            head = _array_head(dtype, value.shape)
            return Encoded(ARRAY, head, value.nbytes, value.nbytes, value)
    elif kind.__module__ == "torch" and _is_plain(value):
        content = _tensor_bytes(value)
        head = repr((str(value.dtype), tuple(value.shape))).encode()
        return Encoded(TENSOR, head, content.nbytes, content.nbytes, content)
    return _encode_object(value)


def write(encoded: Encoded, view: mmap.mmap, offset: int) -> None:
    """Put the content down at `offset`."""
    content = encoded.content
    if encoded.kind != OBJECT:
        np.ndarray(content.shape, content.dtype, view, offset)[...] = content
        return
    for part in content:
        view[offset : offset + part.nbytes] = part
        offset += _padded(part.nbytes)


def decode(
    kind: int, head: bytes, nbytes: int, view: mmap.mmap, offset: int, keep: bool
) -> tuple[Any, np.ndarray | None]:
    """The value, and the array that owns its memory if it lies in `view` itself.

    keep: leave the bytes of arrays where they are; they are the value's until that array dies.
    Arrays are writable either way.
    """
    if kind == OBJECT:
        return _decode_object(head, nbytes, view, offset, keep)
    if kind == ARRAY:
        dtype, shape = _array_layout(head)
        array = value = np.ndarray(shape, dtype, view, offset)
        if not keep:
            array = value = array.copy()
    else:
        array = np.ndarray((nbytes,), _BYTE, view, offset)
        if not keep:
            array = array.copy()
        value = _as_tensor(array, *ast.literal_eval(head.decode()))
    return value, array if keep else None


# ------------------------------------------------------------------ arrays and tensors


@lru_cache(1024)
def _array_head(dtype: np.dtype, shape: tuple[int, ...]) -> bytes:
    return repr((dtype.str, shape)).encode()


@lru_cache(1024)
def _array_layout(head: bytes) -> tuple[np.dtype, tuple[int, ...]]:
    dtype, shape = ast.literal_eval(head.decode())
    return np.dtype(dtype), shape


def _is_plain(value: Any) -> bool:
    """Whether it is a torch tensor whose bytes say it all."""
    torch = sys.modules["torch"]
    return type(value) is torch.Tensor and value.layout is torch.strided


def _tensor_bytes(tensor: Any) -> np.ndarray:
    """The bytes of a tensor, (k,) uint8, without a copy if it is contiguous; on the CPU."""
    torch = sys.modules["torch"]
    tensor = tensor.detach().cpu().resolve_conj().resolve_neg().contiguous()
    return tensor.reshape(-1).view(torch.uint8).numpy()


def _as_tensor(array: np.ndarray, dtype: str, shape: tuple[int, ...]) -> Any:
    import torch

    return torch.from_numpy(array).view(getattr(torch, dtype.removeprefix("torch."))).reshape(shape)


# ------------------------------------------------------------------------------- objects


def _encode_object(value: Any) -> Encoded:
    buffers: list[pickle.PickleBuffer] = []
    try:
        pickled = _pickle(value, buffers.append)
    except Exception:
        buffers.clear()
        try:
            pickled = cloudpickle.dumps(value, protocol=5, buffer_callback=buffers.append)
        except Exception as error:
            raise TypeError(f"a {type(value).__name__} can't be sent: {error}") from error
    parts = [memoryview(pickled), *(buffer.raw() for buffer in buffers)]
    head = struct.pack(f"{len(parts)}q", *(part.nbytes for part in parts))
    return Encoded(
        OBJECT, head, sum(_padded(part.nbytes) for part in parts), payload_bytes(value), parts
    )


def _decode_object(
    head: bytes, nbytes: int, view: mmap.mmap, offset: int, keep: bool
) -> tuple[Any, np.ndarray | None]:
    lengths = struct.unpack(f"{len(head) // 8}q", head)
    pickled = view[offset : offset + lengths[0]]
    if len(lengths) == 1:
        return pickle.loads(pickled), None
    # Buffers are cut from one array, which lives as long as any of them
    owner = np.ndarray((nbytes,), _BYTE, view, offset)
    if not keep:
        owner = owner.copy()
    buffers, position = [], _padded(lengths[0])
    for length in lengths[1:]:
        buffers.append(owner[position : position + length])
        position += _padded(length)
    return pickle.loads(pickled, buffers=buffers), owner if keep else None


def _pickle(value: Any, beside: Callable[[pickle.PickleBuffer], Any]) -> bytes:
    file = io.BytesIO()
    pickler = pickle.Pickler(file, 5, buffer_callback=beside)
    pickler.dispatch_table = _reducers("torch" in sys.modules)
    pickler.dump(value)
    return file.getvalue()


@cache
def _reducers(with_torch: bool) -> dict[type, Callable[[Any], Any]]:
    """How arrays and tensors inside an object are pickled, by type."""
    reducers = {**copyreg.dispatch_table, np.ndarray: _reduce_array}
    if with_torch:
        reducers[sys.modules["torch"].Tensor] = _reduce_tensor
    return reducers


def _reduce_array(array: np.ndarray) -> Any:
    """As NumPy does it; but one that is read-only here is not so where it arrives."""
    return (array if array.flags.writeable else array.copy()).__reduce_ex__(5)


def _reduce_tensor(tensor: Any) -> Any:
    """As an array: torch's own pickles carry the bytes inside."""
    if not _is_plain(tensor):
        return tensor.__reduce_ex__(5)
    return _as_tensor, (_tensor_bytes(tensor), str(tensor.dtype), tuple(tensor.shape))


def _padded(nbytes: int) -> int:
    return -(-nbytes // ALIGN) * ALIGN
