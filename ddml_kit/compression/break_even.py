"""When compression pays: the bytes that it saves, against the time that it takes.

What is gained is seconds on the link, what is lost is seconds to encode and decode; the bandwidth
at which they are equal is the break-even one, and only below it compression pays. Much of what is
published does not pay at a data centre's bandwidth (S. Agarwal, H. Wang, S. Venkataraman, D.
Papailiopoulos, "On the Utility of Gradient Compression in Distributed Training Systems", MLSys
2022, arXiv 2103.00543), which is said there with a model of whole steps, overlap included.

Vectors of full length are summed on their way; payloads, which can't be added, are gathered, and
each worker decodes all of them. Latency is left out: it hardly depends on what is sent.
"""

from __future__ import annotations

import time
from typing import NamedTuple

import numpy as np

from ddml_kit.compression.codec import Codec


class Coding(NamedTuple):
    """What a codec makes of a vector: bytes, and the seconds to encode and to decode."""

    nbytes: int
    encode: float
    decode: float


def summed(nbytes: float, n: int) -> float:
    """Bytes that each of n workers sends so that all get a sum of such vectors: 2 (n - 1) / n."""
    return 2 * (_workers(n) - 1) / n * nbytes


def gathered(nbytes: float, n: int) -> float:
    """Bytes that each of n workers sends so that all get all such payloads: n - 1 times as many."""
    return (_workers(n) - 1) * nbytes


def break_even(before: float, after: float, seconds: float) -> float:
    """The bandwidth, bytes/s, below which compression pays; 0 where it never does.

    before, after: bytes through a worker's link without it and with it. seconds: to encode and
    decode, all that a worker has to do of it; if they are 0 and bytes are saved: infinity.
    """
    if before < 0 or after < 0 or not seconds >= 0:
        raise ValueError(
            f"break_even needs bytes and seconds of 0 or more, got {before}, {after}, {seconds}"
        )
    if after >= before:
        return 0.0
    return (before - after) / seconds if seconds > 0 else float("inf")


def exchange(coding: Coding, n: int, bandwidth: float) -> float:
    """Seconds until each of n workers has encoded, has all payloads, and has decoded them."""
    return coding.encode + gathered(coding.nbytes, n) / bandwidth + n * coding.decode


def timed(
    codec: Codec, x: np.ndarray, rng: np.random.Generator | None = None, *, repeats: int = 5
) -> Coding:
    """What a codec makes of x, (d,), here: medians of so many repeats, after one that warms up."""
    if repeats < 1:
        raise ValueError(f"timed needs 1 repeat or more, got {repeats}")
    taken = np.empty((repeats + 1, 2))
    for k in range(repeats + 1):
        start = time.perf_counter()
        payload = codec.encode(x, rng)
        middle = time.perf_counter()
        codec.decode(payload)
        taken[k] = middle - start, time.perf_counter() - middle
    encode, decode = np.median(taken[1:], axis=0)
    return Coding(payload.nbytes, float(encode), float(decode))


def _workers(n: int) -> int:
    if n < 1:
        raise ValueError(f"payloads are those of 1 worker or more, got n={n}")
    return n
