"""Some entries of a vector as bytes: their values, float32, then where they are."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from ddml_kit.compression import bits
from ddml_kit.compression.kernels import sizes

VALUE = np.dtype("<f4")


class Places(NamedTuple):
    """How rising indices below d become bytes, and bytes indices again.

    pack(indices (k,), d) -> bytes; unpack(data, k, d) -> (k,), which raises ValueError where the
    bytes are not those of k indices below d.
    """

    pack: Callable[[np.ndarray, int], bytes]
    unpack: Callable[[bytes, int, int], np.ndarray]


def pack_whole(indices: np.ndarray, d: int) -> bytes:
    """Each index in the fewest bits that hold d numbers: 20 for a million."""
    return bits.pack(indices, bits.width(d))


def unpack_whole(data: bytes, k: int, d: int) -> np.ndarray:
    """The indices that `pack_whole` packed, (k,) uint32."""
    each = bits.width(d)
    if len(data) != bits.nbytes(k, each):
        raise _others(k, d, f"take {bits.nbytes(k, each)} bytes, got {len(data)}")
    return bits.unpack(data, k, each)


def pack_gaps(indices: np.ndarray, d: int) -> bytes:
    """Differences instead of indices, by the code of R. F. Rice and J. R. Plaunt (1971).

    Indices spread evenly leave gaps of d / k on average. The low bits of each, log2(d / k) of them,
    come as they are; the rest, mostly 0 or 1, in unary: so many ones, and a zero. About
    2 + log2(d / k) bits each, 11.4 instead of 20 for one in a thousand of a million.
    """
    distances: np.ndarray = np.diff(indices.astype(np.int64), prepend=-1)
    skipped = distances - 1
    low = _low(len(indices), d)
    ends = np.cumsum((skipped >> low) + 1)  # in the unary part, one past the zero of each
    unary = np.ones(int(ends[-1]) if len(ends) else 0, np.uint8)
    unary[ends - 1] = 0
    head = bits.pack(skipped & ((1 << low) - 1), low)
    return head + np.packbits(unary, bitorder="little").tobytes()


def unpack_gaps(data: bytes, k: int, d: int) -> np.ndarray:
    """The indices that `pack_gaps` packed, (k,) int64."""
    low = _low(k, d)
    head = bits.nbytes(k, low)
    unary = np.unpackbits(np.frombuffer(data[head:], np.uint8), bitorder="little")
    zeros = np.flatnonzero(unary == 0)[:k]
    if len(data) < head or len(zeros) < k or len(data) - head != (_end(zeros) + 7) // 8:
        raise _others(k, d, f"are not what {len(data)} bytes hold")
    distances: np.ndarray = np.diff(zeros, prepend=-1)
    high = distances - 1
    return np.cumsum((high << low) + bits.unpack(data[:head], k, low) + 1) - 1


whole = Places(pack_whole, unpack_whole)
gaps = Places(pack_gaps, unpack_gaps)


def pack(x: np.ndarray, indices: np.ndarray, places: Places = whole) -> bytes:
    """The entries of x, (d,) float32, at these rising indices, (k,)."""
    values = x[indices].astype(VALUE, copy=False)
    return values.tobytes() + places.pack(indices, len(x))


def unpack(data: bytes, k: int, d: int, places: Places = whole) -> np.ndarray:
    """The vector that is 0 but for those k entries, (d,) float32.

    Raises ValueError where the bytes are not those of k entries of d.
    """
    head = k * VALUE.itemsize
    if len(data) < head:
        raise _others(k, d, f"have values of {head} bytes, got {len(data)}")
    values = np.frombuffer(data, VALUE, k)
    x = np.zeros(d, np.float32)
    if not sizes.scatter(places.unpack(data[head:], k, d), values, x):
        raise _others(k, d, "have indices below that, got a larger one")
    return x


def _low(k: int, d: int) -> int:
    return max(d // max(k, 1), 1).bit_length() - 1


def _end(zeros: np.ndarray) -> int:
    return int(zeros[-1]) + 1 if len(zeros) else 0


def _others(k: int, d: int, why: str) -> ValueError:
    return ValueError(f"{k} entries of {d} {why}: the payload is truncated, or another codec's")
