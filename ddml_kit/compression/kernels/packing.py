"""Numbers of a few bits each, packed and unpacked; the signs of a vector as bits. Compiled.

Indices are unsigned, or numba would test each for counting from the end.
"""

from __future__ import annotations

import numba
import numpy as np

compiled = numba.njit(cache=True, nogil=True, error_model="numpy")


@compiled
def pack(numbers, bits, packed):
    """Write the numbers, (k,) uint32, into packed, (ceil(k bits / 8),) uint8, lowest bit first."""
    waiting = np.uint64(0)  # bits that don't fill a byte yet
    many = 0
    end = np.uint64(0)
    for i in range(len(numbers)):
        waiting |= np.uint64(numbers[np.uint64(i)]) << np.uint64(many)
        many += bits
        while many >= 8:
            packed[end] = np.uint8(waiting & np.uint64(255))
            end += np.uint64(1)
            waiting >>= np.uint64(8)
            many -= 8
    if many > 0:
        packed[end] = np.uint8(waiting)


@compiled
def unpack(packed, bits, numbers):
    """Read the numbers, (k,) uint32, that `pack` wrote."""
    mask = (np.uint64(1) << np.uint64(bits)) - np.uint64(1)
    waiting = np.uint64(0)
    many = 0
    start = np.uint64(0)
    for i in range(len(numbers)):
        while many < bits:
            waiting |= np.uint64(packed[start]) << np.uint64(many)
            start += np.uint64(1)
            many += 8
        numbers[np.uint64(i)] = np.uint32(waiting & mask)
        waiting >>= np.uint64(bits)
        many -= bits


@numba.njit(cache=True, nogil=True, fastmath={"reassoc", "contract"}, error_model="numpy")
def pack_signs(x, packed):
    """The sum of |x| in float64; bit i % 8 of packed[i // 8] says whether x[i] < 0.

    x: (d,) float32. packed: (ceil(d / 8),) uint8.
    """
    total = 0.0
    for i in range(len(x)):
        total += np.float64(abs(x[i]))
    whole = len(x) // 8
    for j in range(whole):
        byte = np.uint8(0)
        for i in range(8):
            byte |= np.uint8(x[np.uint64(8 * j + i)] < 0) << np.uint8(i)
        packed[j] = byte
    if whole < len(packed):
        byte = np.uint8(0)
        for i in range(8 * whole, len(x)):
            byte |= np.uint8(x[i] < 0) << np.uint8(i % 8)
        packed[whole] = byte
    return total


@compiled
def unpack_signs(packed, scale, x):
    """Write scale or -scale into x, (d,) float32, as the bits say."""
    rows = np.empty((256, 8), np.float32)
    for byte in range(256):
        for i in range(8):
            rows[byte, i] = -scale if byte >> i & 1 else scale
    whole = len(x) // 8
    for j in range(whole):
        row = rows[packed[j]]
        for i in range(8):
            x[np.uint64(8 * j + i)] = row[i]
    for i in range(8 * whole, len(x)):
        x[i] = rows[packed[whole], i % 8]
