"""The entries of a size of tau or more, however many they are.

After N. Strom, "Scalable distributed DNN training using commodity GPU cloud computing",
Interspeech 2015, which sends plus or minus tau for each of them; here the values themselves travel,
as top-k's do. Cheaper than top-k, as nothing is ranked, but the bytes follow the gradient: none as
it shrinks, all of them as it grows.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from ddml_kit.cluster.checks import real
from ddml_kit.compression import entries
from ddml_kit.compression.codec import finite_vector
from ddml_kit.compression.kernels import sizes
from ddml_kit.compression.payload import Payload, expect_at_least

COUNT = np.dtype("<u4")


@dataclass(frozen=True)
class Threshold:
    """tau: the least size that travels. places: how indices are packed. 4 bytes for the number.

    Raises ValueError unless tau is 0 or more and finite.
    """

    tau: float
    places: entries.Places = field(default=entries.whole, repr=False)

    def __post_init__(self) -> None:
        if not 0 <= real("tau is a number", self.tau) < np.inf:
            raise ValueError(f"a threshold is 0 or more and finite, got tau={self.tau}")

    def encode(self, x: np.ndarray, rng: np.random.Generator | None = None) -> Payload:
        """The entries of x, (d,), with |x_i| >= tau. Raises what `Codec.encode` raises."""
        values = finite_vector(x)
        d = len(values)
        least = np.array(self._float32(), np.float32).view(np.uint32)[()]
        room = np.empty(d + sizes.BLOCK, np.uint32)
        indices = room[: sizes.collect(values.view(np.uint32), least, room)]
        head = np.array(len(indices), COUNT).tobytes()
        return Payload(head + entries.pack(values, indices, self.places), d)

    def decode(self, payload: Payload) -> np.ndarray:
        """The vector that is 0 but for those, (d,) float32. Raises as `Codec.decode` does."""
        expect_at_least(payload, COUNT.itemsize, f"Threshold({self.tau})")
        k = int(np.frombuffer(payload.data, COUNT, 1)[0])
        if k > payload.length:
            raise ValueError(f"{payload.length} entries can't be {k}: the payload is another's")
        return entries.unpack(payload.data[COUNT.itemsize :], k, payload.length, self.places)

    def _float32(self) -> np.float32:
        """The least float32 that is not below tau; infinity, where no entry is."""
        with np.errstate(over="ignore"):
            near = np.float32(self.tau)
        return np.nextafter(near, np.float32(np.inf)) if float(near) < self.tau else near
