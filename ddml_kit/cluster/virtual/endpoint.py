"""One rank's end of the simulated cluster."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from itertools import count
from typing import TYPE_CHECKING, Any

import numpy as np

from ddml_kit.cluster.endpoint import ANY, Endpoint, Message, Order, Pending, generator
from ddml_kit.cluster.errors import Call, Stopped, Timeout, awaited_message
from ddml_kit.cluster.faults import slowdown_factor
from ddml_kit.cluster.payload import (
    all_gather_bytes,
    all_reduce_bytes,
    broadcast_bytes,
    fold,
    payload_bytes,
)
from ddml_kit.cluster.run import Metric, Snapshot
from ddml_kit.cluster.thinning import Thinning
from ddml_kit.cluster.trace import (
    ALL_GATHER,
    ALL_REDUCE,
    BARRIER,
    BROADCAST,
    COMPUTE,
    LOCK,
    RECEIVE,
    SEND,
    pack_event,
)
from ddml_kit.cluster.virtual.copying import copied
from ddml_kit.cluster.virtual.lock import Lock, RankLock
from ddml_kit.cluster.virtual.loop import Event, Strand
from ddml_kit.cluster.virtual.meeting import Finish

if TYPE_CHECKING:
    from ddml_kit.cluster.virtual.simulation import Simulation

# A message on its way, and in a mailbox: (arrive, sender, tag, context, value, bytes).
INTERRUPTED = object()
_tuple = tuple.__new__  # Message(...) would take three times as long


class SimulatedEndpoint(Endpoint):
    """Waits in virtual time. `ended`: the program has returned, raised, or been ended."""

    def __init__(self, simulation: Simulation, rank: int) -> None:
        self.rank, self.size, self.seed = rank, simulation.size, simulation.seed
        self.dead = False  # raise Stopped at the next call
        self.ended = False
        self.strands: list[Strand] = []
        self._simulation = simulation
        self._loop, self._links = simulation.loop, simulation.links
        self._failures, self._record = simulation.failures, simulation.loop.recorder.add
        self._trace = simulation.loop.recorder.buffer
        self._arrivals = simulation.arrivals
        self._mailbox: list[Event] = []  # as they came
        self.receiving: list[Strand] = []
        self._interruptible: list[Strand] = []
        self._collectives: Counter[int] = Counter()  # by context
        self._thinning = Thinning(simulation.size)
        self._slowness = generator(self.seed, rank, "slowdown") if simulation.slowdowns else None

    def begin(self, body: Callable[[], Any]) -> Strand:
        """Have body() run as a strand of this rank, with the lowest number that is free.

        One for whose end somebody has waited is forgotten: it would keep what it returned.
        """
        self.strands = [strand for strand in self.strands if not strand.outcome.seen]
        taken = {strand.number for strand in self.strands}
        strand = Strand(self, next(number for number in count() if number not in taken))
        self.strands.append(strand)
        self._loop.start(strand, body)
        return strand

    def strand_ended(self, strand: Strand) -> None:
        """One of them is over; whoever waits for it goes on."""
        outcome = strand.outcome
        outcome.over = True
        for waiting in list(outcome.waiting):
            self._loop.wake(waiting)
        if strand.number == 0:
            self._simulation.program_ended(self, outcome)

    def end(self) -> None:
        """Have every strand that still lives raise Stopped."""
        self.dead = self.ended = True
        for strand in self._living():
            self._loop.wake(strand, Stopped())

    def lives(self) -> bool:
        """Whether a strand has not ended."""
        return bool(self._living())

    def unseen_error(self) -> BaseException | None:
        """What a strand raised for which nobody has waited."""
        outcomes = [strand.outcome for strand in self.strands[1:]]
        return next((o.error for o in outcomes if o.error is not None and not o.seen), None)

    def waits_for(self) -> str:
        """What all of its strands wait for, in words; empty if it has ended."""
        return " and ".join(
            f"{f'in strand {strand.number} ' * (strand.number > 0)}waits for "
            + (strand.blocked() if strand.blocked else awaited_message(*strand.wanted[:2]))
            for strand in self._living()
        )

    def _living(self) -> list[Strand]:
        return [strand for strand in self.strands if not strand.outcome.over]

    def check(self) -> None:
        """Raises Stopped if this rank is to end."""
        if self.dead:
            raise Stopped

    # --------------------------------------------------------------------- messages

    def send(self, value: Any, dest: int, tag: int, context: int) -> None:
        if self.dead:
            raise Stopped
        if type(value) is np.ndarray and not value.dtype.hasobject:
            nbytes = value.nbytes
            value = value.copy()
        else:
            value = copied(value)
            nbytes = payload_bytes(value)
        loop, rank = self._loop, self.rank
        now = loop.now
        trace = self._trace
        trace += pack_event(now, now, nbytes, tag, rank, dest, SEND, loop.current.number)
        message = (self._arrivals[dest], rank, tag, context, value, nbytes)
        self._links.carry(now, rank, dest, nbytes, message)

    def recv(
        self, source: int, tag: int, members: Sequence[int], context: int, timeout: float | None
    ) -> Message:
        if self.dead:
            raise Stopped
        loop = self._loop
        strand = loop.current
        start = loop.now
        message = self._take(source, tag, context) if self._mailbox else None
        if message is None:
            if self._failures:
                self._simulation.check_alive(source, self.rank, tag, members, context)
            strand.wanted = source, tag, context
            strand.members = members
            strand.queue = self.receiving
            self.receiving.append(strand)
            if timeout is None:
                message = loop.block(strand)
            else:
                message = self._block_for(strand, timeout, source, tag)
        _, source, tag, _, value, nbytes = message
        trace = self._trace
        trace += pack_event(start, loop.now, nbytes, tag, self.rank, source, RECEIVE, strand.number)
        return _tuple(Message, (value, source, tag))

    def arrive(self, message: Event) -> Strand | None:
        """A message is here: the strand that takes it, or None."""
        _, sender, sent_tag, sent_context, _, _ = message
        receiving = self.receiving
        for strand in receiving:
            source, tag, context = strand.wanted
            if (
                (source == sender or source == ANY)  # noqa: SIM109 - half the time of a tuple
                and (tag == sent_tag or tag == ANY)  # noqa: SIM109
                and context == sent_context
            ):
                receiving.remove(strand)
                strand.queue = None
                strand.value = message
                return strand
        if not self.ended:
            self._mailbox.append(message)
            for strand in list(self._interruptible):
                if matches(message[1:], *strand.wanted):
                    strand.value = INTERRUPTED
                    self._loop.wake(strand)
        return None

    def _take(self, source: int, tag: int, context: int) -> Event | None:
        for i, message in enumerate(self._mailbox):
            if matches(message[1:], source, tag, context):
                del self._mailbox[i]
                return message
        return None

    def _block_for(self, strand: Strand, timeout: float, source: int, tag: int) -> Any:
        def error() -> Timeout:
            return Timeout(
                f"rank {self.rank} waited {timeout:g} s for {awaited_message(source, tag)}"
            )

        timer = self._loop.expire_at(self._loop.now + timeout, strand, error)
        try:
            return self._loop.block(strand)
        finally:
            timer.strand = None

    # ------------------------------------------------------------------ collectives

    def all_reduce(
        self,
        x: np.ndarray,
        op: np.ufunc,
        members: Sequence[int],
        context: int,
        out: np.ndarray | None,
        order: Order = "rank",
    ) -> np.ndarray:
        def finish(vectors: list[np.ndarray]) -> tuple[float, np.ndarray]:
            network = self._simulation.network
            seconds = network.all_reduce_seconds(x.size, x.itemsize, members, self.size)
            return seconds, fold(vectors, op)

        nbytes = all_reduce_bytes(x.size, x.itemsize, len(members), self._position(members))
        call = ("all_reduce", op.__name__, x.dtype, x.shape)
        total = self._meet(ALL_REDUCE, call, x, members, context, nbytes, finish)
        if out is None:
            return total.copy()
        np.copyto(out, total)
        return out

    def all_gather(self, value: Any, members: Sequence[int], context: int) -> list[Any]:
        def finish(values: list[tuple[Any, int]]) -> tuple[float, list[Any]]:
            largest = max(nbytes for _, nbytes in values)
            seconds = self._simulation.network.all_gather_seconds(largest, members, self.size)
            return seconds, [value for value, _ in values]

        value = copied(value)
        own = payload_bytes(value)
        nbytes = all_gather_bytes(own, len(members))
        values = self._meet(
            ALL_GATHER, ("all_gather",), (value, own), members, context, nbytes, finish
        )
        return [copied(value) for value in values]

    def broadcast(self, value: Any, root: int, members: Sequence[int], context: int) -> Any:
        at = members.index(root)

        def finish(values: list[Any]) -> tuple[float, tuple[Any, int]]:
            value, nbytes = values[at], payload_bytes(values[at])
            seconds = self._simulation.network.broadcast_seconds(nbytes, members, self.size)
            return seconds, (value, nbytes)

        own = copied(value) if root == self.rank else None
        start = self._loop.now
        value, size = self._join(("broadcast", root), own, members, context, finish)
        nbytes = broadcast_bytes(size, len(members), self._position(members), at)
        self._book(BROADCAST, start, nbytes)
        return copied(value)

    def barrier(self, members: Sequence[int], context: int) -> None:
        self._meet(BARRIER, ("barrier",), None, members, context, 0, self._agree(members))

    def shared(self, array: np.ndarray, members: Sequence[int], context: int) -> np.ndarray:
        def finish(arrays: list[np.ndarray]) -> tuple[float, np.ndarray]:
            return self._simulation.network.barrier_seconds(members, self.size), arrays[0].copy()

        return self._join(("shared",), array, members, context, finish)

    def lock(self, members: Sequence[int], context: int) -> AbstractContextManager[None]:
        lock = self._join(("lock",), Lock(), members, context, self._agree(members))
        return RankLock(
            lock, self._loop, check=self.check, taken=lambda start: self._book(LOCK, start)
        )

    def _agree(self, members: Sequence[int]) -> Finish:
        """All are handed the first member's value, as after a barrier."""
        network, size = self._simulation.network, self.size
        return lambda values: (network.barrier_seconds(members, size), values[0])

    def _meet(
        self,
        kind: int,
        call: Call,
        value: Any,
        members: Sequence[int],
        context: int,
        nbytes: int,
        finish: Finish,
    ) -> Any:
        """What `finish` has for all, booked as one event of this kind."""
        start = self._loop.now
        outcome = self._join(call, value, members, context, finish)
        self._book(kind, start, nbytes)
        return outcome

    def _join(
        self,
        call: Call,
        value: Any,
        members: Sequence[int],
        context: int,
        finish: Finish,
    ) -> Any:
        self.check()
        self._collectives[context] += 1
        meeting = self._simulation.meeting(context, self._collectives[context], members, call)
        return meeting.join(self.rank, call, value, finish)

    def _position(self, members: Sequence[int]) -> int:
        """Where this rank is among the members; in the world, without looking."""
        rank = self.rank
        return rank if rank < len(members) and members[rank] == rank else members.index(rank)

    def _book(self, kind: int, start: float, nbytes: int = 0) -> None:
        loop = self._loop
        self._record(kind, self.rank, start, loop.now, -1, -1, nbytes, loop.current.number)

    # -------------------------------------------------------------- strands and time

    def start(self, f: Callable[..., Any], *args: Any) -> Pending:
        self.check()
        return StartedStrand(self, self.begin(lambda: f(*args)))

    def wait(self, other: Strand) -> Any:
        """What another strand of this rank returned or raised, once it has."""
        self.check()
        outcome, strand = other.outcome, self._loop.current
        if not outcome.over:
            outcome.waiting.append(strand)
            strand.queue = outcome.waiting
            strand.blocked = lambda: f"its strand {other.number}"
            try:
                self._loop.block(strand)
            finally:
                strand.blocked = None
        outcome.seen = True
        if outcome.error is not None:
            raise outcome.error
        return outcome.value

    def work(self, seconds: float, until: int | None, context: int) -> bool:
        if self.dead:
            raise Stopped
        loop = self._loop
        strand, start = loop.current, loop.now
        if self._slowness is not None:
            slowdowns = self._simulation.slowdowns
            seconds *= slowdown_factor(slowdowns, self.rank, start, self._slowness)
        interrupted = until is not None and any(
            matches(message[1:], ANY, until, context) for message in self._mailbox
        )
        if not interrupted:
            timer = loop.wake_at(start + seconds, strand)
            strand.value = None
            strand.blocked = _its_work
            if until is not None:
                strand.wanted = ANY, until, context
                strand.queue = self._interruptible
                self._interruptible.append(strand)
            try:
                interrupted = loop.block(strand) is INTERRUPTED
            finally:
                timer.strand = None
                strand.blocked = None
                loop.unqueue(strand)
        self._book(COMPUTE, start)
        return not interrupted

    def now(self) -> float:
        self.check()
        return self._loop.now

    def record(self, metrics: dict[str, float]) -> None:
        self.check()
        self._simulation.add(Metric(self.rank, self._loop.now, metrics))

    def snapshot(self, w: np.ndarray) -> None:
        self.check()
        step = self._thinning.keep(w.nbytes)
        if step is not None:
            self._simulation.add(Snapshot(self.rank, self._loop.now, step, np.array(w)))


class StartedStrand(Pending):
    """A strand that this rank has started."""

    def __init__(self, endpoint: SimulatedEndpoint, strand: Strand) -> None:
        self._endpoint, self._strand = endpoint, strand

    def wait(self) -> Any:
        return self._endpoint.wait(self._strand)


def matches(message: Sequence[Any], source: int, tag: int, context: int) -> bool:
    """Whether a message, as (sender, tag, context, ...), is one of these."""
    sender, sent_tag, sent_context = message[:3]
    return sent_context == context and source in (ANY, sender) and tag in (ANY, sent_tag)


def _its_work() -> str:
    return "the end of its work"
