"""The global generators of random, NumPy and torch, as every cluster seeds them on a rank.

Programs should draw from `comm.stream(name)`. Where something draws from a global generator all
the same (a dropout layer, a library), it gets the same numbers on every cluster, and other numbers
on every rank.
"""

from __future__ import annotations

import hashlib
import random
import sys

import numpy as np


def global_seeds(seed: int, rank: int) -> dict[str, int]:
    """What seeds rank's global generators, by the name of the library; below 2^32, or 2^63."""
    key = int.from_bytes(hashlib.blake2b(b"global generators", digest_size=8).digest())
    words = np.random.SeedSequence(seed, spawn_key=(rank, key)).generate_state(3, np.uint64)
    return {
        "random": int(words[0]),
        "numpy": int(words[1]) >> 32,  # np.random.seed takes no more
        "torch": int(words[2]) >> 1,
    }


def seed_globals(seed: int, rank: int) -> None:
    """Seed random, NumPy's legacy generator, and torch's where torch is loaded."""
    seeds = global_seeds(seed, rank)
    random.seed(seeds["random"])
    np.random.seed(seeds["numpy"])  # noqa: NPY002 - the generator that others draw from
    if "torch" in sys.modules:
        sys.modules["torch"].default_generator.manual_seed(seeds["torch"])
