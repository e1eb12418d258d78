"""Elias's recursive code, and the two of QSGD made of it, highest bit first. Compiled.

A writer's state is (waiting, many, end): the bits that are not written yet, their number, and the
words of 16 bits that are. A reader's is the position of the next bit. It reads words of 64 bits,
two of zeros behind the last, so that it may look beyond its end; `limit` is the number of bits.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

compiled = numba.njit(cache=True, nogil=True, error_model="numpy")

ZERO, ONE, LAST = np.uint64(0), np.uint64(1), np.uint64(0xFFFF)
SHORT = 11  # bits of a code that a table knows


@compiled
def length(n):
    """The bits of n >= 1, from its highest 1."""
    bits = 0
    while n > 0:
        bits += 1
        n >>= 1
    return bits


@compiled
def code(n: Any) -> tuple[Any, Any]:
    """Elias's code of n >= 1 as (word, bits): before a 0, n; before it, its length less 1; and so
    on, down to 1, which is not written. n < 2^40.
    """
    word, bits = ZERO, np.int64(1)
    while n > 1:
        word |= np.uint64(n) << np.uint64(bits)
        more = length(n)
        bits += more
        n = more - 1
    return word, bits


@compiled
def look(data, position):
    """The 64 bits from `position` on."""
    at, bit = position >> np.uint64(6), position & np.uint64(63)
    return (data[at] << bit) | (data[at + ONE] >> ONE >> (np.uint64(63) - bit))


@compiled
def get(data, position, bound):
    """The number whose code begins at `position`, and where it ends; 0 if it is above bound."""
    word = look(data, position)
    n, used = ONE, ZERO
    while word >> np.uint64(63):
        more = n + ONE
        if more > np.uint64(40):
            return ZERO, position
        n = word >> (np.uint64(64) - more)
        used += more
        word <<= more
        if used > np.uint64(50):
            return ZERO, position
    if n > np.uint64(bound):
        return ZERO, position
    return n, position + used + ONE


@compiled
def signed_code(level: Any) -> tuple[Any, Any]:
    """The code of |level| + 1, and after it, unless it is 0, a bit that says whether it is less."""
    word, bits = code(abs(level) + 1)
    if level != 0:
        word, bits = (word << ONE) | np.uint64(level < 0), bits + 1
    return word, bits


@compiled
def write_dense(levels, s, data):
    """Write every level, (d,) int16 from -s to s, with its sign. Returns the number of bits."""
    known = min(s, 63)
    words, lengths = np.empty(2 * known + 1, np.uint64), np.empty(2 * known + 1, np.int64)
    for level in range(-known, known + 1):
        words[level + known], lengths[level + known] = signed_code(level)
    waiting, many, end = ZERO, np.int64(0), ZERO
    for i in range(len(levels)):
        number = np.int64(levels[i])
        if abs(number) <= known:
            where = np.uint64(number + known)
            word, bits = words[where], lengths[where]
        else:
            word, bits = signed_code(number)
        waiting = (waiting << np.uint64(bits)) | word
        many += bits
        while many >= 16:
            many -= 16
            data[end] = np.uint16(waiting >> np.uint64(many) & LAST)
            end += ONE
    data[end] = np.uint16(waiting << np.uint64(16 - many) & LAST)
    return 16 * np.int64(end) + many


@compiled
def read_dense(data, limit, s, levels):
    """Read the levels, (d,) int16. Returns the position after them, or -1 where one is above s."""
    table = np.zeros(1 << SHORT, np.int32)  # by the next bits: 256 times the level, and bits used
    for level in range(-min(s, 63), min(s, 63) + 1):
        word, bits = signed_code(level)
        if bits <= SHORT:
            first = np.int64(word) << (SHORT - bits)
            table[first : first + (1 << (SHORT - bits))] = 256 * level + bits
    position = ZERO
    i, d = ZERO, np.uint64(len(levels))
    while i < d:
        at, bit = position >> np.uint64(6), position & np.uint64(63)
        word = (data[at] << bit) | (data[at + ONE] >> ONE >> (np.uint64(63) - bit))
        used = ZERO
        for _ in range(64 // SHORT):
            if i == d:
                break
            entry = table[word >> np.uint64(64 - SHORT)]
            if entry == 0:
                break
            bits = np.uint64(entry & 255)
            levels[i] = entry >> 8
            i += ONE
            used += bits
            word <<= bits
        position += used
        if used == ZERO:
            n, position = get(data, position, s + 1)
            if n == ZERO:
                return -1
            size = np.int64(n) - 1
            if size > 0:
                size = -size if look(data, position) >> np.uint64(63) else size
                position += ONE
            levels[i] = size
            i += ONE
        if position > np.uint64(limit):
            return -1
    return np.int64(position)


@compiled
def write_sparse(levels, data):
    """Write of every level but the zeros its distance from the one before, its sign and its size.

    The last distance leads to one past the end. Returns the number of bits.
    """
    waiting, many, end = ZERO, np.int64(0), ZERO
    before, d = -1, len(levels)
    for i in range(d + 1):
        if i < d and levels[i] == 0:
            continue
        word, bits = code(i - before)
        before = i
        for part in range(1 if i == d else 2):
            if part == 1:
                word, bits = code(abs(np.int64(levels[i])))
                word |= np.uint64(levels[i] < 0) << np.uint64(bits)
                bits += 1
            waiting = (waiting << np.uint64(bits)) | word
            many += bits
            while many >= 16:
                many -= 16
                data[end] = np.uint16(waiting >> np.uint64(many) & LAST)
                end += ONE
    data[end] = np.uint16(waiting << np.uint64(16 - many) & LAST)
    return 16 * np.int64(end) + many


@compiled
def read_sparse(data, limit, s, levels):
    """Read the levels, (d,) int16, into zeros. Returns the position after them, or -1."""
    position = ZERO
    at = np.int64(-1)
    while True:
        gap, position = get(data, position, len(levels) - at)
        if gap == ZERO or position > np.uint64(limit):
            return -1
        at += np.int64(gap)
        if at == len(levels):
            return np.int64(position)
        less = look(data, position) >> np.uint64(63)
        size, position = get(data, position + ONE, s)
        if size == ZERO or position > np.uint64(limit):
            return -1
        levels[at] = -np.int64(size) if less else np.int64(size)
