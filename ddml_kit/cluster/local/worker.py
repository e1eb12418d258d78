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
from collections.abc import Callable, Mapping, Sequence
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

    def enter(self, rank: int, connection: Connection) -> Callable[..., Any]:
        """What makes this rank's endpoint, once the run starts; called in the worker."""
        return partial(LocalEndpoint, self.wiring, rank)

    def finish(self, rank: int) -> None:
        """The program has returned: the end of the process will be no death."""
        self.wiring.mark_finished(rank)

    def leave(self, endpoint: Any, how: str) -> None:
        """The end has been reported. Others find all that they need in the memory."""


def work(rank: int, task: Task, connection: Connection) -> None:
    """Run the program as `rank`, report everything through `connection`, and come back."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # an interrupt is the parent's to handle
    signal.signal(signal.SIGTERM, _stop)
    compute_with_one_thread()
    seed_globals(task.seed, rank)
    linecache.cache.update(task.sources)
    outbox = Outbox(connection)
    clock, endpoint = _Clock(), None
    try:
        loading = LOADING.set(True)
        enter = task.enter(rank, connection)
        program, args, kwargs = unpack(task.freight.unpack())
        LOADING.reset(loading)
        slowdowns = pickle.loads(task.slowdowns)
        outbox.put(Ready())
        clock.start(connection.recv_bytes())
        endpoint = enter(
            seed=task.seed,
            slowdowns=slowdowns,
            paced=task.paced,
            started=clock.started,
            emit=outbox.put,
        )
        if rank in task.crashes:
            after = clock.started + task.crashes[rank]
            threading.Thread(
                target=_crash, args=(after, clock, endpoint, outbox), daemon=True
            ).start()
        result = program(Comm(endpoint), *args, **kwargs)
        if (error := endpoint.unseen_error()) is not None:
            raise error
        _be_left_alone()
        end = End("returned", clock.now(), _events(endpoint))
        task.finish(rank)
        _deliver(outbox, result, end)
    except Stopped:
        _be_left_alone()
        end = End("stopped", clock.now(), _events(endpoint))
        outbox.put(end)
    except BaseException as error:
        _be_left_alone()
        end = End("failed", clock.now(), _events(endpoint), reason(error), _traceback(error))
        with contextlib.suppress(Exception):
            outbox.put(Value(error))
        outbox.put(end)
    if endpoint is not None:
        task.leave(endpoint, end.how)


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


def _events(endpoint: Any) -> np.ndarray:
    return np.frombuffer(b"" if endpoint is None else endpoint.recorder.tobytes(), np.uint8)


def _traceback(error: BaseException) -> str:
    """As Python prints it, from the program's own frame on."""
    if error.__traceback__ is not None:
        error = error.with_traceback(error.__traceback__.tb_next)
    return "".join(traceback.format_exception(error))


def _crash(after: float, clock: _Clock, endpoint: Any, outbox: Outbox) -> None:
    """A death as sudden as a power cut, but its trace is saved."""
    threading.Event().wait(max(0.0, after - time.monotonic()))
    outbox.put(End("crashed", clock.now(), _events(endpoint)))
    kill_self()


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):  # nobody reads it any more
            stream.flush()


def _stop(signum: int, frame: object) -> None:
    raise Stopped


def _be_left_alone() -> None:
    """What is left to do must not be interrupted; the parent kills a rank that takes too long."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
