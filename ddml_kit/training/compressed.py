"""Gradients averaged as payloads: any codec as a reducer.

Payloads of most codecs can't be added: every rank sends its own to all others, and takes the mean
of what they decode to (the all-gather of D. Alistarh, D. Grubic, J. Li, R. Tomioka, M. Vojnović,
"QSGD: Communication-Efficient SGD via Gradient Quantization and Encoding", NeurIPS 2017, arXiv
1610.02132, algorithm 1). So each rank receives n - 1 payloads: twice as many ranks, twice the
bytes, where a sum stays as long as it is. Entries that all ranks choose alike can be added (random
block or random-k with one seed, to which T. Vogels et al., arXiv 1905.13727, compare PowerSGD).

A codec that refuses a rank's gradient is refused on every rank, with the same sentence: the error
travels in the payload's place, so that nobody waits for ever.
"""

from __future__ import annotations

import numpy as np

from ddml_kit.cluster.comm import Comm
from ddml_kit.compression.codec import Codec, check_k, count
from ddml_kit.compression.feedback import ErrorFeedback
from ddml_kit.compression.payload import Payload
from ddml_kit.training.reducers import Reduce, Reducer

REFUSED = (ValueError, TypeError, ArithmeticError)  # what encode raises


def compressed(codec: Codec, *, feedback: bool = False) -> Reducer:
    """The mean of what the ranks' payloads decode to, in rank order: the same bits on every rank.

    codec: encodes with the stream "codec". feedback: add what a payload loses to the next gradient.
    A call raises on every rank what one rank's encode raises, and names the rank; the memory is
    then as it was. It raises ValueError on every rank if gradients are of different lengths.
    """

    def reducer(comm: Comm) -> Reduce:
        memory = ErrorFeedback(codec)
        encoder = memory if feedback else codec
        rng = own_stream(comm, "codec")

        def reduce(gradient: np.ndarray) -> np.ndarray:
            sent: Payload | Exception
            before = memory.memory
            try:
                sent = encoder.encode(gradient, rng)
            except REFUSED as error:
                sent = error
            try:
                payloads = _accepted(comm, comm.all_gather(sent))
                check_lengths(comm, [payload.length for payload in payloads])
            except REFUSED:
                memory.memory = before
                raise
            total = codec.decode(payloads[0]).astype(gradient.dtype, copy=False)
            for payload in payloads[1:]:
                total += codec.decode(payload)
            total /= comm.size
            return total

        return reduce

    return reducer


def shared_entries(k: int | float, *, feedback: bool = False, unbiased: bool = False) -> Reducer:
    """The mean in k random entries, the same on all ranks at each step; 0 elsewhere.

    k: how many, or which fraction. feedback: add what is left out to the next gradient. unbiased:
    entries count d / k times, so that the mean is right on average. Only values travel, of the
    gradient's own type: each rank draws the indices from one seed, rank 0's. Raises ValueError for
    a k that means no entry, or for both feedback and unbiased, with which the memory would grow; a
    call raises ValueError for a k that means more than d or a d that is not the first call's, and
    FloatingPointError on every rank if one rank's gradient is not finite. The first call compares
    the ranks' d, and raises ValueError on all if they differ.
    """
    check_k(k)
    if feedback and unbiased:
        raise ValueError("feedback needs entries as they are, got unbiased=True as well")

    def reducer(comm: Comm) -> Reduce:
        rng = common_stream(comm, "entries")
        memory: np.ndarray | None = None
        first: int | None = None

        def reduce(gradient: np.ndarray) -> np.ndarray:
            nonlocal memory, first
            d = len(gradient)
            if first is None:
                check_lengths(comm, comm.all_gather(d))
                first = d
            if d != first:
                raise ValueError(f"gradients must be of one length, got {d} after {first}")
            kept = rng.choice(d, count(k, d), replace=False, shuffle=False)
            x = gradient if memory is None else gradient + memory
            mine = x[kept]
            if not np.isfinite(gradient).all():
                mine[:] = np.nan  # so that all ranks hear of it
            values = mean_over(comm, mine, gradient)
            if feedback:
                memory = x.copy()
                memory[kept] = 0
            if unbiased:
                values *= d / len(kept)
            mean = np.zeros_like(gradient)
            mean[kept] = values
            return mean

        return reduce

    return reducer


def mean_over(comm: Comm, x: np.ndarray, gradient: np.ndarray) -> np.ndarray:
    """x averaged over the ranks, in place. Raises FloatingPointError on all if it is not finite.

    gradient: this rank's, of which x is made, so that the error can say whose was not finite.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        comm.all_reduce(x, "mean", out=x)
    if np.isfinite(x).all():
        return x
    finite = np.isfinite(gradient)
    wrong = comm.all_gather(finite.size - np.count_nonzero(finite))
    for rank, number in enumerate(wrong):
        if number:
            raise FloatingPointError(
                f"gradients must be finite, got {number} of {finite.size} values of rank "
                f"{comm.members[rank]} that are NaN or infinite"
            )
    raise FloatingPointError(
        f"gradients must have a mean, got a sum beyond the largest {gradient.dtype}"
    )


def check_lengths(comm: Comm, lengths: list[int]) -> None:
    """Raises ValueError, the same on all ranks, unless the ranks' gradients are of one length."""
    for rank, length in enumerate(lengths):
        if length != lengths[0]:
            raise ValueError(
                f"gradients must be of one length, got {lengths[0]} values of rank "
                f"{comm.members[0]} and {length} of rank {comm.members[rank]}"
            )


def own_stream(comm: Comm, name: str) -> np.random.Generator:
    """A generator of this reducer's own, so that those of several buckets can work at once."""
    return comm.stream(name).spawn(1)[0]


def common_stream(comm: Comm, name: str) -> np.random.Generator:
    """A generator that draws the same on every rank: rank 0 draws its seed."""
    return np.random.default_rng(comm.broadcast(int(own_stream(comm, name).integers(2**63))))


def _accepted(comm: Comm, answers: list) -> list[Payload]:
    """The ranks' payloads. Raises the first error among them, and says whose it is."""
    for rank, answer in enumerate(answers):
        if isinstance(answer, Exception):
            raise type(answer)(f"rank {comm.members[rank]}: {answer}")
    return answers
