"""A rank's frames to and from the others: sent, sorted as they arrive, counted, waited for.

One lock, that of the Waiter, guards all of it. The threads of the links bring what arrives; what
the watcher orders comes in a thread of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ddml_kit.cluster.distributed.device import Coming, Device, layout_of
from ddml_kit.cluster.distributed.fabric import Fabric
from ddml_kit.cluster.distributed.inbox import Inbox
from ddml_kit.cluster.distributed.links import (
    ASK,
    CALL,
    LAST,
    LOCK,
    MESSAGE,
    NOTHING,
    TENSOR,
    Frame,
    to_self,
    value,
)
from ddml_kit.cluster.distributed.locks import Locks
from ddml_kit.cluster.distributed.meetings import Meeting, number_of
from ddml_kit.cluster.distributed.reports import Command, Dead, Report
from ddml_kit.cluster.distributed.waiting import PATIENCE, Waiter
from ddml_kit.cluster.endpoint import ANY
from ddml_kit.cluster.errors import RankFailed
from ddml_kit.cluster.local.encoding import Encoded, encode
from ddml_kit.cluster.local.waiting import Strand


class Post:
    """One a rank. Methods whose names end in `_locked` are for those who have the lock.

    emit: takes reports to the watcher.
    """

    def __init__(
        self,
        fabric: Fabric,
        strand: Strand,
        emit: Callable[[Report], None],
        device: Device | None,
    ) -> None:
        self.rank, self.size = fabric.rank, fabric.size
        self._links, self._pieces = fabric.links, fabric.pieces
        self._emit, self._device = emit, device
        self.waiter = Waiter(strand, self._report)
        self.changed = self.waiter.changed
        self.inbox = Inbox()
        self._sent, self._received = [0] * self.size, [0] * self.size  # frames, by rank
        self._closed: set[int] = set()  # ranks from which nothing of the program can come any more
        self._dead: dict[int, RankFailed] = {}
        self._heard = 0  # commands
        self._meetings: dict[int, Meeting] = {}
        self.locks = Locks(self.rank, self._tell_of_lock)
        fabric.begin(self._deliver, self._link_ended, self._link_failed)

    # ------------------------------------------------------------------------- frames

    def send(self, to: int, context: int, tag: int, encoded: Encoded, call: bytes = b"") -> None:
        """A message of the program, also to oneself, or of a collective; without the lock."""
        if to == self.rank:
            self._deliver(to, to_self(self._pieces, MESSAGE, context, tag, encoded))
            return
        with self.changed:
            self._sent[to] += 1
        self._links[to].send(MESSAGE, context, tag, encoded, call)

    def send_tensor(self, to: int, context: int, tag: int, tensor: Any, device: Device) -> int:
        """A message that is a tensor on this rank's GPU; the bytes that it weighs."""
        layout = layout_of(tensor)
        if to == self.rank:
            own = Coming(tensor.detach().clone(), None)
            frame = Frame(TENSOR, context, tag, b"", 0, 0, layout.nbytes, own, 0, None)
            with self.changed:
                self._received[to] += 1
                self.inbox.put(to, frame)
                self.changed.notify_all()
            return layout.nbytes
        with self.changed:
            self._sent[to] += 1
        with device.sending:
            self._links[to].send(TENSOR, context, tag, encode(layout))
            device.send(tensor, to)
        return layout.nbytes

    def say_locked(self, to: int, kind: int, context: int, tag: int, text: bytes) -> None:
        """A frame without a value, to another rank."""
        self._sent[to] += 1
        self._links[to].send(kind, context, tag, NOTHING, text)

    def open(self, frame: Frame) -> Any:
        """What it brings, the caller's own; once."""
        if frame.kind == TENSOR:
            return frame.memory.wait()
        return value(frame, self._pieces)

    def copy(self, encoded: Encoded) -> Any:
        """What a rank gets that is sent this."""
        return self.open(to_self(self._pieces, MESSAGE, 0, 0, encoded))

    def _deliver(self, source: int, frame: Frame) -> None:
        kind = frame.kind
        if kind == TENSOR:
            assert self._device is not None  # or the sender would have none either
            layout = value(frame, self._pieces)
            coming = self._device.receive(layout, source)
            frame = frame._replace(booked=layout.nbytes, memory=coming)
        with self.changed:
            self._received[source] += 1
            if kind == TENSOR:
                self.inbox.put(source, frame)
            elif kind == MESSAGE:
                if frame.tag >= 0 or self._is_due(source, frame):
                    self.inbox.put(source, frame)
            elif kind == LOCK:
                self.locks.hear(frame.context, frame.tag, int(frame.text))
            elif kind == LAST:
                self._close(source)
            else:
                self._hear_call(source, frame)
            self.changed.notify_all()

    def _tell_of_lock(self, to: int, number: int, what: int, rank: int) -> None:
        self.say_locked(to, LOCK, number, what, str(rank).encode())

    # ------------------------------------------------------------------------- calls

    def meeting(self, context: int) -> Meeting:
        """The collectives of a communicator."""
        if context not in self._meetings:
            self._meetings[context] = Meeting()
        return self._meetings[context]

    def late(self) -> ValueError | None:
        """What a collective should have raised, and its rank heard too late."""
        with self.changed:
            return next((m.late for m in self._meetings.values() if m.late is not None), None)

    def _is_due(self, source: int, frame: Frame) -> bool:
        """Note what the sender calls; whether this rank is not yet through with that collective."""
        meeting, number = self.meeting(frame.context), number_of(frame.tag)
        meeting.hear(source, number, frame.text, True, self.rank)
        return number > meeting.number or (number == meeting.number and not meeting.over)

    def _hear_call(self, source: int, frame: Frame) -> None:
        """Another says what it calls. If this rank has called something else, it says so."""
        meeting, number = self.meeting(frame.context), frame.tag
        meeting.hear(source, number, frame.text, False, self.rank)
        said = meeting.said(number)
        if frame.kind == ASK and said is not None and said != frame.text:
            self.say_locked(source, CALL, frame.context, number, said)

    # ------------------------------------------------------------------------- ends

    def hopeless(self, source: int, members: Sequence[int]) -> list[int]:
        """The dead for whose sake no message can be expected any more: what they sent is here."""
        if not self._dead:
            return []
        dead = [rank for rank in members if rank in self._dead and rank in self._closed]
        if source == ANY:
            return dead if len(dead) == len(members) - 1 else []
        return [rank for rank in dead if rank == source]

    def failure(self, rank: int) -> RankFailed:
        """Why a dead rank died."""
        return self._dead[rank].again()

    def _close(self, rank: int) -> None:
        self._closed.add(rank)
        if rank in self._dead:
            self.locks.bury(rank)

    def _link_failed(self, error: BaseException) -> None:
        with self.changed:
            self.waiter.broken = self.waiter.broken or error
            self.changed.notify_all()

    def _link_ended(self, peer: int) -> None:
        with self.changed:
            self._close(peer)
            self.changed.notify_all()

    def obey(self, command: Command) -> None:
        """What the watcher wants; from any thread."""
        with self.changed:
            self._heard += 1
            if isinstance(command, Dead):
                failure = RankFailed(command.rank, command.reason, command.seconds)
                self._dead[command.rank] = failure
                if command.rank in self._closed:
                    self.locks.bury(command.rank)
            else:
                self.waiter.stopped = True
            self.changed.notify_all()

    def _report(self, says: str) -> None:
        closed = frozenset(self._closed)
        sent, received = tuple(self._sent), tuple(self._received)
        self._emit(Report(self.rank, says, sent, received, closed, self._heard))

    def leave(self, says: str) -> None:
        """Wait until the programs of all are over; meanwhile frames and locks are looked after.

        says: "has finished" or "has failed".
        """
        with self.changed:
            self.waiter.ended = says
            for peer in self._links:
                self.say_locked(peer, LAST, 0, 0, b"")
            while len(self._closed | {self.rank}) < self.size:
                if not self.changed.wait(PATIENCE):
                    self._report(says)
                    self.changed.wait()
