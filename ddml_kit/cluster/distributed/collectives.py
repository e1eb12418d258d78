"""Collectives over messages, each frame straight from the one who has it to the one who needs it.

An all-reduce is a reduce-scatter and an all-gather: each rank gets its chunk of all vectors, folds
them in rank order, and gives the sum to all, 2 (n - 1) S bytes in total. (As many as with the ring
of R. Thakur, R. Rabenseifner, W. Gropp, "Optimization of Collective Communication Operations in
MPICH", IJHPCA 19(1), 2005; but there each chunk's fold begins at another rank.) A vector up
to SHORT bytes goes to everybody whole, in one step rather than two; it is booked as a long one.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Protocol

import numpy as np

from ddml_kit.cluster.local.encoding import Encoded, encode
from ddml_kit.cluster.payload import binomial_tree, chunk_bounds

SHORT = 1 << 12  # bytes
CHUNKS, SUMS = 0, 1  # phases


class Exchange(Protocol):
    """One collective of a communicator. Members and oneself by position."""

    me: int
    members: Sequence[int]

    def give(self, to: int, encoded: Encoded, phase: int = 0) -> None:
        """Send a copy to the member at that position."""

    def keep(self, encoded: Encoded) -> Any:
        """A copy for oneself."""

    def take(self, source: int, phase: int = 0) -> Any:
        """What that member has given; waits for it."""


def all_reduce(turn: Exchange, x: np.ndarray, op: np.ufunc, result: np.ndarray) -> None:
    """The fold of all members' x from the left, in `result`; both (k,)."""
    if x.nbytes <= SHORT:
        give_all(turn, encode(x))
        vectors = [x if i == turn.me else turn.take(i) for i in range(len(turn.members))]
        _fold(vectors, op, result)
        return
    n, me = len(turn.members), turn.me
    bounds = chunk_bounds(x.size, n)
    chunks = [slice(first, last) for first, last in pairwise(bounds)]
    for i in others(turn):
        turn.give(i, encode(x[chunks[i]]), CHUNKS)
    own = x[chunks[me]]
    pieces = [own if i == me else turn.take(i, CHUNKS) for i in range(n)]
    total, error = result[chunks[me]], None
    try:
        _fold(pieces, op, total)
    except Exception as raised:  # as numpy.errstate asked for; all others are told
        error = raised
    give_all(turn, encode(total if error is None else None), SUMS)
    for i in others(turn):
        sums = turn.take(i, SUMS)
        if sums is None:
            where = f"in the part of rank {turn.members[i]}"
            error = error or FloatingPointError(f"{op.__name__} went wrong {where}")
        else:
            result[chunks[i]] = sums
    if error is not None:
        raise error


def all_gather(turn: Exchange, encoded: Encoded) -> list[Any]:
    """Every member's value, by position."""
    give_all(turn, encoded)
    own = turn.keep(encoded)  # the list shares nothing with the value
    return [own if i == turn.me else turn.take(i) for i in range(len(turn.members))]


def broadcast(turn: Exchange, encoded: Encoded | None, root: int) -> tuple[Any, int]:
    """Root's value, and its booked bytes if this rank sends it on. Down a binomial tree."""
    parent, children = binomial_tree(turn.me, root, len(turn.members))
    value = None if parent is None else turn.take(parent)
    if encoded is None and children:
        encoded = encode(value)
    if encoded is None:
        return value, 0
    for child in children:
        turn.give(child, encoded)
    if parent is None:  # the root gets a copy, too
        value = turn.keep(encoded)
    return value, encoded[3]


def barrier(turn: Exchange) -> None:
    """Come back once all members have called it."""
    give_all(turn, encode(None))
    for i in others(turn):
        turn.take(i)


def give_all(turn: Exchange, encoded: Encoded, phase: int = 0) -> None:
    """Send a copy to all others."""
    for i in others(turn):
        turn.give(i, encoded, phase)


def others(turn: Exchange) -> list[int]:
    """All positions but one's own, from the next one on, so that not all turn to the same one."""
    n = len(turn.members)
    return [(turn.me + step) % n for step in range(1, n)]


def _fold(vectors: Sequence[np.ndarray], op: np.ufunc, out: np.ndarray) -> None:
    """From the left. `out` may be one of the vectors only if that is the first."""
    if len(vectors) == 1:
        np.copyto(out, vectors[0])
        return
    op(vectors[0], vectors[1], out)
    for vector in vectors[2:]:
        op(out, vector, out)
