"""The process that workers are forked from: libraries loaded, nothing running.

Python's own fork server is one for the whole program and starts a process a request. This one is
the kit's: it forks all workers of a run at one request, first loads what the parent has loaded,
hands on the parent's present output, directory and environment, and dies with the parent.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import os
import pickle
import selectors
import signal
import socket
import struct
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing import context, reduction
from multiprocessing.connection import Connection
from typing import Any, NoReturn

from ddml_kit.cluster.errors import Stopped
from ddml_kit.cluster.local import guards, worker
from ddml_kit.cluster.local.crew import NOT_STARTED
from ddml_kit.cluster.seeding import seed_globals

WHEN_IDLE = ["torch", "torch.func", "scipy.sparse", "numba"]  # loaded before anyone asks
BATCH = 200  # descriptors a message; the kernel allows 253
PAUSE = 1.0  # seconds without a run until it counts as idle, once there has been one
LONGEST = 1 << 16  # bytes of a message
EXIT = struct.Struct("<ii")  # from the server: rank, exit code, a signal if negative
ORDER = struct.Struct("<ii")  # to the server: rank, signal to send it


@dataclass(frozen=True)
class Request:
    """Fork `size` workers, once `modules` are loaded.

    The descriptors follow, in messages of BATCH: the run's socket, standard output and error, a
    memfd with a pickled `Start`, then those that unpickling it takes.
    """

    size: int
    modules: Sequence[str]
    descriptors: int


@dataclass(frozen=True)
class Start:
    """What a worker takes over from the parent before it works."""

    directory: str
    path: Sequence[str]
    arguments: Sequence[str]
    environment: dict[str, str]
    task: worker.Task
    connections: list[Connection]  # by rank

    def take_over(self) -> None:
        with contextlib.suppress(OSError):  # a directory that has been removed
            os.chdir(self.directory)
        sys.path[:] = self.path
        sys.argv[:] = self.arguments
        if os.environ != self.environment:
            os.environ.clear()
            os.environ.update(self.environment)


class Inherited:
    """A descriptor in a pickle for forked processes: its index among those that came along."""

    descriptors: Sequence[int] = ()  # set in the worker, before it unpickles

    def __init__(self, index: int) -> None:
        self._index = index

    def detach(self) -> int:
        return self.descriptors[self._index]


class Collector:
    """Takes the place of `multiprocessing`'s process that is being started; see `pickle`."""

    DupFd = Inherited

    def __init__(self) -> None:
        self.descriptors: list[int] = []

    def duplicate_for_child(self, descriptor: int) -> int:
        self.descriptors.append(descriptor)
        return len(self.descriptors) - 1

    def pickle(self, value: Any) -> bytes:
        """`value`, pickled; the descriptors in it are collected."""
        context.set_spawning_popen(self)  # type: ignore[arg-type]
        try:
            return bytes(reduction.ForkingPickler.dumps(value, 5))
        finally:
            context.set_spawning_popen(None)


@dataclass
class Run:
    """One request that was granted."""

    socket: socket.socket
    ranks: dict[int, int]  # of the processes that are still there, by their id


class Server:
    """Forks, reports exits, passes on signals; one thread."""

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._selector = selectors.DefaultSelector()
        self._runs: list[Run] = []
        self._bell, ring = socket.socketpair()  # rings when a child has ended
        self._bell.setblocking(False)
        ring.setblocking(False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(ring.fileno())
        self._selector.register(control, selectors.EVENT_READ, self._fork)
        self._selector.register(self._bell, selectors.EVENT_READ, self._reap)
        self._own: list[Any] = [control, self._selector, self._bell, ring]

    def serve(self) -> None:
        """Until the guard ends this process."""
        modules, pause = list(WHEN_IDLE), 0.0
        while True:
            idle = modules and not self._runs
            events = self._selector.select(pause if idle else None)
            if not events:
                _load(modules.pop(0))
            for key, _ in events:
                key.data()
                pause = PAUSE

    def _fork(self) -> None:
        message = self._control.recv(LONGEST)
        if not message:  # the parent has gone; its workers have guards of their own
            os._exit(0)
        request: Request = pickle.loads(message)
        descriptors: list[int] = []
        while len(descriptors) < request.descriptors:
            descriptors += socket.recv_fds(self._control, 1, BATCH)[1]
        for module in request.modules:
            _load(module)
        gc.freeze()  # no collection in a worker touches, and so copies, what all of them share
        run = Run(socket.socket(fileno=descriptors.pop(0)), {})
        self._runs.append(run)
        for rank in range(request.size):
            try:
                process = os.fork()
            except OSError as error:
                self._report(run, rank, NOT_STARTED + (error.errno or 0))
                continue
            if process == 0:
                self._become_worker(rank, descriptors)
            run.ranks[process] = rank
        for descriptor in descriptors:
            os.close(descriptor)
        self._selector.register(run.socket, selectors.EVENT_READ, lambda: self._obey(run))
        self._forget_if_over(run)

    def _reap(self) -> None:
        self._bell.recv(LONGEST)
        while True:
            try:
                process, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if process == 0:
                return
            run = next((run for run in self._runs if process in run.ranks), None)
            if run is None:  # a library has left a child of its own
                continue
            self._report(run, run.ranks.pop(process), os.waitstatus_to_exitcode(status))
            self._forget_if_over(run)

    def _report(self, run: Run, rank: int, code: int) -> None:
        with contextlib.suppress(OSError):  # the parent does not listen any more
            run.socket.send(EXIT.pack(rank, code))

    def _forget_if_over(self, run: Run) -> None:
        """A socket that stays when the parent has let go of it would always be ready."""
        if not run.ranks:
            self._selector.unregister(run.socket)
            run.socket.close()
            self._runs.remove(run)

    def _obey(self, run: Run) -> None:
        """Send the signal that the parent asks for; if it let go of the run, end all of it."""
        order = run.socket.recv(ORDER.size)
        rank, number = ORDER.unpack(order) if order else (None, signal.SIGKILL)
        for process in [p for p, r in run.ranks.items() if rank is None or r == rank]:
            os.kill(process, number)

    def _become_worker(self, rank: int, descriptors: Sequence[int]) -> NoReturn:
        try:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            for thing in [*self._own, *(run.socket for run in self._runs)]:
                thing.close()
            gc.enable()
            output, errors, memory, *Inherited.descriptors = descriptors
            os.dup2(output, 1)
            os.dup2(errors, 2)
            sys.stdout, sys.stderr = worker.by_lines(1), worker.by_lines(2)
            start: Start = pickle.loads(os.pread(memory, os.fstat(memory).st_size, 0))
            for descriptor in (output, errors, memory):
                os.close(descriptor)
            start.take_over()
            connection = start.connections[rank]
            start.connections.clear()  # closes those of the others
            worker.work(rank, start.task, connection)
        except Stopped:  # by a signal, before the program began
            worker.leave(0)
        except BaseException:
            sys.excepthook(*sys.exc_info())
            worker.leave(1)
        worker.leave(0)


def main(control: int, alive: int) -> NoReturn:
    """Be the fork server. control: a socket for requests. alive: a pipe that the parent holds."""
    guards.end_with(alive, group=True)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    gc.disable()
    seed_globals(0, 0)  # loads what it takes, which each worker would load otherwise
    Server(socket.socket(fileno=control)).serve()
    raise AssertionError("the server serves for ever")


def _load(module: str) -> None:
    with contextlib.suppress(Exception):  # whoever needs it gets the error where it can be read
        importlib.import_module(module)
        guards.compute_with_one_thread()
        if module == "numba":
            _register_numba()


def _register_numba() -> None:
    """Have numba's tables of types and functions ready, or each worker makes its own.

    That takes half a second of a worker's first compiled call, and 30 MB that none shares.
    """
    target = importlib.import_module("numba.core.registry").cpu_target
    target.typing_context.refresh()
    target.target_context.refresh()
