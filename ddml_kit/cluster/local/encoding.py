"""How a value becomes bytes in shared memory, and a value again.

Arrays and tensors: their bytes. A tuple of whole numbers with a vector at its end, which is what
programs send most besides: those, and its bytes. The rest: pickle protocol 5 with the bytes of
arrays beside it (PEP 574). What pickle can't find by name, say a class from a notebook's cell,
cloudpickle sends by value.
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
from typing import Any

import cloudpickle
import numpy as np

from ddml_kit.cluster.local.system import ALIGN
from ddml_kit.cluster.payload import payload_bytes

VECTOR, ARRAY, TENSOR, OBJECT, NOTED = range(5)
KEEP = 1 << 15  # bytes from which content is received where it lies
LARGE = 1 << 16  # bytes from which other strands may run while content is copied
PLAIN: dict[int, np.dtype] = {np.dtype(char).num: np.dtype(char) for char in "?bBhHiIlLqQefdgFDG"}
NOTHING = -1  # in place of a dtype's number
WHOLE = {int}
_BYTE = np.dtype(np.uint8)
_empty = np.empty(0, _BYTE)
_notes = [struct.Struct(f"{1 + count}q") for count in range(8)]
_array = np.ndarray
_vector_code = {dtype: VECTOR | number << 8 for number, dtype in PLAIN.items()}

# A value on its way. code: the kind, and times 256 what else there is to know: a vector's dtype
# by its number, else the length of `head`. head: dtype and shape, or the lengths of an object's
# parts, or a vector's dtype by its number and the numbers noted before it. nbytes: the room that
# the content takes. booked: its payload, as the trace counts it. content: an array, or the parts
# of an object. A plain tuple, because one is made for each message.
Encoded = tuple[int, bytes, int, int, Any]


def encode(value: Any) -> Encoded:
    """`value` as (code, head, nbytes, booked, content), to be written; nothing is copied yet.

    Raises TypeError for what can't be sent.
    """
    kind = type(value)
    if kind is _array:
        dtype, nbytes = value.dtype, value.nbytes
        code = _vector_code.get(dtype)  # none if its byte order is not the machine's
        if code is not None:
            if value.ndim == 1 and nbytes and value.flags.c_contiguous:
                return code, b"", nbytes, nbytes, value
            head = _array_head(dtype, value.shape)
            return ARRAY | len(head) << 8, head, nbytes, nbytes, value
    elif kind.__module__ == "torch" and _is_plain(value):
        content = _tensor_bytes(value)
        head = repr((str(value.dtype), tuple(value.shape))).encode()
        return TENSOR | len(head) << 8, head, content.nbytes, content.nbytes, content
    elif kind is tuple and value and (noted := _encode_noted(value)):
        return noted
    return _encode_object(value)


def room(encoded: Encoded) -> int:
    """The bytes that `write` needs."""
    code, _, nbytes, _, _ = encoded
    return nbytes if code & 255 == VECTOR else _padded(code >> 8) + nbytes


def write(encoded: Encoded, view: mmap.mmap, offset: int) -> None:
    """Put head and content down at `offset`, a multiple of 64."""
    code, head, nbytes, _, content = encoded
    kind = code & 255
    if kind == VECTOR and nbytes < LARGE:
        view[offset : offset + nbytes] = content
        return
    view[offset : offset + len(head)] = head
    offset += _padded(len(head))
    if kind == NOTED and nbytes < LARGE:
        view[offset : offset + nbytes] = content
    elif kind == OBJECT:
        for part in content:
            if part.nbytes < LARGE:
                view[offset : offset + part.nbytes] = part
            else:
                np.frombuffer(view, _BYTE, part.nbytes, offset)[...] = part
            offset += _padded(part.nbytes)
    else:
        np.ndarray(content.shape, content.dtype, view, offset)[...] = content


def read(code: int, nbytes: int, view: mmap.mmap, offset: int) -> tuple[Any, np.ndarray | None]:
    """The value, and the array that owns its memory if that is still in `view`.

    A long value's arrays stay where they are; the room is theirs until the owner dies. Arrays are
    writable either way.
    """
    kind, keep = code & 255, nbytes >= KEEP
    array: np.ndarray
    if kind == VECTOR:
        dtype = PLAIN[code >> 8]
        if not keep:
            return np.frombuffer(bytearray(view[offset : offset + nbytes]), dtype), None
        array = np.frombuffer(view, dtype, nbytes // dtype.itemsize, offset)
        return array, array
    head = view[offset : offset + (code >> 8)]
    offset += _padded(code >> 8)
    if kind == OBJECT:
        return _read_object(head, nbytes, view, offset, keep)
    if kind == NOTED:
        return _read_noted(head, nbytes, view, offset, keep)
    dtype, shape = _array_layout(head) if kind == ARRAY else (_BYTE, (nbytes,))
    array = np.ndarray(shape, dtype, view, offset)
    if not keep:
        array = array.copy()
    value = array if kind == ARRAY else _as_tensor(array, *ast.literal_eval(head.decode()))
    return value, array if keep else None


# ------------------------------------------------------------- numbers, and a vector


def _encode_noted(value: tuple) -> Encoded | None:
    """A tuple of whole numbers and a vector, or None, as its last; None if it is another one."""
    *numbers, last = value
    if last is None:
        dtype, nbytes, content = NOTHING, 0, _empty
    elif type(last) is _array and last.dtype in _vector_code:
        dtype, nbytes, content = last.dtype.num, last.nbytes, last
        if last.ndim != 1 or not nbytes or not last.flags.c_contiguous:
            return None
    else:
        return None
    if set(map(type, numbers)) - WHOLE:
        return None
    try:
        head = _notes[len(numbers)].pack(dtype, *numbers)
    except (struct.error, IndexError):  # too long a number, or too many
        return None
    return NOTED | len(head) << 8, head, nbytes, 8 * len(numbers) + nbytes, content


def _read_noted(
    head: bytes, nbytes: int, view: mmap.mmap, offset: int, keep: bool
) -> tuple[Any, np.ndarray | None]:
    number, *numbers = _notes[len(head) // 8 - 1].unpack(head)
    if number == NOTHING:
        return (*numbers, None), None
    dtype = PLAIN[number]
    if not keep:
        content = bytearray(view[offset : offset + nbytes])
        return (*numbers, np.frombuffer(content, dtype)), None
    array = np.frombuffer(view, dtype, nbytes // dtype.itemsize, offset)
    return (*numbers, array), array


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

    torch_dtype = getattr(torch, dtype.removeprefix("torch."))
    if not array.size:  # has no last stride to be viewed by
        return torch.empty(shape, dtype=torch_dtype)
    return torch.from_numpy(array).view(torch_dtype).reshape(shape)


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
    nbytes = sum(_padded(part.nbytes) for part in parts)
    return OBJECT | len(head) << 8, head, nbytes, payload_bytes(value), parts


def _read_object(
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
