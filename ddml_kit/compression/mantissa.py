"""Every entry as a float32 whose mantissa is cut off after a few bits.

Sign and exponent stay, so that the range does, and the error is relative: below 2^-bits of each
entry, towards 0. With 7 bits it is bfloat16 (which rounds where this truncates), with 23 nothing is
lost. A sum over workers keeps the relative error where its terms have one sign; where they cancel,
it can be any, as all were cut towards 0.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ddml_kit.cluster.checks import whole
from ddml_kit.compression import bits as packed
from ddml_kit.compression.codec import finite_vector
from ddml_kit.compression.payload import Payload, expect

ALL = 23  # bits of a float32's mantissa


@dataclass(frozen=True)
class Mantissa:
    """bits: of the mantissa that travel, 0 to 23; 9 + bits an entry. Raises ValueError."""

    bits: int

    def __post_init__(self) -> None:
        if not 0 <= whole("bits is a whole number", self.bits) <= ALL:
            raise ValueError(f"a mantissa has 0 to {ALL} bits, got bits={self.bits}")

    def encode(self, x: np.ndarray, rng: np.random.Generator | None = None) -> Payload:
        """The entries of x, (d,), cut off. Raises what `Codec.encode` raises."""
        values = finite_vector(x)
        words = np.empty(len(values), np.uint16 if self.bits <= 7 else np.uint32)
        cut = np.uint32(ALL - self.bits)
        np.right_shift(values.view(np.uint32), cut, out=words, casting="unsafe")
        return Payload(packed.pack(words, 9 + self.bits), len(values))

    def decode(self, payload: Payload) -> np.ndarray:
        """The entries, zeros for the bits that were cut, (d,) float32. Raises as `Codec.decode`."""
        expect(payload, packed.nbytes(payload.length, 9 + self.bits), f"Mantissa({self.bits})")
        words = packed.unpack(payload.data, payload.length, 9 + self.bits)
        return (words << np.uint32(ALL - self.bits)).view(np.float32)
