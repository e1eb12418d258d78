"""What a cluster implements: one rank's end of it, in world ranks. `Comm` is its face.

A new cluster writes one `Endpoint` and one `Cluster` (see run.py) and passes the conformance suite.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any, NamedTuple

import numpy as np

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
    """

    rank: int
    size: int
    seed: int

    @abstractmethod
    def send(self, value: Any, dest: int, tag: int, context: int) -> None: ...

    @abstractmethod
    def recv(self, source: int, tag: int, context: int, timeout: float | None) -> Message: ...

    @abstractmethod
    def all_reduce(
        self,
        x: np.ndarray,
        op: np.ufunc,
        members: Sequence[int],
        context: int,
        out: np.ndarray | None,
    ) -> np.ndarray:
        """x is C-contiguous, at least one-dimensional; the result is writable and the caller's."""

    @abstractmethod
    def all_gather(self, value: Any, members: Sequence[int], context: int) -> list[Any]: ...

    @abstractmethod
    def broadcast(self, value: Any, root: int, members: Sequence[int], context: int) -> Any: ...

    @abstractmethod
    def barrier(self, members: Sequence[int], context: int) -> None: ...

    @abstractmethod
    def start(self, f: Callable[..., Any], *args: Any) -> Pending: ...

    @abstractmethod
    def shared(self, array: np.ndarray, members: Sequence[int], context: int) -> np.ndarray: ...

    @abstractmethod
    def lock(self, members: Sequence[int], context: int) -> AbstractContextManager[None]: ...

    @abstractmethod
    def work(self, seconds: float, until: int | None, context: int) -> bool: ...

    @abstractmethod
    def now(self) -> float: ...

    @abstractmethod
    def record(self, metrics: dict[str, float]) -> None: ...

    @abstractmethod
    def snapshot(self, w: np.ndarray) -> None: ...

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
