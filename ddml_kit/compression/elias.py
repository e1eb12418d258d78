"""Whole levels from -s to s as QSGD sends them: small ones in few bits, by Elias's recursive code.

P. Elias, "Universal codeword sets and representations of the integers", IEEE Transactions on
Information Theory 21(2), 1975 (there: omega): 1 takes 1 bit, 2 and 3 take 3, 4 to 7 take 6. D.
Alistarh, D. Grubic, J. Li, R. Tomioka, M. Vojnovic, "QSGD: communication-efficient SGD via gradient
quantization and encoding", NeurIPS 2017, arXiv 1610.02132, has two codes made of it.

`sparse`, for few levels: of each entry that is not zero the distance from the one before, the sign
and the level. Theorem 3.2 bounds its expected length, with the norm, by
(3 + (3/2 + o(1)) log2(2 (s^2 + d) / (s (s + sqrt(d))))) s (s + sqrt(d)) + 32 bits.
`dense`, for s of about sqrt(d): of each entry the level + 1, and the sign. The lower-order terms
that the paper's o(1) stands for are not small here: at s = sqrt(d) it takes 2.9 bits an entry where
entries are normal, 2.7 where they are Laplace, and 4 where all are of one size.

Departures: a last distance leads to one past the end, so that a truncated code is known from a
whole one. A level of 0 has no sign.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from ddml_kit.compression import bits
from ddml_kit.compression.kernels import elias, packing


class Coding(NamedTuple):
    """How levels, (d,) int16 from -s to s, become bytes, and bytes levels again.

    pack(levels, s) -> bytes; unpack(data, d, s) -> levels, which raises ValueError where the bytes
    are not those of d such levels.
    """

    pack: Callable[[np.ndarray, int], bytes]
    unpack: Callable[[bytes, int, int], np.ndarray]


def code_length(n: int) -> int:
    """The bits of Elias's code of n >= 1: 1 for 1, 3 for 2 and 3, 6 for 4 to 7, 7 for 8 to 15."""
    return int(elias.code(n)[1])


def pack_sparse(levels: np.ndarray, s: int) -> bytes:
    """The code for few levels that are not 0."""
    many = np.count_nonzero(levels)
    longest = code_length(len(levels) + 1) + 1 + code_length(s)
    words = np.empty(many * longest // 16 + 8, np.uint16)
    return _first(words, elias.write_sparse(levels, words))


def unpack_sparse(data: bytes, d: int, s: int) -> np.ndarray:
    """The levels that `pack_sparse` packed, (d,) int16."""
    levels = np.zeros(d, np.int16)
    return _checked(elias.read_sparse(_words(data), 8 * len(data), s, levels), data, levels)


def pack_dense(levels: np.ndarray, s: int) -> bytes:
    """The code for many levels that are not 0."""
    words = np.empty(len(levels) * (code_length(s + 1) + 1) // 16 + 8, np.uint16)
    return _first(words, elias.write_dense(levels, s, words))


def unpack_dense(data: bytes, d: int, s: int) -> np.ndarray:
    """The levels that `pack_dense` packed, (d,) int16."""
    levels = np.empty(d, np.int16)
    return _checked(elias.read_dense(_words(data), 8 * len(data), s, levels), data, levels)


def pack_fixed(levels: np.ndarray, s: int) -> bytes:
    """Every level in the fewest bits that hold 2 s + 1 numbers."""
    each = bits.width(2 * s + 1)
    packed = np.empty(bits.nbytes(len(levels), each), np.uint8)
    packing.pack(levels, s, each, packed)
    return packed.tobytes()


def unpack_fixed(data: bytes, d: int, s: int) -> np.ndarray:
    """The levels that `pack_fixed` packed, (d,) int16."""
    each = bits.width(2 * s + 1)
    if len(data) != bits.nbytes(d, each):
        raise ValueError(
            f"{d} levels of {each} bits take {bits.nbytes(d, each)} bytes, got {len(data)}: "
            "the payload is truncated, or another codec's"
        )
    levels = np.empty(d, np.int16)
    packing.unpack(np.frombuffer(data, np.uint8), s, each, levels)
    if d and levels.max() > s:
        raise ValueError(f"levels are at most {s}, got {levels.max()}: the payload is another's")
    return levels


def choose(s: int, d: int) -> Coding:
    """The one that the paper takes for s levels of a norm of d entries: sparse where s^2 < d."""
    return sparse if s * s < d else dense


sparse = Coding(pack_sparse, unpack_sparse)
dense = Coding(pack_dense, unpack_dense)
fixed = Coding(pack_fixed, unpack_fixed)


def _first(words: np.ndarray, number: int) -> bytes:
    """So many bits of the words, highest first, in whole bytes."""
    return words[: number // 16 + 1].astype(">u2").tobytes()[: (number + 7) // 8]


def _words(data: bytes) -> np.ndarray:
    """The bytes as words of 64 bits, and two words of zeros."""
    return np.frombuffer(data + bytes(-len(data) % 8 + 16), ">u8").astype(np.uint64)


def _checked(end: int, data: bytes, levels: np.ndarray) -> np.ndarray:
    """The levels. Raises ValueError unless their code ended in the last byte, with zeros."""
    if end < 0 or (end + 7) // 8 != len(data) or (end % 8 and data[-1] << (end % 8) & 255):
        raise ValueError(
            f"{len(data)} bytes are not the code of {len(levels)} levels: the payload is "
            "truncated, or another codec's"
        )
    return levels
