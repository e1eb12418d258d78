"""One of the processes that torchrun has started, in one run: a rank, and on rank 0 the watcher.

The program runs in a thread of its own, as it does in a local worker (local/worker.py). Rank 0 is
told all that a parent is told through pipes, and orders what a parent orders, in frames between the
ranks. In the end it tells the others what became of the run.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import pickle
import struct
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any

import numpy as np

from ddml_kit.cluster.distributed import outcome
from ddml_kit.cluster.distributed.alone import alone
from ddml_kit.cluster.distributed.clock import ROUNDS, Sample, offset
from ddml_kit.cluster.distributed.device import device_of
from ddml_kit.cluster.distributed.endpoint import TorchEndpoint
from ddml_kit.cluster.distributed.fabric import Fabric
from ddml_kit.cluster.distributed.links import CONTROL, LAST, NOTHING, Frame, value
from ddml_kit.cluster.distributed.reports import Command, Reins, Report, Stop
from ddml_kit.cluster.distributed.watcher import (
    ASK_TIME,
    COMMAND,
    INTERRUPT,
    KILL,
    NEWS,
    OUTCOME,
    PLEASE_STOP,
    REPORT,
    START,
    TIME,
    VALUE,
    Away,
    Desk,
)
from ddml_kit.cluster.errors import RankFailed, Stopped
from ddml_kit.cluster.local.crew import LOST, why
from ddml_kit.cluster.local.encoding import encode
from ddml_kit.cluster.local.freight import Freight
from ddml_kit.cluster.local.guards import kill_self
from ddml_kit.cluster.local.outbox import End, Outbox, Value, joined, parts_of
from ddml_kit.cluster.local.watch import Terms, Watch
from ddml_kit.cluster.local.worker import START as STARTED
from ddml_kit.cluster.local.worker import Seat, Task, perform
from ddml_kit.cluster.trace import EVENT, Trace

GRACE = 10.0  # seconds that a program has to stop before its process is killed
BREATH = 1.0  # seconds between two looks whether the run has ended
CLOCK = struct.Struct("<d")  # time.monotonic()


class Member:
    """This process in one run. `ended` is set when nothing of it is left but the calling thread."""

    def __init__(self, fabric: Fabric, terms: Terms, task: Callable[[Member], Task]) -> None:
        """task: what the rank is told, whose `seat` is a MemberSeat of this."""
        self.rank, self.size, self.fabric = fabric.rank, fabric.size, fabric
        self.ended = threading.Event()
        self.trace = Trace(np.empty(0, EVENT))
        self.told = b""  # the outcome
        self._terms = terms
        self._starts: SimpleQueue[bytes | None] = SimpleQueue()  # None: it will not start
        self._times: SimpleQueue[tuple[float, float] | None] = SimpleQueue()  # when, and rank 0's
        self._outcomes: SimpleQueue[bytes] = SimpleQueue()
        self._sorting = threading.Lock()
        self._endpoint: TorchEndpoint | None = None
        self._commands: list[Command] = []  # before there is an endpoint
        self._settled = False  # the program is over
        self._doom: threading.Timer | None = None
        self.watch: Watch | None = None
        if self.rank == 0:
            self._desks: Any = [Desk(rank, self.tell) for rank in range(self.size)]
            self._away = Away(self.size, self.tell)
            self._reins = Reins(self.size, self._command)
            self.watch = Watch(terms, self._away, self._reins, self._desks)
        self._task = task(self)
        fabric.listen(self._hear, self.over, self._lose)
        self._thread = threading.Thread(target=self._run, name=f"rank {self.rank}", daemon=True)
        self._thread.start()

    # --------------------------------------------------------------- for the caller

    def stop(self) -> None:
        """End the run soon, on all ranks."""
        if not self.ended.is_set():
            self.tell(0, PLEASE_STOP)

    def join(self, seconds: float) -> bool:
        """Whether the run has ended here; waits for that, `seconds` at most."""
        if not self.ended.wait(seconds):
            return False
        self._thread.join()
        return True

    # ------------------------------------------------------------------ its thread

    def _run(self) -> None:
        try:
            pipe: Any = self
            with alone(self._terms.seed, self.rank), contextlib.suppress(Stopped):
                perform(self.rank, self._task, pipe, MemberOutbox(self))
            self._conclude()
        finally:
            if self._doom is not None:
                self._doom.cancel()
            self._task.freight.close()
            self.ended.set()

    def _conclude(self) -> None:
        """All programs are over: hear, or say, what became of the run, and let go of the others."""
        if self.watch is None:
            self.told = self._outcomes.get()
        else:
            while not self.watch.wait(BREATH):
                pass
            self.told = outcome.pack(self.watch, [desk.value for desk in self._desks])
            for rank in range(1, self.size):
                self.tell(rank, OUTCOME, self.told)
        self.fabric.close()

    # ------------------------------------------------------ frames of ranks and watcher

    def tell(self, to: int, about: int, content: bytes = b"") -> None:
        """Send something that is no message of the program; from any thread."""
        if to == self.rank:
            self._take(to, about, content)
        elif to in self.fabric.links:
            encoded = encode(np.frombuffer(content, np.uint8)) if content else NOTHING
            self.fabric.links[to].send(CONTROL, 0, about, encoded)

    def _command(self, to: int, command: Command) -> None:
        self.tell(to, COMMAND, pickle.dumps(command))

    def _hear(self, source: int, frame: Frame) -> None:
        content = value(frame, self.fabric.pieces)
        self._take(source, frame.tag, b"" if content is None else content.tobytes())

    def _take(self, source: int, about: int, content: bytes) -> None:
        if about == START:
            self._starts.put(content)
        elif about == COMMAND:
            self._obey(pickle.loads(content))
        elif about == INTERRUPT:
            self.interrupt()
        elif about == KILL:
            self._kill()
        elif about == OUTCOME:
            self._outcomes.put(content)
        elif about == ASK_TIME:
            self.tell(source, TIME, CLOCK.pack(time.monotonic()))
        elif about == TIME:
            self._times.put((time.monotonic(), *CLOCK.unpack(content)))
        elif self.watch is not None and about == PLEASE_STOP:
            self.watch.stop()
        elif about == REPORT:
            self._reins.hear(pickle.loads(content))
        else:
            self._desks[source].put(content, is_value=about == VALUE)

    def _lose(self, rank: int) -> None:
        """The connection with a rank has broken. Without rank 0 there is no run any more."""
        if self.rank == 0:
            self._away.gone(rank, LOST)
        elif rank == 0:
            failure = RankFailed(0, why(LOST))
            terms = self._terms
            lost = outcome.Outcome(terms.badge, terms.size, terms.seed, lost=str(failure))
            self._outcomes.put(pickle.dumps(lost))
            self._obey(Stop())

    def over(self, rank: int) -> None:
        """A rank says that its program is over."""
        if self.rank == 0:
            self._away.gone(rank, 0)

    # ----------------------------------------------------------------- what is ordered

    def _obey(self, command: Command) -> None:
        with self._sorting:
            if self._endpoint is None:
                self._commands.append(command)
                if isinstance(command, Stop):
                    self._starts.put(None)
                    self._times.put(None)
                return
        self._endpoint.obey(command)

    def seat_endpoint(self, endpoint: TorchEndpoint) -> None:
        """The rank has come to its end: from now on it obeys itself."""
        with self._sorting:
            for command in self._commands:
                endpoint.obey(command)
            self._endpoint = endpoint

    def interrupt(self) -> None:
        """Raise Stopped in the program, at its next step in Python."""
        with self._sorting:
            if not self._settled:
                _raise_in(self._thread, Stopped)

    def settle(self) -> None:
        """The program is over; an interrupt that comes too late ends here, in the same thread.

        It can't be taken back: CPython 3.11 keeps a mark of it, at which a profiled function
        would wait for ever.
        """
        while not self._settled:
            try:
                with self._sorting:
                    self._settled = True
                for _ in range(2):  # between two turns CPython raises what is due
                    pass
            except Stopped:
                pass

    def _kill(self) -> None:
        """End this process, and with it all that torchrun has started, if the program goes on."""
        if self._doom is None and not self._settled:
            self._doom = threading.Timer(GRACE, self._die)
            self._doom.daemon = True
            self._doom.start()

    def _die(self) -> None:
        if not self._settled:
            print(f"rank {self.rank} did not stop within {GRACE:g} s", file=sys.stderr, flush=True)
            kill_self()

    # ------------------------------------------------------- what a worker has as a pipe

    def recv_bytes(self) -> bytes:
        """The start of the run, in this process's clock."""
        start = self._starts.get()
        if start is None:
            raise Stopped
        [theirs] = STARTED.unpack(start)
        return STARTED.pack(theirs + self.ahead)

    def read_clock(self) -> None:
        """Find how far this process's clock is ahead of rank 0's. Raises Stopped."""
        samples = []
        for _ in range(ROUNDS if self.rank else 0):
            asked = time.monotonic()
            self.tell(0, ASK_TIME)
            answer = self._times.get()
            if answer is None:
                raise Stopped
            samples.append(Sample(asked, *answer))
        self.ahead = offset(samples) if samples else 0.0


class MemberOutbox(Outbox):
    """What a rank says to the watcher.

    After its End nothing but reports, which go past the desk, as that is closed by then: others may
    wait for a rank that has finished.
    """

    def __init__(self, member: Member) -> None:
        self._member = member
        self._mute = False

    def put(self, message: Any) -> None:
        if isinstance(message, Report):
            self._member.tell(0, REPORT, pickle.dumps(message))
            return
        if self._mute:
            return
        if isinstance(message, End):
            self._member.trace = Trace(message.events.view(EVENT))
            self._mute = True
        about = VALUE if isinstance(message, Value) else NEWS
        self._member.tell(0, about, joined(parts_of(message)))


class MemberSeat(Seat):
    """The rank's place among the others of the run."""

    def __init__(self, member: Member) -> None:
        self._member = member
        self._endpoint: TorchEndpoint | None = None

    def enter(self) -> None:
        self._member.read_clock()
        number = int(os.environ.get("LOCAL_RANK", self._member.rank))
        self._device = device_of(self._member.fabric.groups, number)

    def endpoint(self, **options: Any) -> TorchEndpoint:
        member = self._member
        self._endpoint = TorchEndpoint(member.fabric, device=self._device, **options)
        member.seat_endpoint(self._endpoint)
        return self._endpoint

    def settle(self) -> None:
        self._member.settle()

    def finish(self) -> None:
        """The others are told by `leave`."""

    def leave(self, how: str) -> None:
        """Go when all others' programs are over, too."""
        member = self._member
        member.over(member.rank)
        if self._endpoint is not None:
            self._endpoint.leave(how)
            return
        for link in member.fabric.links.values():
            link.send(LAST, 0, 0)

    def crash(self) -> None:
        """The rank dies, but not its process, with which torchrun would end all others."""
        assert self._endpoint is not None
        self._endpoint.obey(Stop())
        self._member.interrupt()


@dataclass(frozen=True)
class MemberTask(Task):
    """`wiring` is the Member."""

    def seat(self, rank: int, connection: Any) -> Seat:
        return MemberSeat(self.wiring)


def join(fabric: Fabric, terms: Terms, freight: Freight, slowdowns: bytes, paced: bool) -> Member:
    """Begin a run in this process."""

    def task(member: Member) -> Task:
        return MemberTask(
            wiring=member,
            freight=freight,
            slowdowns=slowdowns,
            paced=paced,
            seed=terms.seed,
            crashes=terms.crashes,
            sources={},
        )

    return Member(fabric, terms, task)


def _raise_in(thread: threading.Thread, error: type[BaseException]) -> None:
    """Have a thread raise this at its next step in Python."""
    ident = ctypes.c_ulong(thread.ident or 0)
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ident, ctypes.py_object(error))
