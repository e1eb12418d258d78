"""What travels instead of a vector, packed: all of it in bytes, so that nothing is estimated."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Payload:
    """An encoded vector. data: all that travels, scale factors and counts included.

    length: of the vector that it stands for. Both ends know it, so it doesn't travel.
    """

    data: bytes
    length: int

    @property
    def nbytes(self) -> int:
        """What a cluster books for it: the bytes of `data`."""
        return len(self.data)


def expect(payload: Payload, nbytes: int, what: str) -> None:
    """Raises ValueError unless the payload has so many bytes. what: the codec, for the text."""
    if payload.nbytes != nbytes:
        raise ValueError(
            f"{what} of {payload.length} entries takes {nbytes} bytes, got {payload.nbytes}: "
            "the payload is truncated, or another codec's"
        )


def expect_at_least(payload: Payload, nbytes: int, what: str) -> None:
    """Raises ValueError if the payload has fewer bytes than its head alone takes."""
    if payload.nbytes < nbytes:
        raise ValueError(
            f"{what} of {payload.length} entries takes {nbytes} bytes or more, got "
            f"{payload.nbytes}: the payload is truncated, or another codec's"
        )
