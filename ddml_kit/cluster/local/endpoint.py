"""A rank's end among the processes of this machine."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from time import monotonic
from typing import Any

import numpy as np

from ddml_kit.cluster.endpoint import ANY, Message, Order
from ddml_kit.cluster.errors import Call, Stopped, Timeout, awaited_call, awaited_message
from ddml_kit.cluster.faults import Slowdown
from ddml_kit.cluster.local.collectives import AllReduce, room
from ddml_kit.cluster.local.encoding import encode
from ddml_kit.cluster.local.locks import RankLock
from ddml_kit.cluster.local.meeting import BARRIER as BARRIER_CALL
from ddml_kit.cluster.local.meeting import Meeting
from ddml_kit.cluster.local.memory import Heap, Views, total
from ddml_kit.cluster.local.passing import RealEndpoint
from ddml_kit.cluster.local.queues import Mail, Received
from ddml_kit.cluster.local.results import Results
from ddml_kit.cluster.local.waiting import Waiter
from ddml_kit.cluster.local.wiring import STOP, Wiring
from ddml_kit.cluster.payload import all_gather_bytes, binomial_tree
from ddml_kit.cluster.run import Metric, Snapshot
from ddml_kit.cluster.trace import (
    ALL_GATHER,
    ALL_REDUCE,
    BARRIER,
    BROADCAST,
    LOCK,
    RECEIVE,
    SEND,
    pack_event,
)

AGREEMENT = -2  # the kit's own tags: where a meeting is,
GATHERED, BROADCASTED, SHARED = range(3)  # and what a collective brings, see `_tag`
IDLE = 1 << 28  # bytes of idle memory that a rank keeps at most
_tuple = tuple.__new__  # makes a Message in two thirds of the time


class LocalEndpoint(RealEndpoint):
    """One a process. peers: a pidfd a rank, by rank, -1 where there is none (oneself)."""

    _waiter: Waiter

    def __init__(
        self,
        wiring: Wiring,
        rank: int,
        *,
        seed: int,
        slowdowns: Sequence[Slowdown],
        paced: bool,
        started: float,
        emit: Callable[[Metric | Snapshot], None],
        peers: Sequence[int] = (),
    ) -> None:
        super().__init__(
            rank,
            wiring.size,
            seed=seed,
            slowdowns=slowdowns,
            paced=paced,
            started=started,
            emit=emit,
        )
        self._trace, self._words = self.recorder.buffer, wiring.control.words
        self._wiring = wiring
        self._words[wiring.control.process + rank] = os.getpid()
        self._waiter = Waiter(wiring, rank, self._strand, peers)
        views = [Views(wiring.memory, 1 + r) for r in range(self.size)]
        heap = Heap(views[rank], rank, min(IDLE, total() // (8 * self.size)))
        self._mail = Mail(wiring, rank, heap, views)
        self._results = Results()
        self._meetings: dict[int, Meeting] = {}
        self._all_reduces: dict[int, AllReduce] = {}
        self._locks: Counter[int] = Counter()

    # ------------------------------------------------------------------------- messages

    def send(self, value: Any, dest: int, tag: int, context: int) -> None:
        start = monotonic()
        if self._words[STOP]:
            raise Stopped
        encoded = encode(value)
        self._mail.post(encoded, dest, tag, context, start)
        strand, began, trace = self._strand, self._started, self._trace
        strand.mark = stop = monotonic()
        trace += pack_event(
            start - began, stop - began, encoded[3], tag, self.rank, dest, SEND, strand.number
        )

    def recv(
        self, source: int, tag: int, members: Sequence[int], context: int, timeout: float | None
    ) -> Message:
        start = monotonic()
        if self._words[STOP]:
            raise Stopped
        received = self._mail.receive(source, tag, context)
        if received is None:
            deadline = None if timeout is None else start + timeout
            received = self._await(source, tag, members, context, deadline)
            if received is None:
                wanted = awaited_message(source, tag)
                raise Timeout(f"rank {self.rank} waited {timeout:g} s for {wanted}")
        value, source, tag, nbytes = received
        strand, began, trace = self._strand, self._started, self._trace
        strand.mark = stop = monotonic()
        trace += pack_event(
            start - began, stop - began, nbytes, tag, self.rank, source, RECEIVE, strand.number
        )
        return _tuple(Message, (value, source, tag))

    def _await(
        self,
        source: int,
        tag: int,
        members: Sequence[int],
        context: int,
        deadline: float | None = None,
        call: Call | None = None,
        meeting: Meeting | None = None,
    ) -> Received | None:
        """The next message that fits; None at the deadline.

        call: the collective that needs it, of which no member may be dead while it has not come,
        nor call something else, as `meeting` knows.
        """
        mail, wiring = self._mail, self._wiring
        news = mail.expects(source, tag, context)

        def ready() -> bool:
            return (
                news()
                or (wiring.some_dead() and bool(self._hopeless(source, members, call)))
                or (meeting is not None and meeting.odd((source,)) >= 0)
            )

        def what() -> str:
            return awaited_message(source, tag) if call is None else awaited_call([source], call[0])

        dead: list[int] = []
        odd = False
        soon = deadline is None or deadline > monotonic()
        while True:
            if not (soon and self._waiter.look(news)):
                if not self._waiter.sleep(ready, what, deadline):
                    return None
                if wiring.some_dead():
                    dead = self._hopeless(source, members, call)
                odd = meeting is not None and meeting.odd((source,)) >= 0
            received = mail.receive(source, tag, context)  # what the dead have sent is here by now
            if received is not None:
                return received
            if dead:
                raise wiring.failure(dead[0])
            if odd and meeting is not None:
                meeting.check((source,))

    def _hopeless(self, source: int, members: Sequence[int], call: Call | None) -> list[int]:
        """The dead for whose sake no message can be expected any more."""
        dead = [rank for rank in members if self._wiring.is_dead(rank)]
        if source == ANY:
            return dead if len(dead) == len(members) - 1 else []
        return dead if call is not None else [rank for rank in dead if rank == source]

    # -------------------------------------------------------------------------- collectives

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
        if self._words[STOP]:
            raise Stopped
        all_reduce = self._all_reduces.get(context)
        if all_reduce is not None:
            result, nbytes = all_reduce.reduce(x, op, out)
        elif len(members) > 1:
            meeting = self._meeting(members, context, ("all_reduce",))
            all_reduce = self._all_reduces[context] = AllReduce(meeting, self._mail, self._results)
            result, nbytes = all_reduce.reduce(x, op, out)
        else:
            result, nbytes = np.empty_like(x) if out is None else out, 0
            np.copyto(result, x)
        strand, began, trace = self._strand, self._started, self._trace
        strand.mark = stop = monotonic()
        trace += pack_event(
            start - began, stop - began, nbytes, -1, self.rank, -1, ALL_REDUCE, strand.number
        )
        return result

    def all_gather(self, value: Any, members: Sequence[int], context: int) -> list[Any]:
        start = monotonic()
        self._waiter.check()
        encoded, call = encode(value), ("all_gather",)
        meeting = self._meeting(members, context, call)
        meeting.begin(call)
        tag = _tag(meeting, GATHERED)
        for member in members:  # to itself as well: the list shares nothing with `value`
            self._mail.post(encoded, member, tag, context, start)
        values = [self._collected(m, tag, members, context, call, meeting) for m in members]
        nbytes = all_gather_bytes(encoded[3], len(members))
        self._log(ALL_GATHER, start, nbytes=nbytes)
        return values

    def broadcast(self, value: Any, root: int, members: Sequence[int], context: int) -> Any:
        """Down a binomial tree."""
        start = monotonic()
        self._waiter.check()
        encoded = encode(value) if self.rank == root else None
        call = ("broadcast", root)
        meeting = self._meeting(members, context, call)
        meeting.begin(call)
        tag = _tag(meeting, BROADCASTED)
        n, position, first = len(members), members.index(self.rank), members.index(root)
        parent, children = binomial_tree(position, first, n)
        if parent is not None:
            value = self._collected(members[parent], tag, members, context, call, meeting)
        nbytes = 0
        if parent is None or children:
            encoded = encoded or encode(value)
            nbytes = len(children) * encoded[3]
            for child in children:
                self._mail.post(encoded, members[child], tag, context, start)
            if parent is None:  # the root gets a copy, too
                self._mail.post(encoded, self.rank, tag, context, start)
                value = self._collected(self.rank, tag, members, context, call, meeting)
        self._log(BROADCAST, start, nbytes=nbytes)
        return value

    def barrier(self, members: Sequence[int], context: int) -> None:
        start = monotonic()
        self._waiter.check()
        if len(members) > 1:
            self._meeting(members, context, BARRIER_CALL).barrier()
        self._log(BARRIER, start)

    def _meeting(self, members: Sequence[int], context: int, call: Call) -> Meeting:
        """Where the members meet. call: the one for whose sake it is asked for."""
        meeting = self._meetings.get(context)
        if meeting is None:

            def agree(address: int) -> int:
                return self._told(address, AGREEMENT, members, context, call)

            more = room(len(members))
            meeting = self._meetings[context] = Meeting(
                members, self.rank, self._wiring, self._waiter, self._mail, agree, more
            )
        return meeting

    def _told(
        self,
        value: Any,
        tag: int,
        members: Sequence[int],
        context: int,
        call: Call,
        meeting: Meeting | None = None,
    ) -> Any:
        """What the first member says, on all of them; not in the trace."""
        if self.rank != members[0]:
            return self._collected(members[0], tag, members, context, call, meeting)
        for member in members[1:]:
            self._mail.post(encode(value), member, tag, context, monotonic())
        return value

    def _collected(
        self,
        source: int,
        tag: int,
        members: Sequence[int],
        context: int,
        call: Call,
        meeting: Meeting | None,
    ) -> Any:
        """The value of a message of the kit's own, once it is here."""
        received = self._await(source, tag, members, context, call=call, meeting=meeting)
        assert received is not None
        return received[0]

    # ------------------------------------------------------------------------ shared memory

    def shared(self, array: np.ndarray, members: Sequence[int], context: int) -> np.ndarray:
        self._waiter.check()
        first, call = members[0], ("shared",)
        meeting = self._meeting(members, context, call)
        meeting.begin(call)
        layout = None
        if self.rank == first:
            address = self._mail.room(array.nbytes)
            layout = (array.dtype.str, array.shape, address)
            np.ndarray(array.shape, array.dtype, *self._mail.place(first, address))[...] = array
        tag = _tag(meeting, SHARED)
        dtype, shape, address = self._told(layout, tag, members, context, call, meeting)
        self._strand.mark = monotonic()
        return np.ndarray(shape, np.dtype(dtype), *self._mail.place(first, address))

    def lock(self, members: Sequence[int], context: int) -> AbstractContextManager[None]:
        self._waiter.check()
        self._locks[context] += 1
        if len(members) > 1:
            self._meeting(members, context, ("lock",)).barrier(("lock",))
        self._strand.touch()
        label = f"{context}:{self._locks[context]}".encode()
        number = 1 + int.from_bytes(hashlib.blake2b(label, digest_size=7).digest())

        def taken(start: float) -> None:
            self._log(LOCK, start)

        return RankLock(number, self._wiring, self.rank, self._waiter, taken, self._strand.touch)

    # -------------------------------------------------------------------------- time and data

    def _comes(self, tag: int, context: int) -> Callable[[], bool]:
        return self._mail.holds(ANY, tag, context)


def _tag(meeting: Meeting, kind: int) -> int:
    """Of the messages of this collective of the communicator: of no other, and of no program."""
    return AGREEMENT - 3 * meeting.number - kind
