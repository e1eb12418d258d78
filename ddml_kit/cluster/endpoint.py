"""What a cluster implements: one rank's end of it, in world ranks. `Comm` is its face.

A new cluster writes one `Endpoint` and one `Cluster` (see run.py) and passes the conformance suite.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any, Literal, NamedTuple

import numpy as np

Order = Literal["rank", "any"]
ANY = -1  # as a source: from whoever; as a tag: whichever


class Message(NamedTuple):
    """What `recv` returns."""

    value: Any
    source: int
    tag: int


class Pending(ABC):
    """What `Comm.start` returns: a strand that may not have ended yet."""

    @abstractmethod
    def wait(self) -> Any:
        """What the strand returned, once it has; raises what it raised."""


class Endpoint(ABC):
    """One rank of a running program, in world ranks.

    `context` keeps communicators apart: a message is received only in the context in which it was
    sent. `members` are a communicator's world ranks in its own order; a fold goes in that order,
    and collectives are matched by (context, the count of this rank's collectives in it).
    Arguments have been checked by `Comm`; values have not.

    Every call raises Stopped once the run is to end. A collective raises ValueError with
    `errors.mismatch` where members make different calls, on all of them that wait or come later,
    and RankFailed if a member that is needed died before it came.
    """

    rank: int
    size: int
    seed: int

    @abstractmethod
    def send(self, value: Any, dest: int, tag: int, context: int) -> None:
        """Copy `value` now and have it travel to `dest`; never waits. TypeError if it can't."""

    @abstractmethod
    def recv(
        self, source: int, tag: int, members: Sequence[int], context: int, timeout: float | None
    ) -> Message:
        """The first message that fits, as it was sent and the caller's own; waits for it.

        source, tag: may be ANY. Raises Timeout after `timeout` seconds; RankFailed once none can
        come any more, because `source` is dead, or for ANY all members but this rank.
        """

    @abstractmethod
    def all_reduce(
        self,
        x: np.ndarray,
        op: np.ufunc,
        members: Sequence[int],
        context: int,
        out: np.ndarray | None,
        order: Order = "rank",
    ) -> np.ndarray:
        """The fold of the members' x from the left, in `out` or in a new array like x.

        x is C-contiguous, at least one-dimensional, and may be `out`; shape and dtype are part of
        the call. The result is writable and the caller's. order: "any" may fold otherwise.
        """

    def all_reduce_tensor(
        self, x: Any, op: np.ufunc, members: Sequence[int], context: int, order: Order = "rank"
    ) -> Any:
        """The same of a tensor on a GPU: a new one there. TypeError where tensors can't stay."""
        raise TypeError(f"tensors on {x.device} are combined by Torchrun alone; give x.cpu()")

    @abstractmethod
    def all_gather(self, value: Any, members: Sequence[int], context: int) -> list[Any]:
        """A copy of every member's value, in their order, one's own included."""

    @abstractmethod
    def broadcast(self, value: Any, root: int, members: Sequence[int], context: int) -> Any:
        """A copy of `root`'s value, on the root as well; `value` counts there alone."""

    @abstractmethod
    def barrier(self, members: Sequence[int], context: int) -> None:
        """Come back once all members have called it."""

    @abstractmethod
    def start(self, f: Callable[..., Any], *args: Any) -> Pending:
        """f(*args) as one more strand of this rank; the run fails by an error nobody waits for."""

    @abstractmethod
    def shared(self, array: np.ndarray, members: Sequence[int], context: int) -> np.ndarray:
        """The first member's array in a memory that all members read and write; a collective.

        `array` counts on the first member alone; its dtype is one of numbers.
        """

    @abstractmethod
    def lock(self, members: Sequence[int], context: int) -> AbstractContextManager[None]:
        """A new lock of the members; a collective in which nobody leaves before all have come."""

    @abstractmethod
    def work(self, seconds: float, until: int | None, context: int) -> bool:
        """Let `seconds` times this rank's slowdown pass; False if interrupted.

        A message with tag `until` from anyone, even one that is here already, interrupts it and
        stays.
        """

    @abstractmethod
    def now(self) -> float:
        """Seconds since the start of the run."""

    @abstractmethod
    def record(self, metrics: dict[str, float]) -> None:
        """Hand a Metric to whoever watches, at once."""

    @abstractmethod
    def snapshot(self, w: np.ndarray) -> None:
        """Hand a copy of w to whoever watches, unless `Thinning` passes it over."""

    def stream(self, name: str) -> np.random.Generator:
        """The generator of (seed, rank, name), made at first use."""
        streams = self.__dict__.setdefault("_streams", {})
        if name not in streams:
            streams[name] = generator(self.seed, self.rank, name)
        return streams[name]


def generator(seed: int, rank: int, name: str) -> np.random.Generator:
    """A random generator that is a function of (seed, rank, name), the same on every machine."""
    key = int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest())
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(rank, key)))
