"""Numbers of a few bits each, packed and unpacked; the signs of a vector as bits. Compiled.

Indices are unsigned, or numba would test each for counting from the end.
"""

from __future__ import annotations

import numba
import numpy as np

compiled = numba.njit(cache=True, nogil=True, error_model="numpy")

ONE, TWO, EIGHT, BYTE = np.uint64(1), np.uint64(2), np.uint64(8), np.uint64(255)
BLOCK = 8192  # entries that stay in the cache


@compiled
def pack(numbers, offset, bits, packed):
    """Write numbers + offset, (k,), into packed, (ceil(k bits / 8),) uint8, lowest bit first.

    All of them are 0 or more and below 2^bits; bits <= 32.
    """
    start, end = np.uint64(0), np.uint64(0)
    if bits == 4:  # the shifts being known, many bytes are made at a time
        for _ in range(len(numbers) // 2):
            low, high = numbers[start] + offset, numbers[start + ONE] + offset
            packed[end] = np.uint8((low | high << 4) & 255)
            start += TWO
            end += ONE
    elif bits <= 8:  # eight numbers are a word, and just so many bytes
        for _ in range(len(numbers) // 8):
            word = np.uint64(0)
            for i in range(8):
                number = np.uint64(numbers[start + np.uint64(i)] + offset)
                word |= number << np.uint64(i * bits)
            start += EIGHT
            for i in range(bits):
                packed[end + np.uint64(i)] = np.uint8(word >> np.uint64(8 * i) & BYTE)
            end += np.uint64(bits)
    waiting, many = np.uint64(0), 0  # bits that don't fill a byte yet
    while start < np.uint64(len(numbers)):
        waiting |= np.uint64(numbers[start] + offset) << np.uint64(many)
        start += ONE
        many += bits
        while many >= 8:
            packed[end] = np.uint8(waiting & BYTE)
            end += ONE
            waiting >>= EIGHT
            many -= 8
    if many > 0:
        packed[end] = np.uint8(waiting & BYTE)


@compiled
def unpack(packed, offset, bits, numbers):
    """Read the numbers, (k,), that `pack` wrote."""
    mask = (ONE << np.uint64(bits)) - ONE
    start, end = np.uint64(0), np.uint64(0)
    if bits == 4:
        for _ in range(len(numbers) // 2):
            byte = packed[start]
            numbers[end] = np.int64(byte & 15) - offset
            numbers[end + ONE] = np.int64(byte >> 4) - offset
            start += ONE
            end += TWO
    elif 0 < bits <= 8:
        for _ in range((len(packed) - 8) // bits if len(packed) > 8 else 0):
            word = np.uint64(0)
            for i in range(8):  # more than belongs to them, which is one load all the same
                word |= np.uint64(packed[start + np.uint64(i)]) << np.uint64(8 * i)
            start += np.uint64(bits)
            for i in range(8):
                number = word >> np.uint64(i * bits) & mask
                numbers[end + np.uint64(i)] = np.int64(number) - offset
            end += EIGHT
    waiting, many = np.uint64(0), 0
    while end < np.uint64(len(numbers)):
        while many < bits:
            waiting |= np.uint64(packed[start]) << np.uint64(many)
            start += ONE
            many += 8
        numbers[end] = np.int64(waiting & mask) - offset
        end += ONE
        waiting >>= np.uint64(bits)
        many -= bits


@numba.njit(cache=True, nogil=True, fastmath={"reassoc", "contract"}, error_model="numpy")
def pack_signs(x, packed):
    """The sum of |x| in float64; bit i % 8 of packed[i // 8] says whether x[i] < 0.

    x: (d,) float32. packed: (ceil(d / 8),) uint8. By blocks, so that x is read from memory once.
    """
    total = 0.0
    for first in range(0, len(x), BLOCK):
        part, out = x[first : first + BLOCK], packed[first // 8 :]
        for i in range(len(part)):
            total += np.float64(abs(part[i]))
        whole = len(part) // 8
        for j in range(whole):
            byte = np.uint8(0)
            for i in range(8):
                byte |= np.uint8(part[np.uint64(8 * j + i)] < 0) << np.uint8(i)
            out[j] = byte
        if 8 * whole < len(part):
            byte = np.uint8(0)
            for i in range(8 * whole, len(part)):
                byte |= np.uint8(part[i] < 0) << np.uint8(i % 8)
            out[whole] = byte
    return total


@compiled
def unpack_signs(packed, scale, words):
    """Write scale, or where a bit says so -scale, into words; both are the words of float32.

    words: (d,) uint32. The bit becomes the highest of the word, which is a float32's sign.
    """
    scale = np.uint32(scale)
    whole = len(words) // 8
    for j in range(whole):
        byte = np.uint32(packed[j])
        for i in range(8):
            words[np.uint64(8 * j + i)] = scale | (byte >> np.uint32(i)) << np.uint32(31)
    for i in range(8 * whole, len(words)):
        words[i] = scale | np.uint32(packed[whole]) >> np.uint32(i % 8) << np.uint32(31)


@compiled
def pack_ternary(digits, packed):
    """Write -1, 0 and 1, (d,) int16, into packed, (ceil(d / 5),) uint8, five in base 3."""
    whole = len(digits) // 5
    for j in range(whole):
        byte = 0
        for i in range(5):
            byte = 3 * byte + digits[np.uint64(5 * j + 4 - i)] + 1
        packed[j] = byte
    if whole < len(packed):
        byte = 0
        for i in range(len(digits) - 1, 5 * whole - 1, -1):
            byte = 3 * byte + digits[i] + 1
        packed[whole] = byte


@compiled
def unpack_ternary(packed, scale, x):
    """Write -scale, 0 or scale into x, (d,) float32, as the digits say."""
    rows = np.empty((243, 5), np.float32)
    for byte in range(243):
        rest = byte
        for i in range(5):
            rows[byte, i] = scale * np.float32(rest % 3 - 1)
            rest //= 3
    whole = len(x) // 5
    for j in range(whole):
        row = rows[packed[j]]
        for i in range(5):
            x[np.uint64(5 * j + i)] = row[i]
    for i in range(5 * whole, len(x)):
        x[i] = rows[packed[whole], i % 5]
