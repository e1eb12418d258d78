"""Codecs beside the published formulas in vectorised torch, and beside what DDP's hooks compute.

4 M float32 (2^22 normal numbers) are encoded and decoded, six vectors in turn, so that none is in
the cache when its turn comes. Ours is `codec.encode(x, rng)`, whose payload is bytes, and
`codec.decode`, on one thread. The peer's functions are those of compression_peers.py, whose source
is printed with the results: on one thread, like for like, and again on all cores. Of two ways that
a formula is written there, the faster counts (`sign` by shifts or by words, `terngrad` five or four
in a byte). What arrives is compared before anything is timed.

- sign: a bit each and the mean of |x|, on both sides.
- qsgd: 7 levels either way in buckets of 512 with a norm each, two in a byte (`elias.fixed`) on
  both sides. Elias's code, which is our default, has a row of its own and no peer: its decoding
  can't be vectorised.
- terngrad: five in a byte on both sides.
- top_k: 1 % of the entries (`top_k_thousandth`: 0.1 %), the same ones on both sides; the peer
  leaves indices unsorted and in 32 bits.
- mantissa: 16 bits an entry, beside DDP's fp16_compress_hook.
- power_sgd_math: the products of one step at rank 4 for a matrix of 2048 x 2048, beside those that
  DDP's powerSGD_hook makes; nothing is sent.

Random numbers are torch's own there, and ours here. Ratios are the peer's seconds over ours, the
one named alone on one thread on both sides; `_all_cores`: the peer on all cores, ours still on one.
`sign_of_bandwidth`: bytes that sign reads and writes a second, over those of a copy of the vector.

    python -m benchmarks.compression
"""

from __future__ import annotations

import inspect
import os
import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from threadpoolctl import threadpool_limits

from benchmarks import compression_peers as peers
from benchmarks.common import alternate, duration, medians, report
from ddml_kit.compression import QSGD, Codec, Mantissa, Sign, TernGrad, TopK, elias
from ddml_kit.compression.power_sgd import orthonormal, product

D = 1 << 22
VECTORS = 6  # 96 MiB of them
ROUNDS = 7
SIDE, RANK = 2048, 4  # of the matrix that the vector is to PowerSGD
CORES = os.cpu_count() or 1
AIMS = {"sign": 3, "qsgd": 3, "terngrad": 3, "top_k": 2}

Pair = tuple[Callable[[Any], Any], Callable[[Any], Any]]  # encode x; decode what that made


def main() -> None:
    """Print the table, the peers' source and the line of JSON."""
    torch.manual_seed(0)
    normal = np.random.default_rng(0)
    vectors = [normal.standard_normal(D, np.float32) for _ in range(VECTORS)]
    tensors = [torch.from_numpy(x) for x in vectors]
    ours, theirs = our_pairs(), their_pairs()
    compare(ours, theirs, vectors[0])
    taken: dict[str, dict[str, float]] = {}
    with threadpool_limits(1):
        for name, pair in ours.items():
            taken[name] = measure(name, pair, theirs, vectors, tensors)
        copied = statistics.median(seconds_of_copy(vectors) for _ in range(ROUNDS))
    moved = 2 * (4 * D + D / 8)  # of sign: all numbers, and all bits, each once in and once out
    found = ratios(taken) | {
        "sign_of_bandwidth": moved / total(taken["sign"], "ours") / (2 * 4 * D / copied)
    }
    report(
        "compression",
        found,
        head=["", "bytes", "encode", "decode", "torch, 1 thread", f"torch, {CORES}", "ratio"],
        rows=[row(name, ours[name], times, vectors[0]) for name, times in taken.items()],
        packages=("numpy", "numba", "torch"),
        notes=[
            f"{D} float32, one thread on our side; medians of {ROUNDS} turns of {VECTORS} vectors",
            f"copy of the vector: {8 * D / copied / 1e9:.1f} GB/s read and written",
            f"aims: {', '.join(f'{name} >= {aim}' for name, aim in AIMS.items())}",
            "what torch runs:\n",
            inspect.getsource(peers),
        ],
    )


def our_pairs() -> dict[str, Pair]:
    """The kit's codecs by name."""
    rng = np.random.default_rng(1)
    codecs: dict[str, Codec] = {
        "sign": Sign(),
        "qsgd": QSGD(7, elias.fixed, bucket=512),
        "qsgd_elias": QSGD(7, bucket=512),
        "terngrad": TernGrad(),
        "top_k": TopK(0.01),
        "top_k_thousandth": TopK(0.001),
        "mantissa": Mantissa(7),
    }
    q = rng.standard_normal((SIDE, RANK), np.float32)
    return {name: pair_of(codec, rng) for name, codec in codecs.items()} | {
        "power_sgd_math": (lambda x: thin(x.reshape(SIDE, SIDE), q), lambda thin_: thick(*thin_))
    }


def pair_of(codec: Codec, rng: np.random.Generator) -> Pair:
    return lambda x: codec.encode(x, rng), codec.decode


def thin(matrix: np.ndarray, q: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    p = orthonormal(matrix @ q)
    return p, matrix.T @ p


def thick(p: np.ndarray, q: np.ndarray) -> np.ndarray:
    out = np.empty((len(p), len(q)), np.float32)
    product(p, q, out)
    return out


def their_pairs() -> dict[str, list[Pair]]:
    """The peer's functions by our names: where there are several, the fastest will count."""

    def pair(encode: Callable, decode: Callable) -> Pair:
        return encode, lambda packed: decode(*packed)

    q = torch.randn(1, SIDE, RANK)
    of_k = {"top_k": round(0.01 * D), "top_k_thousandth": round(0.001 * D)}
    return {
        "sign": [
            pair(peers.sign_encode, peers.sign_decode),
            pair(peers.sign_by_words_encode, peers.sign_decode),
        ],
        "qsgd": [pair(peers.qsgd_encode, peers.qsgd_decode)],
        "terngrad": [
            pair(peers.terngrad_encode, peers.terngrad_decode),
            pair(peers.terngrad_by_fours_encode, peers.terngrad_by_fours_decode),
        ],
        "mantissa": [pair(peers.fp16_encode, peers.fp16_decode)],
        "power_sgd_math": [
            pair(lambda x: peers.power_sgd_encode(x.view(1, SIDE, SIDE), q), peers.power_sgd_decode)
        ],
    } | {
        name: [pair(lambda x, k=k: peers.top_k_encode(x, k), peers.top_k_decode)]
        for name, k in of_k.items()
    }


def compare(ours: Mapping[str, Pair], theirs: Mapping[str, list[Pair]], x: np.ndarray) -> None:
    """Raises AssertionError unless both sides' vectors are the same, or have errors of one size."""
    for name, pairs in theirs.items():
        encode, decode = ours[name]
        arrived = np.asarray(decode(encode(x))).reshape(-1)
        for other_encode, other_decode in pairs:
            other = other_decode(other_encode(torch.from_numpy(x))).numpy().reshape(-1)
            if name in ("sign", "top_k", "top_k_thousandth"):
                np.testing.assert_allclose(arrived, other, rtol=1e-5)
            elif name != "mantissa":  # which fp16 rounds and ours cuts, with fewer bits of it
                mine, others = (np.square(y - x, dtype=float).sum() for y in (arrived, other))
                np.testing.assert_allclose(mine, others, rtol=0.05, err_msg=name)


def measure(
    name: str,
    ours: Pair,
    theirs: Mapping[str, list[Pair]],
    vectors: list[np.ndarray],
    tensors: list[torch.Tensor],
) -> dict[str, float]:
    """Seconds by contender and part: "ours encode", "torch1 decode" of the first way, ..."""
    contenders: dict[str, Callable[[], float]] = {}

    def add(who: str, pair: Pair, inputs: list, threads: int) -> None:
        made = [pair[0](x) for x in inputs]
        contenders[f"{who} encode"] = lambda: seconds(pair[0], inputs, threads)
        contenders[f"{who} decode"] = lambda: seconds(pair[1], made, threads)

    add("ours", ours, vectors, 1)
    for i, pair in enumerate(theirs.get(name, [])):
        add(f"torch_{i}", pair, tensors, 1)
        add(f"torch_all_{i}", pair, tensors, CORES)
    return medians(alternate(contenders, ROUNDS))


def seconds(work: Callable[[Any], Any], inputs: list, threads: int) -> float:
    """Of one call: the median over the inputs, so many threads in torch."""
    torch.set_num_threads(threads)
    taken = []
    for each in inputs:
        start = time.perf_counter()
        work(each)
        taken.append(time.perf_counter() - start)
    return statistics.median(taken)


def seconds_of_copy(vectors: list[np.ndarray]) -> float:
    """Of a copy of one of the vectors into memory that is there."""
    out = np.empty_like(vectors[0])
    return seconds(lambda x: np.copyto(out, x), vectors, 1)


def total(times: Mapping[str, float], who: str) -> float:
    """Seconds of encode and decode."""
    return times[f"{who} encode"] + times[f"{who} decode"]


def best(times: Mapping[str, float], who: str) -> float | None:
    """The same of the fastest of the ways that the peer has; None where it has none."""
    ways = [name.removesuffix(" encode") for name in times if name.endswith(" encode")]
    found = [total(times, way) for way in ways if way.rpartition("_")[0] == who]
    return min(found, default=None)


def ratios(taken: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """How many times as fast as the peer: on one thread, then beside its all cores."""
    found = {}
    for suffix, who in (("", "torch"), ("_all_cores", "torch_all")):
        for name, times in taken.items():
            theirs = best(times, who)
            if theirs is not None:
                found[name + suffix] = theirs / total(times, "ours")
    return found


def row(name: str, pair: Pair, times: Mapping[str, float], x: np.ndarray) -> list[object]:
    """A line of the table."""
    packed = pair[0](x)
    nbytes = packed.nbytes if hasattr(packed, "nbytes") else sum(part.nbytes for part in packed)
    theirs = best(times, "torch")
    return [
        name,
        nbytes,
        duration(times["ours encode"]),
        duration(times["ours decode"]),
        duration(theirs),
        duration(best(times, "torch_all")),
        f"{theirs / total(times, 'ours'):.2f}" if theirs else "–",
    ]


if __name__ == "__main__":
    main()
