"""Error feedback: what a codec loses is kept, and added to the next vector.

F. Seide et al., "1-bit stochastic gradient descent", Interspeech 2014; S. P. Karimireddy, Q.
Rebjock, S. U. Stich, M. Jaggi, "Error feedback fixes SignSGD and other gradient compression
schemes", ICML 2019, arXiv 1901.09847, algorithm 2, with the step size outside: for a constant one
it is the same. Nothing is lost for good: at any time the decoded vectors and the memory add up to
the vectors that came in.

With a codec that contracts (top-k, sign with scale) the memory stays bounded. One that is unbiased
but may grow a vector (QSGD of few levels, random-k times d / k) can make it grow without end.
"""

from __future__ import annotations

import numpy as np

from ddml_kit.compression.codec import Codec
from ddml_kit.compression.payload import Payload


class ErrorFeedback:
    """A codec with a memory, a rank's own. memory: what was lost so far, (d,); None at first.

    It has the dtype of what came in, so that with float64 it also remembers the rounding to
    float32.
    """

    def __init__(self, codec: Codec) -> None:
        self.codec = codec
        self.memory: np.ndarray | None = None

    def encode(self, x: np.ndarray, rng: np.random.Generator | None = None) -> Payload:
        """x, (d,), and what was lost before. Raises what the codec's encode raises.

        Raises ValueError also if x is not as long as the vectors before; the memory stays then.
        """
        x = np.asarray(x)
        if self.memory is None:
            wanted = x
        elif x.shape == self.memory.shape:
            wanted = x + self.memory
        else:
            raise ValueError(
                f"error feedback needs vectors of one length, got shape {x.shape} "
                f"after {self.memory.shape}"
            )
        payload = self.codec.encode(wanted, rng)
        self.memory = wanted - self.codec.decode(payload)
        return payload

    def decode(self, payload: Payload) -> np.ndarray:
        """As the codec does, (d,) float32: the memory is the sender's."""
        return self.codec.decode(payload)
