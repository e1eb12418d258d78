"""The sign of each entry, a bit each, with one scale for all or with none.

J. Bernstein, Y.-X. Wang, K. Azizzadenesheli, A. Anandkumar, "signSGD: compressed optimisation for
non-convex problems", ICML 2018, arXiv 1802.04434: the signs alone. S. P. Karimireddy, Q. Rebjock,
S. U. Stich, M. Jaggi, "Error feedback fixes SignSGD and other gradient compression schemes", ICML
2019, arXiv 1901.09847: the scale ||x||_1 / d makes of it a contraction, by 1 - ||x||_1^2 /
(d ||x||_2^2) of the squared norm. In one dimension, sign and scale are the number itself.

A bit has no third value: 0 counts as positive.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ddml_kit.compression.codec import check_finite, vector
from ddml_kit.compression.kernels import packing
from ddml_kit.compression.payload import Payload, expect

SCALE = np.dtype("<f4")


@dataclass(frozen=True)
class Sign:
    """d / 8 bytes, rounded up, and 4 for the scale; scaled=False: no scale, +1 or -1."""

    scaled: bool = True

    def encode(self, x: np.ndarray, rng: np.random.Generator | None = None) -> Payload:
        """The signs of x, (d,), after the mean of |x|. Raises what `Codec.encode` raises."""
        values = vector(x)
        packed = np.empty((len(values) + 7) // 8, np.uint8)
        total = packing.pack_signs(values, packed)
        check_finite(values, total)
        scale = np.array(total / max(len(values), 1), SCALE).tobytes() if self.scaled else b""
        return Payload(scale + packed.tobytes(), len(values))

    def decode(self, payload: Payload) -> np.ndarray:
        """Plus or minus the scale, (d,) float32. Raises ValueError as `Codec.decode` does."""
        head = SCALE.itemsize if self.scaled else 0
        expect(payload, head + (payload.length + 7) // 8, "Sign")
        scale = payload.data[:head] or np.array(1, SCALE).tobytes()
        words = np.empty(payload.length, np.uint32)
        bits = np.frombuffer(payload.data, np.uint8, offset=head)
        packing.unpack_signs(bits, np.frombuffer(scale, np.dtype("<u4"))[0], words)
        return words.view(np.float32)
