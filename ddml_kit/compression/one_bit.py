"""1-bit SGD: a bit an entry, and of each column of each matrix the two values they stand for.

F. Seide, H. Fu, J. Droppo, G. Li, D. Yu, "1-bit stochastic gradient descent and its application to
data-parallel distributed training of speech DNNs", Interspeech 2014: entries are cut at 0, and
those of a column on the same side become their mean, which is the choice of least squared error and
keeps the column's sum. It was made for error feedback, and needs it.

A shape (m, n, ...) is a matrix of m rows, as `matrices` says; (m,), a bias, is a single column. A
column costs 8 bytes, so that a matrix of few rows grows rather than shrinks.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ddml_kit.compression.codec import finite_vector
from ddml_kit.compression.matrices import Shapes, check_length, parts
from ddml_kit.compression.payload import Payload, expect

VALUE = np.dtype("<f4")


@dataclass(frozen=True)
class OneBit:
    """shapes: of the matrices inside the vector, in order; a problem's `shapes`.

    d / 8 bytes, rounded up, and 8 a column.
    """

    shapes: Shapes

    def __post_init__(self) -> None:
        object.__setattr__(self, "shapes", tuple(tuple(shape) for shape in self.shapes))

    def encode(self, x: np.ndarray, rng: np.random.Generator | None = None) -> Payload:
        """The columns' two values, then the bits of x, (d,). Raises what `Codec.encode` raises.

        Raises ValueError also if the shapes don't add up to d.
        """
        values = finite_vector(x)
        check_length(values, self.shapes)
        upper = values >= 0
        heads = [np.empty(0)]
        for part in parts(self.shapes):
            for side in (~part.of(upper), part.of(upper)):
                total = part.of(values).sum(0, dtype=np.float64, where=side)
                heads.append(total / np.maximum(side.sum(0), 1))
        means = np.concatenate(heads).astype(VALUE)
        bits = np.packbits(upper, bitorder="little")
        return Payload(means.tobytes() + bits.tobytes(), len(values))

    def decode(self, payload: Payload) -> np.ndarray:
        """Every entry its column's mean of its side, (d,) float32. Raises as `Codec.decode`."""
        x = np.empty(payload.length, np.float32)
        check_length(x, self.shapes)
        columns = sum(part.columns for part in parts(self.shapes))
        head = 2 * columns * VALUE.itemsize
        expect(payload, head + (len(x) + 7) // 8, "OneBit")
        means = np.frombuffer(payload.data, VALUE, 2 * columns)
        bits = np.frombuffer(payload.data, np.uint8, offset=head)
        upper = np.unpackbits(bits, count=len(x), bitorder="little").view(bool)
        for part in parts(self.shapes):
            n = part.columns
            below, above, means = means[:n], means[n : 2 * n], means[2 * n :]
            part.of(x)[:] = np.where(part.of(upper), above, below)
        return x
