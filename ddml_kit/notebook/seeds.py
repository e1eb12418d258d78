"""A seed from a learner's name, so that each of a class sees a run of their own, every time."""

from __future__ import annotations

import hashlib
import unicodedata


def seed_of(name: str) -> int:
    """The seed that goes with a name, from 0 to 2^32 - 1: the same on every machine.

    Capitals and spaces around and between words don't matter. Two of 200 names share a seed once
    in 200,000 classes. Raises ValueError for an empty name.
    """
    plain = " ".join(unicodedata.normalize("NFKC", name).casefold().split())
    if not plain:
        raise ValueError(f"a seed comes from a name, got {name!r}")
    return int.from_bytes(hashlib.blake2b(plain.encode(), digest_size=4).digest())
