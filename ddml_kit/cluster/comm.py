"""What a program sees of its cluster: a communicator, the same on every cluster.

The vocabulary is MPI's (Message Passing Interface Forum, "MPI: A Message-Passing Interface
Standard", version 4.1, 2023): rank, size, send, recv, ANY, groups with communicators of their own.
Two departures: `send` never waits, and a sum folds in rank order, so that it has the same bits
on every cluster.
"""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any, Literal

import numpy as np

from ddml_kit.cluster.endpoint import ANY, Endpoint, Message, Pending

OPERATIONS: dict[str, np.ufunc] = {
    "sum": np.add,
    "mean": np.add,
    "prod": np.multiply,
    "max": np.maximum,
    "min": np.minimum,
}
WORLD = 0  # the context of the communicator that a program is handed


class Comm:
    """One rank's view of a communicator.

    A program receives the world: every rank of the cluster. `group` makes smaller ones, in which
    ranks count from 0 again and messages cannot be mistaken for those of another communicator.
    """

    def __init__(
        self, endpoint: Endpoint, members: Sequence[int] | None = None, context: int = WORLD
    ) -> None:
        self._endpoint = endpoint
        # The world is a range: a tuple for each of thousands of ranks would fill the memory.
        self._members = range(endpoint.size) if members is None else tuple(members)
        self._context = context
        self._groupings: Counter[tuple[int, ...]] = Counter()
        self.rank = self._members.index(endpoint.rank)
        self.size = len(self._members)

    # ---------------------------------------------------------------- messages

    def send(self, value: Any, dest: int, tag: int = 0) -> None:
        """Send a copy of `value`, taken now, to rank `dest`; never waits.

        value: an array or tensor of any shape, a number, or anything that pickles.
        tag: a whole number >= 0 that `recv` can ask for; it costs no bytes.
        Messages from one rank to another with one tag arrive in the order they were sent.
        """
        if not 0 <= dest < self.size:
            raise ValueError(f"dest must be a rank from 0 to {self.size - 1}, got {dest}")
        if tag < 0:
            raise ValueError(f"a tag must be 0 or more, got {tag}")
        self._endpoint.send(value, self._members[dest], tag, self._context)

    def recv(self, source: int = ANY, tag: int = ANY, timeout: float | None = None) -> Message:
        """The next message from `source` with `tag`, as Message(value, source, tag); waits for it.

        With ANY, the first to arrive. timeout: seconds, virtual or real.
        Raises Timeout after `timeout`, RankFailed if the source is dead and the run goes on
        without it, Deadlock if nobody can ever send it.
        """
        if source == ANY:
            world = ANY
        elif 0 <= source < self.size:
            world = self._members[source]
        else:
            raise ValueError(f"source must be ANY or a rank, 0 to {self.size - 1}, got {source}")
        if tag < ANY:
            raise ValueError(f"a tag must be ANY, or 0 or more, got {tag}")
        if timeout is not None and not timeout >= 0:
            raise ValueError(f"timeout must be 0 or more seconds, or None, got {timeout}")
        message = self._endpoint.recv(world, tag, self._context, timeout)
        if self._context == WORLD:
            return message
        return Message(message.value, self._members.index(message.source), message.tag)

    # -------------------------------------------------------------- collectives

    def all_reduce(
        self,
        x: Any,
        op: str = "sum",
        order: Literal["rank", "any"] = "rank",
        out: np.ndarray | None = None,
    ) -> Any:
        """x combined over all ranks: x[0] op x[1] op ..., a left fold in rank order; on every rank.

        x: an array of any shape, or a number; shape and dtype equal on all ranks.
        op: "sum", "mean", "prod", "max" or "min". out: an array for the result, to save a copy.
        order: "rank" gives the same bits on every cluster; "any" lets a cluster choose.
        Booked as a reduce-scatter and an all-gather: 2 (n - 1) len(x) values in total.
        """
        if op not in OPERATIONS:
            raise ValueError(f"op must be one of {', '.join(OPERATIONS)}, got {op!r}")
        if order not in ("rank", "any"):
            raise ValueError(f'order must be "rank" or "any", got {order!r}')
        array = np.ascontiguousarray(x)  # makes a scalar one-dimensional
        if array.dtype.kind not in "biufc":
            raise TypeError(f"all_reduce needs numbers, got {type(x).__name__} {array.dtype}")
        if out is not None and (out.shape, out.dtype) != (array.shape, array.dtype):
            raise ValueError(
                f"out must be like x, {array.shape} {array.dtype}; got {out.shape} {out.dtype}"
            )
        if op == "mean" and out is not None and out.dtype.kind not in "fc":
            raise TypeError(f"a mean is no whole number, so it does not fit into out, {out.dtype}")
        result = self._endpoint.all_reduce(array, OPERATIONS[op], self._members, self._context, out)
        if op == "mean":
            inexact = result.dtype.kind in "fc"  # then the mean has the same dtype
            result = np.divide(result, self.size, out=result if inexact else out)
        return result if np.ndim(x) else result[0].item()

    def all_gather(self, value: Any) -> list[Any]:
        """Every rank's value, as a list by rank. Values may differ in shape and kind."""
        return self._endpoint.all_gather(value, self._members, self._context)

    def broadcast(self, value: Any, root: int = 0) -> Any:
        """Rank `root`'s value, on every rank; what the others pass is ignored."""
        if not 0 <= root < self.size:
            raise ValueError(f"root must be a rank from 0 to {self.size - 1}, got {root}")
        return self._endpoint.broadcast(value, self._members[root], self._members, self._context)

    def barrier(self) -> None:
        """Wait until every rank has come here."""
        self._endpoint.barrier(self._members, self._context)

    def group(self, ranks: Sequence[int]) -> Comm:
        """A communicator of these ranks of this one, numbered in the order given.

        Called by the members, each with the same ranks; it exchanges nothing.
        """
        ranks = tuple(ranks)
        if len(set(ranks)) < len(ranks) or not all(0 <= r < self.size for r in ranks):
            raise ValueError(f"a group needs distinct ranks from 0 to {self.size - 1}, got {ranks}")
        if self.rank not in ranks:
            raise ValueError(f"rank {self.rank} is not in the group {ranks}")
        members = tuple(self._members[r] for r in ranks)
        self._groupings[members] += 1  # the same ranks grouped again are another communicator
        label = f"{self._context}:{members}:{self._groupings[members]}"
        return Comm(self._endpoint, members, 1 + zlib.crc32(label.encode()))

    def start(self, f: Callable[..., Any], *args: Any) -> Pending:
        """f(*args) as a second strand of this rank; `Pending.wait()` gives what it returns.

        The strand may use this communicator's send and recv with tags of its own; for
        collectives give it a group, since each communicator runs one collective at a time.
        """
        return self._endpoint.start(f, *args)

    # ------------------------------------------------------------ shared memory

    def shared(self, array: np.ndarray) -> np.ndarray:
        """Rank 0's values in one memory that all ranks write, with no lock; collective."""
        return self._endpoint.shared(np.asarray(array), self._members, self._context)

    def lock(self) -> AbstractContextManager[None]:
        """A lock that all ranks share, for `with`; collective, one new lock a call."""
        return self._endpoint.lock(self._members, self._context)

    # ------------------------------------------------------------ time and data

    def work(self, seconds: float, until: int | None = None) -> bool:
        """Compute for `seconds` (at this rank's normal speed); True unless interrupted.

        Virtual: lasts seconds x this rank's slowdown. Real: the computing has been done, so only
        the injected slowdown is slept; paced, all that is left of the time. A message with tag
        `until` interrupts it: then False, and the message waits to be received.
        """
        if not seconds >= 0:
            raise ValueError(f"work needs seconds >= 0, got {seconds}")
        return self._endpoint.work(seconds, until, self._context)

    def stream(self, name: str) -> np.random.Generator:
        """The random generator of (seed, world rank, name), one for each purpose.

        The same name gives the same generator again, where it left off.
        """
        return self._endpoint.stream(name)

    def now(self) -> float:
        """Seconds since the start of the run, virtual or real."""
        return self._endpoint.now()

    def record(self, **metrics: float) -> None:
        """Send a point (these numbers, the rank, the time) to whoever watches the run."""
        self._endpoint.record({name: float(value) for name, value in metrics.items()})

    def snapshot(self, w: np.ndarray) -> None:
        """Offer a copy of the model to the watcher, who evaluates it; costs no virtual time.

        Call it once a step. The run keeps every k-th, with k doubled when there are too many.
        """
        self._endpoint.snapshot(w)
