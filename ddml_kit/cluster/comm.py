"""What a program sees of its cluster: a communicator, the same on every cluster.

The vocabulary is MPI's (Message Passing Interface Forum, "MPI: A Message-Passing Interface
Standard", version 4.1, 2023): rank, size, send, recv, ANY, groups with communicators of their own.
Two departures: `send` never waits, and a sum folds in rank order, so that it has the same bits
on every cluster.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from typing import Any

import numpy as np

from ddml_kit.cluster.checks import real, whole
from ddml_kit.cluster.endpoint import ANY, Endpoint, Message, Order, Pending

OPERATIONS: dict[str, np.ufunc] = {
    "sum": np.add,
    "mean": np.add,
    "prod": np.multiply,
    "max": np.maximum,
    "min": np.minimum,
}
WORLD = 0  # the context of the communicator that a program is handed
TAGS = 1 << 63  # a tag is below this, so that it fits into a word


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

    @property
    def members(self) -> Sequence[int]:
        """The world ranks of its ranks, in order: those that traces and errors name."""
        return self._members

    # ---------------------------------------------------------------- messages

    def send(self, value: Any, dest: int, tag: int = 0) -> None:
        """Send a copy of `value`, taken now, to rank `dest`; never waits.

        value: an array or tensor of any shape, a number, or anything that pickles.
        tag: a whole number from 0 to 2**63 - 1 that `recv` can ask for; it costs no bytes.
        Messages from one rank to another with one tag arrive in the order they were sent.
        Raises TypeError for a value that can't be sent.
        """
        if type(dest) is not int or type(tag) is not int:
            dest, tag = whole("dest must be a rank", dest), whole("a tag must be whole", tag)
        if not 0 <= dest < self.size:
            raise ValueError(f"dest must be a rank from 0 to {self.size - 1}, got {dest}")
        if not 0 <= tag < TAGS:
            raise ValueError(f"a tag must be {_bounds(tag)}, got {tag}")
        self._endpoint.send(value, self._members[dest], tag, self._context)

    def recv(self, source: int = ANY, tag: int = ANY, timeout: float | None = None) -> Message:
        """The next message from `source` with `tag`, as Message(value, source, tag); waits for it.

        With ANY, the first to arrive. timeout: seconds, virtual or real; None: for ever.
        Raises Timeout after `timeout`; RankFailed if the source is dead, with ANY all other ranks
        of this communicator, and the run goes on without. Where nobody can ever send it, the run
        ends with Deadlock.
        """
        if type(source) is not int or type(tag) is not int:
            source = whole("source must be ANY or a rank", source)
            tag = whole("a tag must be ANY or whole", tag)
        if source == ANY:
            world = ANY
        elif 0 <= source < self.size:
            world = self._members[source]
        else:
            raise ValueError(f"source must be ANY or a rank, 0 to {self.size - 1}, got {source}")
        if not ANY <= tag < TAGS:
            raise ValueError(f"a tag must be ANY, or {_bounds(tag)}, got {tag}")
        if timeout is not None:
            timeout = _seconds("timeout must be 0 or more seconds, or None", timeout)
        message = self._endpoint.recv(world, tag, self._members, self._context, timeout)
        if self._context == WORLD:
            return message
        return Message(message.value, self._members.index(message.source), message.tag)

    # -------------------------------------------------------------- collectives

    def all_reduce(
        self,
        x: Any,
        op: str = "sum",
        order: Order = "rank",
        out: np.ndarray | None = None,
    ) -> Any:
        """x combined over all ranks: x[0] op x[1] op ..., a left fold in rank order; on every rank.

        x: an array of any shape, or a number; shape and dtype equal on all ranks. A tensor is
        taken for an array, but one on a GPU stays there (Torchrun alone). Comes back as a new
        array like x, as a number for a number.
        op: "sum", "mean", "prod", "max" or "min". A mean of whole numbers is in float64.
        out: an array like the result, which is written there, to save a copy.
        order: "any" lets Torchrun use torch.distributed's own, which may have other bits; on the
        other clusters it is the same as "rank".
        Booked as a reduce-scatter and an all-gather: 2 (n - 1) len(x) values in total.
        Raises ValueError if the ranks call something else or differ in shape or dtype, RankFailed
        if one is dead and has not come.
        """
        if op not in OPERATIONS:
            raise ValueError(f"op must be one of {', '.join(OPERATIONS)}, got {op!r}")
        if order not in ("rank", "any"):
            raise ValueError(f'order must be "rank" or "any", got {order!r}')
        if type(x) is not np.ndarray and getattr(x, "is_cuda", False):
            return self._all_reduce_on_gpu(x, op, order, out)
        array = np.ascontiguousarray(x)  # makes a scalar one-dimensional
        if array.dtype.kind not in "fc":
            array = _summable(array, x, op)
        if out is not None:
            _check_out(out, array)
        result = self._endpoint.all_reduce(
            array, OPERATIONS[op], self._members, self._context, out, order
        )
        if op == "mean":
            np.divide(result, self.size, out=result)
        return result if array is x or np.ndim(x) else result[0].item()

    def _all_reduce_on_gpu(self, x: Any, op: str, order: Order, out: Any) -> Any:
        """The same of a tensor on a GPU."""
        if op == "mean" and not (x.is_floating_point() or x.is_complex()):
            x = x.double()
        if out is not None:
            _check_tensor(out, x)
        total = self._endpoint.all_reduce_tensor(
            x.detach(), OPERATIONS[op], self._members, self._context, order
        )
        if op == "mean":
            total = total / self.size
        if out is None:
            return total
        out.copy_(total)
        return out

    def all_gather(self, value: Any) -> list[Any]:
        """Every rank's value, as a list by rank. Values may differ in shape and kind.

        The list and what is in it are the caller's own. Raises what `broadcast` raises.
        """
        return self._endpoint.all_gather(value, self._members, self._context)

    def broadcast(self, value: Any, root: int = 0) -> Any:
        """Rank `root`'s value, on every rank; what the others pass is ignored.

        A copy on the root, too. Raises TypeError for a value that can't be sent, ValueError if the
        ranks call something else or name another root, RankFailed if a rank that is needed is dead.
        """
        root = whole("root must be a rank", root)
        if not 0 <= root < self.size:
            raise ValueError(f"root must be a rank from 0 to {self.size - 1}, got {root}")
        return self._endpoint.broadcast(value, self._members[root], self._members, self._context)

    def barrier(self) -> None:
        """Wait until every rank has come here.

        Raises ValueError if one calls another collective, RankFailed if one is dead.
        """
        self._endpoint.barrier(self._members, self._context)

    def group(self, ranks: Sequence[int]) -> Comm:
        """A communicator of these ranks of this one, numbered in the order given.

        Called by the members, each with the same ranks; it exchanges nothing.
        """
        if not isinstance(ranks, Iterable):
            raise TypeError(f"a group needs a sequence of ranks, got {ranks!r}")
        ranks = tuple(whole("a group needs ranks", rank) for rank in ranks)
        if len(set(ranks)) < len(ranks) or not all(0 <= r < self.size for r in ranks):
            raise ValueError(f"a group needs distinct ranks from 0 to {self.size - 1}, got {ranks}")
        if self.rank not in ranks:
            raise ValueError(f"rank {self.rank} is not in the group {ranks}")
        members = tuple(self._members[r] for r in ranks)
        self._groupings[members] += 1  # the same ranks grouped again are another communicator
        label = f"{self._context}:{members}:{self._groupings[members]}"
        digest = hashlib.blake2b(label.encode(), digest_size=7).digest()
        return Comm(self._endpoint, members, 1 + int.from_bytes(digest))

    def start(self, f: Callable[..., Any], *args: Any) -> Pending:
        """f(*args) as a second strand of this rank; `Pending.wait()` gives what it returns.

        The strand may use this communicator's send and recv with tags of its own; for
        collectives give it a group, since each communicator runs one collective at a time.
        """
        return self._endpoint.start(f, *args)

    # ------------------------------------------------------------ shared memory

    def shared(self, array: np.ndarray) -> np.ndarray:
        """Rank 0's values in one memory that all ranks write, with no lock; collective.

        An array of rank 0's shape and dtype; what the others pass is ignored. Raises TypeError if
        rank 0's holds anything but numbers, and what `barrier` raises.
        """
        array = np.asarray(array)
        if self.rank == 0 and array.dtype.kind not in "biufc":
            raise TypeError(f"shared memory holds numbers, got dtype {array.dtype}")
        return self._endpoint.shared(array, self._members, self._context)

    def lock(self) -> AbstractContextManager[None]:
        """A lock that all ranks share, for `with`; one new lock a call.

        Collective: waits, and raises, as `barrier` does. It is released if its holder dies.
        """
        return self._endpoint.lock(self._members, self._context)

    # ------------------------------------------------------------ time and data

    def work(self, seconds: float, until: int | None = None) -> bool:
        """Compute for `seconds` (0 or more, at this rank's normal speed); True unless interrupted.

        Virtual: lasts seconds x this rank's slowdown. Real: the computing has been done, so only
        the injected slowdown is slept; paced, all that is left of the time. A message with tag
        `until` interrupts it: then False, and the message waits to be received.
        """
        if type(seconds) is not float or not 0 <= seconds < math.inf:
            seconds = _seconds("work needs finite seconds >= 0", seconds)
        if until is not None:
            until = whole("until must be a tag", until)
            if not 0 <= until < TAGS:
                raise ValueError(f"until must be a tag, {_bounds(until)}, got {until}")
        return self._endpoint.work(seconds, until, self._context)

    def stream(self, name: str) -> np.random.Generator:
        """The random generator of (seed, world rank, name), one for each purpose.

        The same name gives the same generator again, where it left off.
        """
        if not isinstance(name, str):
            raise TypeError(f"a stream's name must be text, got {name!r}")
        return self._endpoint.stream(name)

    def now(self) -> float:
        """Seconds since the start of the run, virtual or real."""
        return self._endpoint.now()

    def record(self, **metrics: float) -> None:
        """Send a point (these numbers, the rank, the time) to whoever watches the run."""
        for name in ("rank", "seconds"):
            if name in metrics:
                raise ValueError(
                    f"record has rank and seconds already; name it otherwise, got {name}"
                )
        self._endpoint.record(
            {name: real(f"record needs numbers; {name}", x) for name, x in metrics.items()}
        )

    def snapshot(self, w: np.ndarray) -> None:
        """Offer a copy of the model to the watcher, who evaluates it; costs no virtual time.

        w: an array of any shape, the same in every step.
        Call it once a step. The run keeps every k-th, with k doubled when there are too many.
        """
        if not hasattr(w, "nbytes"):
            raise TypeError(f"a snapshot is an array, got {w!r}")
        self._endpoint.snapshot(w)


def _bounds(tag: int) -> str:
    return "below 2**63" if tag >= TAGS else "0 or more"


def _seconds(rule: str, value: Any) -> float:
    """Raises TypeError or ValueError for what is not a finite number of 0 or more."""
    seconds = real(rule, value)
    if not 0 <= seconds < math.inf:
        raise ValueError(f"{rule}, got {value}")
    return seconds


def _summable(array: np.ndarray, x: Any, op: str) -> np.ndarray:
    """An array of no inexact dtype, as one whose dtype holds the result of this op."""
    kind = array.dtype.kind
    if kind not in "biu":
        raise TypeError(f"all_reduce needs numbers, got {type(x).__name__} {array.dtype}")
    if kind == "b" and op not in ("max", "min"):
        raise TypeError(f"{op} needs numbers, got bool; give astype(int)")
    return array.astype(np.float64) if op == "mean" else array


def _check_tensor(out: Any, x: Any) -> None:
    """The same as _check_out for tensors."""
    if not hasattr(out, "copy_"):
        raise TypeError(f"out must be a tensor, got {out!r}")
    mine, theirs = (tuple(x.shape), x.dtype), (tuple(out.shape), out.dtype)
    if mine != theirs:
        raise ValueError(
            f"out must be like the result, {mine[0]} {mine[1]}; got {theirs[0]} {theirs[1]}"
        )


def _check_out(out: Any, array: np.ndarray) -> None:
    if not isinstance(out, np.ndarray):
        raise TypeError(f"out must be an array, got {out!r}")
    if (out.shape, out.dtype) != (array.shape, array.dtype):
        raise ValueError(
            f"out must be like the result, {array.shape} {array.dtype}; got {out.shape} {out.dtype}"
        )
    if not out.flags.writeable:
        raise ValueError("out must be writable, got a read-only array")
