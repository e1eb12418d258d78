"""A codec that is right on average, made smaller until it contracts.

A. Koloskova, S. U. Stich, M. Jaggi, "Decentralized Stochastic Optimization and Gossip Algorithms
with Compressed Communication", ICML 2019, arXiv 1902.00340: if E Q(x) = x and
E |Q(x)|^2 <= tau |x|^2, then Q(x) / tau keeps omega = 1 / tau, E |Q(x) / tau - x|^2 <=
(1 - 1 / tau) |x|^2. Where only the difference to what the others know travels, as in CHOCO, or what
is lost is remembered, a codec must contract: being right on average is not enough.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ddml_kit.cluster.checks import real, whole
from ddml_kit.compression import elias
from ddml_kit.compression.codec import Codec
from ddml_kit.compression.payload import Payload
from ddml_kit.compression.qsgd import QSGD

MOST_BITS = 16  # of QSGD's levels, with their sign


@dataclass(frozen=True)
class Shrunk:
    """What the codec says, divided by tau, 1 or more, which both ends know and does not travel.

    Raises ValueError unless tau is 1 or more and finite, TypeError for what is no number.
    """

    codec: Codec
    tau: float

    def __post_init__(self) -> None:
        if not 1 <= real("tau is a number", self.tau) < np.inf:
            raise ValueError(f"tau must be 1 or more and finite, got tau={self.tau}")

    def encode(self, x: np.ndarray, rng: np.random.Generator | None = None) -> Payload:
        """The codec's payload of x, (d,). Raises what it raises."""
        return self.codec.encode(x, rng)

    def decode(self, payload: Payload) -> np.ndarray:
        """The codec's vector over tau, (d,) float32. Raises what it raises."""
        return self.codec.decode(payload) / np.float32(self.tau)


def bits(b: int, d: int) -> Shrunk:
    """Each of d numbers in b bits, 2 to 16, and 4 bytes for all: QSGD, shrunk.

    Raises ValueError for another b.
    """
    if not 2 <= whole("a number takes a whole number of bits", b) <= MOST_BITS:
        raise ValueError(f"a number takes 2 to {MOST_BITS} bits, got b={b}")
    levels = 2 ** (b - 1) - 1
    return Shrunk(QSGD(levels, elias.fixed), tau_of_qsgd(levels, d))


def tau_of_qsgd(levels: int, d: int) -> float:
    """1 + min(d / s^2, sqrt(d) / s): what QSGD of so many levels is divided by, for d entries."""
    return 1 + min(d / levels**2, d**0.5 / levels)
