"""A payload of parts, read from its first byte to its last."""

from __future__ import annotations

import numpy as np

from ddml_kit.compression import bits
from ddml_kit.compression.payload import Payload


class Reader:
    """What has been read of a payload's bytes. what: the codec, for the text of errors."""

    def __init__(self, payload: Payload, what: str) -> None:
        self._payload, self._what, self._at = payload, what, 0

    def array(self, dtype: np.dtype, number: int) -> np.ndarray:
        """The next numbers, (number,), read-only. Raises ValueError if there are not so many."""
        return np.frombuffer(self._take(number * dtype.itemsize), dtype, number)

    def packed(self, number: int, width: int) -> np.ndarray:
        """The next numbers of so many bits each, (number,) uint32, up to a whole byte."""
        return bits.unpack(self._take(bits.nbytes(number, width)), number, width)

    def end(self) -> None:
        """Raises ValueError unless all has been read."""
        if self._at != self._payload.nbytes:
            raise self._wrong(f"{self._at}")

    def wrong(self, rule: str) -> ValueError:
        """The error for what no encode has written."""
        return ValueError(f"{rule}: the payload is not one of {self._what}'s")

    def _take(self, nbytes: int) -> bytes:
        start, self._at = self._at, self._at + nbytes
        if self._at > self._payload.nbytes:
            raise self._wrong(f"{self._at} or more")
        return self._payload.data[start : self._at]

    def _wrong(self, nbytes: str) -> ValueError:
        return ValueError(
            f"{self._what} of {self._payload.length} entries takes {nbytes} bytes here, got "
            f"{self._payload.nbytes}: the payload is truncated, or another codec's"
        )
