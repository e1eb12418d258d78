"""Workers forked from a server that has torch and NumPy loaded: Linux. The parent's side.

Four workers with torch start in some 40 ms. The server and its workers are a session of their
own, so an interrupt from the terminal or the notebook does not reach them. They share a pipe that
only the parent can write: when it closes, however the parent ended, the kernel kills them all.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import pickle
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Sequence
from multiprocessing import spawn, util
from multiprocessing.connection import Connection

from ddml_kit.cluster.local import guards, worker
from ddml_kit.cluster.local.crew import SERVER_DIED, Crew
from ddml_kit.cluster.local.forkserver import (
    BATCH,
    EXIT,
    LONGEST,
    ORDER,
    WHEN_IDLE,
    Collector,
    Request,
    Start,
)
from ddml_kit.cluster.local.outbox import send_descriptors, write_memory


class ForkServer:
    """The one server of this process; made at first use, made again if it was killed."""

    _one: ForkServer | None = None
    _lock = threading.Lock()

    @classmethod
    def running(cls) -> ForkServer:
        """The server, started if need be; returns while it is still loading."""
        with cls._lock:
            if cls._one is not None and cls._one.process.poll() is not None:
                cls._one._end()
                cls._one = None
            if cls._one is None:
                cls._one = cls()
            return cls._one

    @classmethod
    def stop(cls, this: ForkServer | None = None) -> None:
        """End the server, if it is still `this` one (default: whichever), and all its workers."""
        with cls._lock:
            one = cls._one
            if one is not None and this in (None, one):
                cls._one = None
                one._end()

    @classmethod
    def forget(cls) -> None:
        """In a fork of this process: the server is the parent's, and so must the pipe be."""
        cls._lock = threading.Lock()
        one, cls._one = cls._one, None
        if one is not None:
            os.close(one._alive)
            one._control.close()
            one.process.returncode = 0  # nothing to wait for

    def __init__(self) -> None:
        self._control, control = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        alive, self._alive = os.pipe()
        path = _path()
        code = (
            f"import sys; sys.path[:] = {path!r}; "
            "from ddml_kit.cluster.local.forkserver import main; "
            f"main({control.fileno()}, {alive})"
        )
        flags = util._args_from_interpreter_flags()  # type: ignore[attr-defined]
        try:
            self.process = subprocess.Popen(
                [os.fsdecode(spawn.get_executable()), *flags, "-c", code],
                stdin=subprocess.DEVNULL,
                env=_environment(),
                pass_fds=(control.fileno(), alive),
                start_new_session=True,
            )
        except BaseException:
            self._control.close()
            os.close(self._alive)
            raise
        finally:
            control.close()
            os.close(alive)

    def request(self, request: Request, descriptors: Sequence[int]) -> None:
        """Ask for workers. Raises OSError if the server has just died."""
        with self._lock:
            self._control.send(pickle.dumps(request))
            for first in range(0, len(descriptors), BATCH):
                send_descriptors(self._control, descriptors[first : first + BATCH])

    def _end(self) -> None:
        if self.process.returncode is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        os.close(self._alive)  # workers that have outlived it end with this
        self._control.close()


atexit.register(ForkServer.stop)
os.register_at_fork(after_in_child=ForkServer.forget)


class ForkedCrew(Crew):
    """Processes forked from the server. `connections` are the workers' ends, by rank."""

    def __init__(self, task: worker.Task, connections: Sequence[Connection]) -> None:
        self._outstanding = set(range(len(connections)))
        collector = Collector()
        start = collector.pickle(
            Start(
                directory=_directory(),
                path=_path(),
                arguments=sys.argv,
                environment={**os.environ, **guards.ONE_THREAD},
                task=task,
                connections=list(connections),
            )
        )
        with contextlib.ExitStack() as stack:
            memory = write_memory([memoryview(start)])
            stack.callback(os.close, memory)
            nowhere = os.open(os.devnull, os.O_WRONLY)
            stack.callback(os.close, nowhere)
            self._socket, server_end = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            stack.callback(server_end.close)
            output, errors = (fd if _is_open(fd) else nowhere for fd in (1, 2))
            descriptors = [server_end.fileno(), output, errors, memory, *collector.descriptors]
            modules = [*_modules(), *task.MODULES]
            request = Request(len(connections), modules, len(descriptors))
            try:
                self._server = _ask(request, descriptors)
            except BaseException:
                self._socket.close()
                raise

    def waitables(self) -> Sequence[socket.socket]:
        return [self._socket]

    def exits(self, ready: socket.socket) -> Sequence[tuple[int, int]]:
        message = self._socket.recv(LONGEST)
        if not message:
            dead = [(rank, SERVER_DIED) for rank in sorted(self._outstanding)]
            self._outstanding.clear()
            ForkServer.stop(self._server)  # ends what it left
            return dead
        rank, code = EXIT.unpack(message)
        self._outstanding.discard(rank)
        return [(rank, code)]

    def terminate(self, rank: int) -> None:
        self._order(rank, signal.SIGTERM)

    def kill(self, rank: int) -> None:
        self._order(rank, signal.SIGKILL)

    def close(self) -> None:
        self._socket.close()  # the server then kills those that are left

    def _order(self, rank: int, number: int) -> None:
        with contextlib.suppress(OSError):  # all have ended, or the server has
            self._socket.send(ORDER.pack(rank, number))


def _ask(request: Request, descriptors: Sequence[int]) -> ForkServer:
    server = ForkServer.running()
    try:
        server.request(request, descriptors)
    except ConnectionError:  # it was killed a moment ago
        ForkServer.stop(server)
        server = ForkServer.running()
        server.request(request, descriptors)
    except BaseException:  # half a request: the server would wait for the rest for ever
        ForkServer.stop(server)
        raise
    return server


def _environment() -> dict[str, str]:
    """With large pages for the heap, forking takes half as long: fewer are to be listed."""
    tunables = [os.environ.get("GLIBC_TUNABLES"), "glibc.malloc.hugetlb=1"]
    return {
        **os.environ,
        **guards.ONE_THREAD,
        "GLIBC_TUNABLES": ":".join(filter(None, tunables)),
    }


def _directory() -> str:
    try:
        return os.getcwd()
    except OSError:  # it has been removed
        return os.sep


def _path() -> list[str]:
    directory = _directory()
    return [os.path.join(directory, entry) for entry in sys.path]


def _modules() -> list[str]:
    """What is loaded here and worth loading once for all workers: big libraries, and the kit."""
    return [
        name
        for name in list(sys.modules)
        if name in WHEN_IDLE
        or (name.startswith("ddml_kit.") and not name.startswith("ddml_kit.notebook"))
    ]


def _is_open(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True
