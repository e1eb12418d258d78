"""k entries drawn at random: their values travel, and a seed instead of their indices.

S. U. Stich, J.-B. Cordonnier, M. Jaggi, "Sparsified SGD with memory", NeurIPS 2018, arXiv
1809.07599: it contracts by 1 - k/d on average, as top-k does always. Times d / k it is right on
average instead, with d / k times the second moment (J. Wangni, J. Wang, J. Liu, T. Zhang, "Gradient
sparsification for communication-efficient distributed optimization", NeurIPS 2018, arXiv
1710.09854, with equal probabilities).

Both ends draw the same entries from the seed, so both need the same version of NumPy, whose streams
may change from one to the next.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ddml_kit.compression.codec import check_k, count, drawn, finite_vector
from ddml_kit.compression.entries import VALUE
from ddml_kit.compression.payload import Payload, expect

SEED = np.dtype("<u8")


@dataclass(frozen=True)
class RandomK:
    """k: how many entries, or which fraction of them; 4 k + 8 bytes.

    unbiased: they count d / k times, so that the mean is right; not what `ErrorFeedback` wants.
    """

    k: int | float
    unbiased: bool = False

    def __post_init__(self) -> None:
        check_k(self.k)

    def encode(self, x: np.ndarray, rng: np.random.Generator | None = None) -> Payload:
        """The seed, then k entries of x, (d,). Raises what `Codec.encode` raises.

        Raises ValueError also if k is more than d.
        """
        seed = drawn(rng, "RandomK").integers(2**64, dtype=np.uint64)
        values = finite_vector(x)
        kept = values[random_entries(int(seed), len(values), self.k)]
        data = np.array(seed, SEED).tobytes() + kept.astype(VALUE, copy=False).tobytes()
        return Payload(data, len(values))

    def decode(self, payload: Payload) -> np.ndarray:
        """The vector that is 0 but for those, (d,) float32. Raises as `Codec.decode` does."""
        d = payload.length
        k = count(self.k, d)
        expect(payload, SEED.itemsize + k * VALUE.itemsize, f"RandomK({self.k})")
        seed = int(np.frombuffer(payload.data, SEED, 1)[0])
        values = np.frombuffer(payload.data, VALUE, k, SEED.itemsize)
        x = np.zeros(d, np.float32)
        x[random_entries(seed, d, k)] = values * np.float32(d / k) if self.unbiased else values
        return x


def random_entries(seed: int, d: int, k: int | float) -> np.ndarray:
    """The indices of k of d entries, distinct, (k,): the same for all who have the seed.

    Raises ValueError if k is more than d.
    """
    rng = np.random.default_rng(seed)
    return rng.choice(d, count(k, d), replace=False, shuffle=False)
