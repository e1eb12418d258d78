"""What a worker does from its first moment to its last."""

from __future__ import annotations

import contextlib
import linecache
import logging
import os
import pickle
import signal
import struct
import sys
import threading
import time
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection
from typing import Any, ClassVar, NoReturn, TextIO

import numpy as np

from ddml_kit.cluster.comm import Comm
from ddml_kit.cluster.errors import Stopped, reason
from ddml_kit.cluster.local.endpoint import LocalEndpoint
from ddml_kit.cluster.local.freight import Freight
from ddml_kit.cluster.local.guards import LOADING, compute_with_one_thread, kill_self
from ddml_kit.cluster.local.outbox import End, Outbox, Ready, Value
from ddml_kit.cluster.local.passing import RealEndpoint
from ddml_kit.cluster.seeding import seed_globals
from ddml_kit.cluster.shipping import unpack

START = struct.Struct("<d")  # time.monotonic() at the start of the run


@dataclass(frozen=True)
class Task:
    """What all workers of a run are told. Picklable while a process is being started."""

    wiring: Any  # what joins the ranks: a Wiring, or what a task of another kind knows of
    freight: Freight  # the call program(comm, *args, **kwargs)
    slowdowns: bytes  # pickled by value
    paced: bool
    seed: int
    crashes: Mapping[int, float]  # rank: seconds since the start
    sources: Mapping[str, Any]  # notebook cells, as linecache keeps them, for tracebacks

    MODULES: ClassVar[Sequence[str]] = ()  # that workers need, and a fork server loads once for all

    def seat(self, rank: int, connection: Connection) -> Seat:
        """This rank's place among the others; made in the worker."""
        return Seat(self.wiring, rank)


class Seat:
    """A rank's place among the others, from before the start until after the end: shared memory."""

    def __init__(self, wiring: Any, rank: int) -> None:
        self._wiring, self._rank = wiring, rank

    def enter(self) -> None:
        """Come together with the others, before the program is there."""

    def endpoint(self, **options: Any) -> RealEndpoint:
        """The rank's end, now that the run starts."""
        return LocalEndpoint(self._wiring, self._rank, **options)

    def settle(self) -> None:
        """The program is over; what is left to do must not be interrupted.

        The parent kills a rank that takes too long.
        """
        signal.signal(signal.SIGTERM, signal.SIG_IGN)

    def finish(self) -> None:
        """The program has returned: the end of the process will be no death."""
        self._wiring.mark_finished(self._rank)

    def leave(self, how: str) -> None:
        """The end has been reported. Others find all that they need in the memory.

        how: "returned", "failed" or "stopped".
        """

    def crash(self) -> None:
        """The rank dies, at once."""
        kill_self()


def work(rank: int, task: Task, connection: Connection) -> None:
    """Run the program as `rank`, report everything through `connection`, and come back."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # an interrupt is the parent's to handle
    signal.signal(signal.SIGTERM, _stop)
    compute_with_one_thread()
    seed_globals(task.seed, rank)
    linecache.cache.update(task.sources)
    perform(rank, task, connection, Outbox(connection))


def perform(rank: int, task: Task, connection: Connection, outbox: Outbox) -> None:
    """Run the program as `rank`, in a process that is ready for it."""
    seat = task.seat(rank, connection)
    clock, endpoint, over = _Clock(), None, threading.Event()
    try:
        seat.enter()
        loading = LOADING.set(True)
        program, args, kwargs = unpack(task.freight.unpack())
        LOADING.reset(loading)
        slowdowns = pickle.loads(task.slowdowns)
        outbox.put(Ready())
        clock.start(connection.recv_bytes())
        endpoint = seat.endpoint(
            seed=task.seed,
            slowdowns=slowdowns,
            paced=task.paced,
            started=clock.started,
            emit=outbox.put,
        )
        if rank in task.crashes:
            after = clock.started + task.crashes[rank]
            crash = partial(_crash, after, over, clock, endpoint, outbox, seat)
            threading.Thread(target=crash, daemon=True).start()
        result = program(Comm(endpoint), *args, **kwargs)
        if (error := endpoint.unseen_error()) is not None:
            raise error
        seat.settle()
        end = End("returned", clock.now(), _events(endpoint))
        seat.finish()
        _deliver(outbox, result, end)
    except Stopped:
        seat.settle()
        end = End("stopped", clock.now(), _events(endpoint))
        outbox.put(end)
    except BaseException as error:
        seat.settle()
        end = End("failed", clock.now(), _events(endpoint), reason(error), _traceback(error))
        with contextlib.suppress(Exception):
            outbox.put(Value(error))
        outbox.put(end)
    over.set()
    seat.leave(end.how)


def by_lines(descriptor: int) -> TextIO:
    """Text output line by line, so that the lines of several workers do not mix."""
    return open(descriptor, "w", 1, "utf8", "backslashreplace", closefd=False)


def leave(code: int) -> NoReturn:
    """End this process without waiting for anything that the program left running."""
    _flush()
    logging.shutdown()
    os._exit(code)


class _Clock:
    """Seconds since the start of the run; 0 before it."""

    started = 0.0

    def start(self, message: bytes) -> None:
        [self.started] = START.unpack(message)

    def now(self) -> float:
        return time.monotonic() - self.started if self.started else 0.0


def _deliver(outbox: Outbox, result: Any, end: End) -> None:
    _flush()  # what it printed is there before its result
    try:
        outbox.put(Value(result))
    except Exception as error:
        kind = type(result).__name__
        end = end._replace(
            how="failed",
            reason=f"its result, a {kind}, can't be sent to the parent: a result must pickle "
            f"({reason(error)})",
        )
    outbox.put(end)


def _events(endpoint: RealEndpoint | None) -> np.ndarray:
    return np.frombuffer(b"" if endpoint is None else endpoint.recorder.tobytes(), np.uint8)


def _traceback(error: BaseException) -> str:
    """As Python prints it, from the program's own frame on."""
    if error.__traceback__ is not None:
        error = error.with_traceback(error.__traceback__.tb_next)
    return "".join(traceback.format_exception(error))


def _crash(
    after: float,
    over: threading.Event,
    clock: _Clock,
    endpoint: RealEndpoint,
    outbox: Outbox,
    seat: Seat,
) -> None:
    """A death as sudden as a power cut, but its trace is saved; none if all is over before."""
    if over.wait(max(0.0, after - time.monotonic())):
        return
    outbox.put(End("crashed", clock.now(), _events(endpoint)))
    seat.crash()


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):  # nobody reads it any more
            stream.flush()


def _stop(signum: int, frame: object) -> None:
    raise Stopped
