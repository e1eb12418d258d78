"""A rank's end among processes that talk through torch.distributed."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from time import monotonic
from typing import Any

import numpy as np
import torch

from ddml_kit.cluster.distributed import collectives, native
from ddml_kit.cluster.distributed.device import Device
from ddml_kit.cluster.distributed.fabric import Fabric
from ddml_kit.cluster.distributed.locks import RankLock
from ddml_kit.cluster.distributed.post import Post
from ddml_kit.cluster.distributed.reports import FAILED, FINISHED, Command, Report
from ddml_kit.cluster.distributed.rounds import Round
from ddml_kit.cluster.endpoint import ANY, Message, Order
from ddml_kit.cluster.errors import Timeout, awaited_message
from ddml_kit.cluster.faults import Slowdown
from ddml_kit.cluster.local.encoding import encode
from ddml_kit.cluster.local.passing import RealEndpoint
from ddml_kit.cluster.payload import all_gather_bytes, all_reduce_bytes, broadcast_bytes
from ddml_kit.cluster.run import Metric, Snapshot
from ddml_kit.cluster.trace import (
    ALL_GATHER,
    ALL_REDUCE,
    BARRIER,
    BROADCAST,
    LOCK,
    RECEIVE,
    SEND,
)


class TorchEndpoint(RealEndpoint):
    """One a process.

    started: time.monotonic() of this process at the start of the run. emit: gets reports, too.
    device: of this rank, if all have one.
    """

    def __init__(
        self,
        fabric: Fabric,
        *,
        seed: int,
        slowdowns: Sequence[Slowdown],
        paced: bool,
        started: float,
        emit: Callable[[Metric | Snapshot | Report], None],
        device: Device | None = None,
    ) -> None:
        super().__init__(
            fabric.rank,
            fabric.size,
            seed=seed,
            slowdowns=slowdowns,
            paced=paced,
            started=started,
            emit=emit,
        )
        self._post = Post(fabric, self._strand, emit, device)
        self._groups, self._device = fabric.groups, device
        self._own: dict[int, Any] = {}  # torch.distributed's groups for its own sums, by context
        self._waiter = self._post.waiter
        self._locks: Counter[int] = Counter()  # made, by context

    def obey(self, command: Command) -> None:
        """Do what the watcher wants; from any thread."""
        self._post.obey(command)

    def leave(self, how: str) -> None:
        """The end has been reported: wait until all others' programs are over, too.

        how: "returned", "failed" or "stopped".
        """
        self._post.leave(FINISHED if how == "returned" else FAILED)

    def unseen_error(self) -> BaseException | None:
        """What a strand has raised for which nobody has waited, or a collective too late."""
        return super().unseen_error() or self._post.late()

    # ------------------------------------------------------------------------ messages

    def send(self, value: Any, dest: int, tag: int, context: int) -> None:
        start = monotonic()
        self._waiter.check()
        device = self._device
        if device is not None and device.is_on(value):
            nbytes = self._post.send_tensor(dest, context, tag, value, device)
        else:
            encoded = encode(value)
            nbytes = encoded[3]
            self._post.send(dest, context, tag, encoded)
        self._log(SEND, start, dest, tag, nbytes)

    def recv(
        self, source: int, tag: int, members: Sequence[int], context: int, timeout: float | None
    ) -> Message:
        start = monotonic()
        deadline = None if timeout is None else start + timeout
        post, dead = self._post, list[int]()

        def ready() -> bool:
            if post.inbox.find(source, tag, context) is None:
                dead[:] = post.hopeless(source, members)
                return bool(dead)
            return True

        with post.changed:
            if not post.waiter.sleep_locked(ready, lambda: awaited_message(source, tag), deadline):
                wanted = awaited_message(source, tag)
                raise Timeout(f"rank {self.rank} waited {timeout:g} s for {wanted}")
            found = post.inbox.take(source, tag, context)
            if found is None:
                raise post.failure(dead[0])
        source, frame = found
        message = Message(post.open(frame), source, frame.tag)
        self._log(RECEIVE, start, source, frame.tag, frame.booked)
        return message

    def _comes(self, tag: int, context: int) -> Callable[[], bool]:
        return lambda: self._post.inbox.find(ANY, tag, context) is not None

    # --------------------------------------------------------------------- collectives

    def all_reduce(
        self,
        x: np.ndarray,
        op: np.ufunc,
        members: Sequence[int],
        context: int,
        out: np.ndarray | None,
        order: Order = "rank",
    ) -> np.ndarray:
        start = monotonic()
        self._waiter.check()
        usable = out is not None and out.flags.c_contiguous and not np.may_share_memory(out, x)
        result = out if out is not None and usable else np.empty_like(x)
        n, position = len(members), members.index(self.rank)
        if n == 1:
            np.copyto(result, x)
        else:
            how = op.__name__ if order == "rank" else f"{op.__name__}, any order"
            call = ("all_reduce", how, x.dtype, x.shape)
            with Round(self._post, members, context, call) as turn:
                if order == "any" and native.takes(x, op):
                    np.copyto(result, x)
                    group = self._own_group(turn, context)
                    turn.together(lambda: native.reduce_anyhow(group, result, op))
                else:
                    collectives.all_reduce(turn, x.reshape(-1), op, result.reshape(-1))
        if out is not None and not usable:
            np.copyto(out, result)
            result = out
        self._log(ALL_REDUCE, start, nbytes=all_reduce_bytes(x.size, x.itemsize, n, position))
        return result

    def all_reduce_tensor(
        self, x: Any, op: np.ufunc, members: Sequence[int], context: int, order: Order = "rank"
    ) -> Any:
        if self._device is None:
            return self._by_way_of_the_cpu(x, op, members, context, order)
        start = monotonic()
        self._waiter.check()
        n, me = len(members), members.index(self.rank)
        result = x.clone(memory_format=torch.contiguous_format)
        if n > 1:
            group = self._device.members(context, me, n)
            call = ("all_reduce", f"{op.__name__} on GPUs, {order} order", x.dtype, tuple(x.shape))
            with Round(self._post, members, context, call) as turn:
                if order == "any" and native.keeps_nan(op, x.is_floating_point()):
                    turn.together(lambda: native.reduce_anyhow(group, result, op))
                else:
                    result = turn.together(lambda: native.fold_tensor(group, x, op, n))
        self._log(ALL_REDUCE, start, nbytes=all_reduce_bytes(x.numel(), x.itemsize, n, me))
        return result

    def _by_way_of_the_cpu(
        self, x: Any, op: np.ufunc, members: Sequence[int], context: int, order: Order
    ) -> Any:
        """all_reduce_tensor where not every rank has a GPU."""
        array = np.atleast_1d(x.cpu().contiguous().numpy())
        total = self.all_reduce(array, op, members, context, None, order)
        return x.new_tensor(total).reshape(x.shape)

    def _own_group(self, turn: Round, context: int) -> Any:
        """gloo's group of a communicator's members, all of whom ask for it now."""
        if context not in self._own:
            n = len(turn.members)
            self._own[context] = turn.together(
                lambda: self._groups.gloo(f"own/{context}", turn.me, n)
            )
        return self._own[context]

    def all_gather(self, value: Any, members: Sequence[int], context: int) -> list[Any]:
        start = monotonic()
        self._waiter.check()
        encoded = encode(value)
        with Round(self._post, members, context, ("all_gather",)) as turn:
            values = collectives.all_gather(turn, encoded)
        self._log(ALL_GATHER, start, nbytes=all_gather_bytes(encoded[3], len(members)))
        return values

    def broadcast(self, value: Any, root: int, members: Sequence[int], context: int) -> Any:
        start = monotonic()
        self._waiter.check()
        encoded = encode(value) if self.rank == root else None
        first = members.index(root)
        with Round(self._post, members, context, ("broadcast", root)) as turn:
            value, booked = collectives.broadcast(turn, encoded, first)
        self._log(BROADCAST, start, nbytes=broadcast_bytes(booked, len(members), turn.me, first))
        return value

    def barrier(self, members: Sequence[int], context: int) -> None:
        start = monotonic()
        self._waiter.check()
        with Round(self._post, members, context, ("barrier",)) as turn:
            collectives.barrier(turn)
        self._log(BARRIER, start)

    def shared(self, array: np.ndarray, members: Sequence[int], context: int) -> np.ndarray:
        raise NotImplementedError(
            "Torchrun's ranks share no memory, for they may be on several hosts; a program that "
            "needs comm.shared, as hogwild does, runs on Processes or Simulated"
        )

    def lock(self, members: Sequence[int], context: int) -> AbstractContextManager[None]:
        self._waiter.check()
        self._locks[context] += 1
        with Round(self._post, members, context, ("lock",)) as turn:
            collectives.barrier(turn)
        self._strand.touch()
        label = f"{context}:{self._locks[context]}".encode()
        number = int.from_bytes(hashlib.blake2b(label, digest_size=7).digest())

        def taken(start: float) -> None:
            self._log(LOCK, start)

        return RankLock(number, members[0], self._post, taken, self._strand.touch)
