"""The k entries of the largest size, their indices and values.

A. F. Aji, K. Heafield, "Sparse communication for distributed
gradient descent", EMNLP 2017, arXiv 1704.05021. It contracts: what is left out has at most
1 - k/d of the squared norm (S. U. Stich, J.-B. Cordonnier, M. Jaggi, "Sparsified SGD with memory",
NeurIPS 2018, arXiv 1809.07599, lemma A.1). Among entries of the same size the lowest index wins.

An entry takes 32 bits for its value and as many for its index as the length of the vector needs:
of a million entries 20, so that the top 0.1 % is 615 times smaller, not 1,000.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ddml_kit.compression import bits
from ddml_kit.compression.codec import check_k, count, finite_vector
from ddml_kit.compression.payload import Payload, expect

VALUE = np.dtype("<f4")


@dataclass(frozen=True)
class TopK:
    """k: how many entries, or which fraction of them."""

    k: int | float

    def __post_init__(self) -> None:
        check_k(self.k)

    def encode(self, x: np.ndarray, rng: np.random.Generator | None = None) -> Payload:
        """The k largest entries of x, (d,), by index. Raises what `Codec.encode` raises.

        Raises ValueError also if k is more than d.
        """
        values = finite_vector(x)
        d = len(values)
        indices = largest(values, count(self.k, d))
        kept = values[indices].astype(VALUE, copy=False).tobytes()
        return Payload(kept + bits.pack(indices, bits.width(d)), d)

    def decode(self, payload: Payload) -> np.ndarray:
        """The vector that is 0 but for those entries, (d,) float32."""
        d = payload.length
        k = count(self.k, d)
        head = k * VALUE.itemsize
        expect(payload, head + bits.nbytes(k, bits.width(d)), f"TopK({self.k})")
        x = np.zeros(d, np.float32)
        x[bits.unpack(payload.data[head:], k, bits.width(d))] = np.frombuffer(
            payload.data, VALUE, k
        )
        return x


def largest(x: np.ndarray, k: int) -> np.ndarray:
    """The indices of the k entries of the largest size, rising, (k,); of equals the first."""
    return np.sort(np.argsort(-np.abs(x), kind="stable")[:k])
