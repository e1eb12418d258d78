"""The k entries of the largest size, their values and where they are.

A. F. Aji, K. Heafield, "Sparse communication for distributed gradient descent", EMNLP 2017, arXiv
1704.05021. It contracts: what is left out has at most 1 - k/d of the squared norm (S. U. Stich,
J.-B. Cordonnier, M. Jaggi, "Sparsified SGD with memory", NeurIPS 2018, arXiv 1809.07599, lemma
A.1). Among entries of the same size the lowest index wins.

An entry takes 32 bits for its value and as many for its index as the length of the vector needs:
of a million entries 20, so that the top 0.1 % is 615 times smaller, not 1,000. As differences
(`entries.gaps`) indices take about 11 bits there, and it is 735 times.

The k largest are found in one pass: a sample of the entries says above which size there will be a
few more than k; these are collected, and the exact choice is made among them. Where the sample
misled, it is made among all.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from ddml_kit.compression import entries
from ddml_kit.compression.codec import check_k, count, finite_vector
from ddml_kit.compression.kernels import sizes
from ddml_kit.compression.payload import Payload

SAMPLE = 1 << 15  # entries looked at to guess the size of the k-th


@dataclass(frozen=True)
class TopK:
    """k: how many entries, or which fraction of them. places: how indices are packed."""

    k: int | float
    places: entries.Places = field(default=entries.whole, repr=False)

    def __post_init__(self) -> None:
        check_k(self.k)

    def encode(self, x: np.ndarray, rng: np.random.Generator | None = None) -> Payload:
        """The k largest entries of x, (d,), by index. Raises what `Codec.encode` raises.

        Raises ValueError also if k is more than d.
        """
        values = finite_vector(x)
        indices = largest(values, count(self.k, len(values)))
        return Payload(entries.pack(values, indices, self.places), len(values))

    def decode(self, payload: Payload) -> np.ndarray:
        """The vector that is 0 but for those, (d,) float32. Raises as `Codec.decode` does."""
        d = payload.length
        return entries.unpack(payload.data, count(self.k, d), d, self.places)


def largest(x: np.ndarray, k: int) -> np.ndarray:
    """The indices of the k entries of the largest size, rising, (k,); of equals the lowest.

    x: (d,) float32, finite. 1 <= k <= d < 2^32.
    """
    words = x.view(np.uint32)
    near = _candidates(words, k)
    size = words[near] & sizes.SIZE if near is not None else words & sizes.SIZE
    least = np.partition(size, len(size) - k)[len(size) - k]
    above, equal = np.flatnonzero(size > least), np.flatnonzero(size == least)
    kept = np.sort(np.concatenate([above, equal[: k - len(above)]]))
    return near[kept] if near is not None else kept.astype(np.uint32)


def _candidates(words: np.ndarray, k: int) -> np.ndarray | None:
    """Rising indices of entries among which the k largest are; None where it would be too many."""
    d = len(words)
    if d < 4 * SAMPLE or k > d // 8:
        return None
    sample = np.sort(words[:: d // SAMPLE] & sizes.SIZE)
    expected = k * len(sample) / d  # of the sample that are among the k largest
    rank = int(expected + 4 * np.sqrt(expected) + 8)
    if rank >= len(sample):
        return None
    indices = np.empty(2 * (rank * d // len(sample)) + sizes.BLOCK, np.uint32)
    found = sizes.collect(words, sample[-rank], indices)
    return indices[:found] if k <= found <= len(indices) else None
