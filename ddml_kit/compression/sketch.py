"""SketchML: the index of a value's quantile instead of the value, in a table that forgets a little.

J. Jiang, F. Fu, T. Yang, B. Cui, "SketchML: Accelerating Distributed Machine Learning with Data
Sketches", SIGMOD 2018, doi 10.1145/3183713.3196894, made for gradients with few entries. Three
steps, for positive and for negative values apart, so that no sign is ever turned:

*Quantiles.* The sizes are cut into q buckets of equally many, and each bucket is its mean. If those
of one sign are N values up to B, the squared error is at most N B^2 / 4q: a bucket of width w has
N/q values that are at most w/2 from its middle, no farther from their mean, and the widths add up
to at most B. Over both signs that is d (min^2 + max^2) / 4q at most.

*MinMaxSketch.* A value's bucket is written into one cell of each row of a small table, where a hash
of its index in the vector says; a cell keeps the least that is written there, and the largest of a
value's cells is taken for its bucket. Collisions make values smaller, never larger: steps get
shorter. The l-th smallest of v different ones in rows of w cells is right unless a smaller one hit
each of its cells: with probability 1 - (1 - (1 - 1/w)^(l-1))^rows. So that they don't get much
smaller, buckets are put into groups, a table for each.

*Keys.* The indices of a group rise, so differences are sent: each in the fewest whole bytes, and
two bits that say how many.

The paper's own text could not be had: this is from its abstract, and from the authors' code
(ccchengff/SketchML) where that leaves open what is meant (rows, columns, groups, flags). Both
bounds above were derived here; they are not known to be the paper's, and none of its figures is
reproduced. Departures:
quantiles are exact, since the whole vector is in memory, where theirs come from a sketch of a
stream; a bucket is the mean of its values, not the middle of its ends, so that many equal values
are no worse; cells have the bits that a group's buckets need. The seed of the hash functions is
drawn anew for each vector and travels, as other values should collide the next time.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ddml_kit.cluster.checks import real, whole
from ddml_kit.compression import bits
from ddml_kit.compression.codec import drawn, finite_vector
from ddml_kit.compression.kernels import rounding
from ddml_kit.compression.payload import Payload
from ddml_kit.compression.reading import Reader

VALUE, COUNT = np.dtype("<f4"), np.dtype("<u4")
FLAG = 2  # bits that say of how many bytes a difference is


@dataclass(frozen=True)
class Sketch:
    """buckets: of each sign. groups: of buckets, each with a table. rows: of a table. columns: of a
    table, for each value in it.
    """

    buckets: int = 256
    groups: int = 8
    rows: int = 2
    columns: float = 0.3

    def __post_init__(self) -> None:
        for name in ("buckets", "groups", "rows"):
            value = getattr(self, name)
            if whole(f"{name} must be a whole number", value) < 1:
                raise ValueError(f"{name} must be 1 or more, got {value}")
        if not real("columns must be a number for each value", self.columns) > 0:
            raise ValueError(f"columns must be more than 0 for each value, got {self.columns}")

    def encode(self, x: np.ndarray, rng: np.random.Generator | None = None) -> Payload:
        """Of each sign the number of values, the buckets' means, and by group keys and table.

        Raises what `Codec.encode` raises. Entries that are zero stay so, and cost nothing.
        """
        seed = int(drawn(rng, "Sketch").integers(2**32))
        values = finite_vector(x)
        data = [np.array(seed, COUNT).tobytes()]
        for signed in (values, -values):
            keys = np.flatnonzero(signed > 0)
            data.append(np.array(len(keys), COUNT).tobytes())
            if len(keys):
                data += self._encoded(keys, signed[keys], seed)
        return Payload(b"".join(data), len(values))

    def _encoded(self, keys: np.ndarray, sizes: np.ndarray, seed: int) -> list[bytes]:
        """The values of one sign. keys: their indices, rising. sizes: more than 0."""
        n, per = self._grouped(len(keys))
        buckets, means = quantised(sizes, n)
        data = [means.astype(VALUE).tobytes()]
        for start in range(0, n, per):
            inside = (start <= buckets) & (buckets < start + per)
            mine = keys[inside]
            table = np.full((self.rows, self._width(len(mine))), per - 1, np.uint32)
            for row, cells in zip(table, hashes(mine, seed, *table.shape), strict=True):
                np.minimum.at(row, cells, (buckets[inside] - start).astype(np.uint32))
            data.append(np.array(len(mine), COUNT).tobytes())
            data.append(encode_keys(mine) + bits.pack(table.reshape(-1), bits.width(per)))
        return data

    def decode(self, payload: Payload) -> np.ndarray:
        """The values by bucket, (d,) float32. Raises ValueError as `Codec.decode` does."""
        x = np.zeros(payload.length, np.float32)
        reader = Reader(payload, "Sketch")
        seed = int(reader.array(COUNT, 1)[0])
        for sign in (1, -1):
            number = int(reader.array(COUNT, 1)[0])
            if number:
                self._decoded(reader, x, number, seed, sign)
        reader.end()
        return x

    def _decoded(self, reader: Reader, x: np.ndarray, number: int, seed: int, sign: int) -> None:
        """Write the values of one sign into x. number: how many there are."""
        n, per = self._grouped(number)
        means = sign * reader.array(VALUE, n)
        for start in range(0, n, per):
            keys = decode_keys(reader, int(reader.array(COUNT, 1)[0]))
            if len(keys) and keys[-1] >= len(x):
                raise reader.wrong(f"index {keys[-1]} of a vector of {len(x)}")
            shape = (self.rows, self._width(len(keys)))
            table = reader.packed(shape[0] * shape[1], bits.width(per)).reshape(shape)
            bucket = np.zeros(len(keys), np.uint32)
            for row, cells in zip(table, hashes(keys, seed, *shape), strict=True):
                np.maximum(bucket, row[cells], out=bucket)
            x[keys] = means[np.minimum(start + bucket, n - 1)]

    def _grouped(self, number: int) -> tuple[int, int]:
        """How many buckets so many values have, and each group of them."""
        n = min(self.buckets, number)
        return n, -(-n // self.groups)

    def _width(self, number: int) -> int:
        """Cells in a row of a table for so many values."""
        return int(np.ceil(self.columns * number))


def quantised(sizes: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
    """The bucket of each value, (k,), and the mean of each bucket, (n,); 0 of an empty one.

    sizes: (k,), k >= 1. Buckets are equally full, but for values that are equal, which are in one.
    """
    ends = np.quantile(sizes, np.arange(1, n) / n)
    buckets = np.searchsorted(ends, sizes, side="right")
    counts = np.bincount(buckets, minlength=n)
    sums = np.bincount(buckets, weights=sizes, minlength=n)
    return buckets, sums / np.maximum(counts, 1)


def hashes(keys: np.ndarray, seed: int, rows: int, columns: int) -> np.ndarray:
    """Where each key's cells are, (rows, k): for each row a number below `columns`.

    The output function of SplitMix64, as in kernels/rounding.py, from another start for each row.
    """
    row = np.arange(1, rows + 1, dtype=np.uint64)[:, None] << np.uint64(32)
    z = (keys.astype(np.uint64) + np.uint64(1)) * rounding.STEP
    z = rounding.mixed(z ^ ((row + np.uint64(seed)) * np.uint64(0xD1B54A32D192ED03)))
    z ^= z >> np.uint64(31)
    return ((z >> np.uint64(32)) * np.uint64(columns) >> np.uint64(32)).astype(np.intp)


def encode_keys(keys: np.ndarray) -> bytes:
    """Rising indices, (k,), as the differences between them: two bits each, and 1 to 4 bytes."""
    deltas = np.diff(keys, prepend=0).astype("<u4")
    lengths = 1 + (deltas >= 1 << 8) + (deltas >= 1 << 16) + (deltas >= 1 << 24)
    octets = deltas.view(np.uint8).reshape(-1, 4)
    return bits.pack(lengths - 1, FLAG) + octets[np.arange(4) < lengths[:, None]].tobytes()


def decode_keys(reader: Reader, number: int) -> np.ndarray:
    """The indices that `encode_keys` wrote, (number,) int64."""
    lengths = reader.packed(number, FLAG) + 1
    octets = np.zeros((number, 4), np.uint8)
    octets[np.arange(4) < lengths[:, None]] = reader.array(np.dtype(np.uint8), int(lengths.sum()))
    return np.cumsum(octets.view("<u4").reshape(-1), dtype=np.int64)
