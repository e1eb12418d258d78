"""TernGrad: every entry becomes -m, 0 or m, at random and right on average; five in a byte.

W. Wen, C. Xu, F. Yan, C. Wu, Y. Wang, Y. Chen, H. Li, "TernGrad: ternary gradients to reduce
communication in distributed deep learning", NeurIPS 2017, arXiv 1705.07878, equations 1 to 4: m is
the largest |x_i|, and |x_i| / m the probability of not being 0. Clipped before at c = 2.5 standard
deviations, as the paper proposes, m is smaller and so is the variance; then it is the clipped
vector that is right on average. Departures: the paper has a scale for each layer, here the vector
has one; deviations are those from 0, not from the mean, or a vector of equal entries would be
clipped to nothing.

3^5 = 243 fit a byte: 1.6 bits an entry, where log2(3) is 1.585.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ddml_kit.cluster.checks import real
from ddml_kit.compression.codec import drawn, largest_size, vector
from ddml_kit.compression.kernels import packing, rounding
from ddml_kit.compression.payload import Payload, expect

SCALE = np.dtype("<f4")


@dataclass(frozen=True)
class TernGrad:
    """d / 5 bytes, rounded up, and 4 for the scale.

    clip: entries are cut at so many standard deviations from 0, the root of their mean square;
    None: they aren't. Raises ValueError unless it is above 0.
    """

    clip: float | None = None

    def __post_init__(self) -> None:
        if self.clip is not None and not real("clip is a number", self.clip) > 0:
            raise ValueError(f"TernGrad clips at more than 0 deviations, got clip={self.clip}")

    def encode(self, x: np.ndarray, rng: np.random.Generator | None = None) -> Payload:
        """The scale, then the ternary digits of x, (d,). Raises what `Codec.encode` raises."""
        seed = drawn(rng, "TernGrad").integers(2**64, dtype=np.uint64)
        values = vector(x)
        scale = largest_size(values)
        if self.clip is not None and len(values):
            deviation = np.sqrt(np.mean(np.square(values, dtype=np.float64)))
            bound = np.float32(min(self.clip * deviation, scale))
            values = np.clip(values, -bound, bound)
            scale = largest_size(values)
        digits = np.empty(len(values), np.int16)
        ratio = np.array([1 / scale if scale else 0.0])
        rounding.levels(values, max(len(values), 1), ratio, seed, digits)
        packed = np.empty((len(values) + 4) // 5, np.uint8)
        packing.pack_ternary(digits, packed)
        return Payload(np.array(scale, SCALE).tobytes() + packed.tobytes(), len(values))

    def decode(self, payload: Payload) -> np.ndarray:
        """-m, 0 or m, (d,) float32. Raises ValueError as `Codec.decode` does."""
        expect(payload, SCALE.itemsize + (payload.length + 4) // 5, "TernGrad")
        scale = np.frombuffer(payload.data, SCALE, 1)[0]
        packed = np.frombuffer(payload.data, np.uint8, offset=SCALE.itemsize)
        if len(packed) and packed.max() > 242:
            raise ValueError(f"five ternary digits are at most 242, got {packed.max()}")
        x = np.empty(payload.length, np.float32)
        packing.unpack_ternary(packed, scale, x)
        return x
