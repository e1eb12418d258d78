"""Whole numbers in the fewest bits that hold them all, one after the other, lowest bit first."""

from __future__ import annotations

import numpy as np

from ddml_kit.compression.kernels import packing

WHOLE = {8: "<u1", 16: "<u2", 32: "<u4"}  # bits that NumPy has a type for


def width(n: int) -> int:
    """The bits that hold each of the numbers 0 to n - 1: 20 for a million, 0 for one."""
    return int(max(n - 1, 0)).bit_length()


def nbytes(number: int, bits: int) -> int:
    """The bytes of so many numbers of so many bits each, the last byte filled up."""
    return (number * bits + 7) // 8


def pack(numbers: np.ndarray, bits: int) -> bytes:
    """The numbers, (k,), each 0 or more and below 2^bits, in nbytes(k, bits) bytes; bits <= 32."""
    if bits in WHOLE:
        return numbers.astype(WHOLE[bits], copy=False).tobytes()
    packed = np.empty(nbytes(len(numbers), bits), np.uint8)
    packing.pack(np.ascontiguousarray(numbers, np.uint32), 0, bits, packed)
    return packed.tobytes()


def unpack(data: bytes, number: int, bits: int) -> np.ndarray:
    """The numbers that `pack` packed, (number,) uint32."""
    if bits in WHOLE:
        return np.frombuffer(data, WHOLE[bits], number).astype(np.uint32)
    numbers = np.empty(number, np.uint32)
    packing.unpack(np.frombuffer(data, np.uint8), 0, bits, numbers)
    return numbers
