"""QSGD: every entry rounded at random to one of s levels of the norm, right on average.

D. Alistarh, D. Grubic, J. Li, R. Tomioka, M. Vojnovic, "QSGD: communication-efficient SGD via
gradient quantization and encoding", NeurIPS 2017, arXiv 1610.02132, section 3: an entry becomes
||x|| sign(x_i) l / s, where l is one of the two whole numbers next to s |x_i| / ||x||, so that the
mean is x_i. Lemma 3.1: the variance is at most min(d / s^2, sqrt(d) / s) ||x||^2, and at most
s (s + sqrt(d)) entries are not zero, in expectation. With s = sqrt(d) the second moment is twice
that of x; with s = 1 about sqrt(d) entries survive.

The norm travels as float32, rounded up, and it is by this one that entries are divided. With
`bucket`, as in section 3.3, each run of so many entries has a norm of its own.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from ddml_kit.compression import elias
from ddml_kit.compression.codec import check_finite, drawn, vector
from ddml_kit.compression.elias import Coding
from ddml_kit.compression.kernels import rounding
from ddml_kit.compression.payload import Payload, expect_at_least

NORM = np.dtype("<f4")
MOST = 2**15 - 1


@dataclass(frozen=True)
class QSGD:
    """levels: s. coding: one of elias. bucket: entries with a norm of their own, None: all.

    coding: `elias.by_density` as in the paper, `elias.fixed` for as many bits for each entry.
    Raises ValueError unless 1 <= levels <= 32,767 and bucket >= 1.
    """

    levels: int
    coding: Coding = field(default=elias.by_density, repr=False)
    bucket: int | None = None

    def __post_init__(self) -> None:
        if not 1 <= self.levels <= MOST:
            raise ValueError(f"QSGD needs levels from 1 to {MOST}, got levels={self.levels}")
        if self.bucket is not None and self.bucket < 1:
            raise ValueError(f"a bucket has at least 1 entry, got bucket={self.bucket}")

    def encode(self, x: np.ndarray, rng: np.random.Generator | None = None) -> Payload:
        """The norms, then the levels of x, (d,). Raises what `Codec.encode` raises.

        Raises FloatingPointError also if the norm is too large for float32.
        """
        seed = drawn(rng, "QSGD").integers(2**64, dtype=np.uint64)
        values = vector(x)
        levels = np.empty(len(values), np.int16)
        bounds = self._bounds(len(values))
        norms = np.empty(len(bounds), NORM)
        for i, (first, end) in enumerate(bounds):
            part = values[first:end]
            square = rounding.squares(part)
            check_finite(part, square)
            norms[i] = norm = rounded_up(float(np.sqrt(square)))
            ratio = self.levels / norm if norm else 0.0
            rounding.levels(part, ratio, seed, first, levels[first:end])
        return Payload(norms.tobytes() + self.coding.pack(levels, self.levels), len(values))

    def decode(self, payload: Payload) -> np.ndarray:
        """The levels times the norm over s, (d,) float32. Raises as `Codec.decode` does."""
        d = payload.length
        bounds = self._bounds(d)
        head = len(bounds) * NORM.itemsize
        expect_at_least(payload, head, f"QSGD({self.levels})")
        norms = np.frombuffer(payload.data, NORM, len(bounds))
        levels = self.coding.unpack(payload.data[head:], d, self.levels)
        x = np.empty(d, np.float32)
        for norm, (first, end) in zip(norms, bounds, strict=True):
            rounding.values(levels[first:end], float(norm) / self.levels, x[first:end])
        return x

    def _bounds(self, d: int) -> list[tuple[int, int]]:
        """Where each bucket begins and ends; of an empty vector, one empty bucket."""
        step = self.bucket or max(d, 1)
        return [(i, min(i + step, d)) for i in range(0, max(d, 1), step)]


def rounded_up(size: float) -> float:
    """The least float32 that is not below size, so that no entry is above the scale.

    Raises FloatingPointError if there is none.
    """
    with np.errstate(over="ignore"):
        near = np.float32(size)
    if not np.isfinite(near):
        raise FloatingPointError(f"the norm of the vector must fit float32, got {size:.3g}")
    return float(np.nextafter(near, np.float32(np.inf)) if near < size else near)
