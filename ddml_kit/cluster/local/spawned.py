"""Workers that each start from nothing, where there is no fork server: macOS and Windows.

Each imports everything anew: seconds rather than milliseconds. The parent's main script is not
among it, so that a script without a main guard works, as a notebook does.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import sys
import threading
from collections.abc import Iterator, Sequence
from multiprocessing import spawn
from multiprocessing.connection import Connection

from ddml_kit.cluster.local import guards, worker
from ddml_kit.cluster.local.crew import Crew

_starting = threading.Lock()  # what starting changes for a moment belongs to the whole process


class SpawnedCrew(Crew):
    """Processes of `multiprocessing`'s spawn."""

    def __init__(self, task: worker.Task, connections: Sequence[Connection]) -> None:
        make = multiprocessing.get_context("spawn").Process
        self._processes = [
            make(target=_begin, args=(rank, task, connection), daemon=True)
            for rank, connection in enumerate(connections)
        ]
        try:
            with _starting, _without_main(), _one_thread():
                for process in self._processes:
                    process.start()
        except BaseException:
            self.close()
            raise

    def waitables(self) -> Sequence[int]:
        return [process.sentinel for process in self._processes]

    def exits(self, ready: int) -> Sequence[tuple[int, int]]:
        [rank] = [r for r, process in enumerate(self._processes) if process.sentinel == ready]
        self._processes[rank].join()
        return [(rank, self._processes[rank].exitcode or 0)]

    def terminate(self, rank: int) -> None:
        self._processes[rank].terminate()

    def kill(self, rank: int) -> None:
        self._processes[rank].kill()

    def close(self) -> None:
        for process in self._processes:
            if process.pid is not None:
                process.kill()
                process.join()
            process.close()


def _begin(rank: int, task: worker.Task, connection: Connection) -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    guards.end_with(parent.sentinel)
    sys.stdout, sys.stderr = worker.by_lines(1), worker.by_lines(2)
    worker.work(rank, task, connection)
    worker.leave(0)


@contextlib.contextmanager
def _without_main() -> Iterator[None]:
    """Processes that are started here do not import the parent's main module."""
    whole = spawn.get_preparation_data

    def part(name: str) -> dict:
        return {k: v for k, v in whole(name).items() if not k.startswith("init_main")}

    spawn.get_preparation_data = part
    try:
        yield
    finally:
        spawn.get_preparation_data = whole


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """Processes that are started here find the limits before they load a library."""
    before = {name: os.environ.get(name) for name in guards.ONE_THREAD}
    os.environ.update(guards.ONE_THREAD)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
