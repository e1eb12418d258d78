"""QSGD: every entry rounded at random to one of s levels of the norm, right on average.

D. Alistarh, D. Grubic, J. Li, R. Tomioka, M. Vojnovic, "QSGD: communication-efficient SGD via
gradient quantization and encoding", NeurIPS 2017, arXiv 1610.02132, section 3: an entry becomes
||x|| sign(x_i) l / s, where l is one of the two whole numbers next to s |x_i| / ||x||, so that the
mean is x_i. Lemma 3.1: the variance is at most min(d / s^2, sqrt(d) / s) ||x||^2, and at most
s (s + sqrt(d)) entries are not zero, in expectation. With s = sqrt(d) the second moment is at
most twice that of x; with s = 1 at most about sqrt(d) entries survive.

The norm travels as float32, rounded up, and it is by this one that entries are divided. With
`bucket`, as the paper's experiments have it, each run of so many entries has a norm of its own.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from ddml_kit.cluster.checks import whole
from ddml_kit.compression import elias
from ddml_kit.compression.codec import check_finite, drawn, vector
from ddml_kit.compression.elias import Coding
from ddml_kit.compression.kernels import rounding
from ddml_kit.compression.payload import Payload, expect_at_least

NORM = np.dtype("<f4")
MOST = 2**15 - 1


@dataclass(frozen=True)
class QSGD:
    """levels: s. bucket: the entries that share a norm; None: all of them.

    coding: `elias.sparse`, `elias.dense`, or `elias.fixed` for as many bits for each entry; None:
    one of the first two, as the paper chooses (`elias.choose`).
    Raises ValueError unless 1 <= levels <= 32,767 and bucket >= 1.
    """

    levels: int
    coding: Coding | None = field(default=None, repr=False)
    bucket: int | None = None

    def __post_init__(self) -> None:
        levels = whole("levels is a whole number", self.levels)
        if not 1 <= levels <= MOST:
            raise ValueError(f"QSGD needs levels from 1 to {MOST}, got levels={levels}")
        if self.bucket is not None and whole("bucket is a whole number", self.bucket) < 1:
            raise ValueError(f"a bucket has at least 1 entry, got bucket={self.bucket}")

    def encode(self, x: np.ndarray, rng: np.random.Generator | None = None) -> Payload:
        """The norms, then the levels of x, (d,). Raises what `Codec.encode` raises.

        Raises FloatingPointError also if the norm is too large for float32.
        """
        seed = drawn(rng, "QSGD").integers(2**64, dtype=np.uint64)
        values = vector(x)
        d, bucket, many = self._buckets(len(values))
        squares = np.empty(many)
        rounding.squares(values, bucket, squares)
        check_finite(values, float(squares.sum()))
        norms = rounded_up(np.sqrt(squares))
        ratios = np.divide(self.levels, norms, out=np.zeros(many), where=norms > 0, dtype=float)
        levels = np.empty(d, np.int16)
        rounding.levels(values, bucket, ratios, seed, levels)
        return Payload(norms.tobytes() + self._coding(bucket).pack(levels, self.levels), d)

    def decode(self, payload: Payload) -> np.ndarray:
        """The levels times the norm over s, (d,) float32. Raises as `Codec.decode` does."""
        d, bucket, many = self._buckets(payload.length)
        head = many * NORM.itemsize
        expect_at_least(payload, head, f"QSGD({self.levels})")
        units = np.frombuffer(payload.data, NORM, many).astype(np.float64) / self.levels
        x = np.empty(d, np.float32)
        levels = self._coding(bucket).unpack(payload.data[head:], d, self.levels)
        rounding.values(levels, bucket, units, x)
        return x

    def _coding(self, bucket: int) -> Coding:
        return self.coding or elias.choose(self.levels, bucket)

    def _buckets(self, d: int) -> tuple[int, int, int]:
        """d, the entries of a bucket, and the number of buckets: of an empty vector none."""
        bucket = min(self.bucket or d, d)
        return d, max(bucket, 1), -(-d // max(bucket, 1))


def rounded_up(sizes: np.ndarray) -> np.ndarray:
    """The least float32 that are not below these, so that no entry is above its scale.

    Raises FloatingPointError if there are none.
    """
    with np.errstate(over="ignore"):
        near = sizes.astype(NORM)
    if not np.isfinite(near).all():
        raise FloatingPointError(f"the norm of a vector must fit float32, got {sizes.max():.3g}")
    return np.where(near < sizes, np.nextafter(near, NORM.type(np.inf)), near).astype(NORM)
