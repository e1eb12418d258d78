"""A run that is driven to its end, whatever ends it, with an eye on the keyboard."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NamedTuple

from ddml_kit.cluster.errors import ClusterError
from ddml_kit.cluster.run import Run, Running
from ddml_kit.command.options import Interrupted, launched
from ddml_kit.command.progress import Progress

SIGNALS = (signal.SIGINT, signal.SIGTERM)  # the second is what schedulers send


class Ending(NamedTuple):
    """run: what there is of it, None if nothing. error: what ended it. signal: that stopped it."""

    run: Run | None
    error: ClusterError | None
    signal: int | None


class Guard:
    """What signals do: before there is a run, interrupt; then stop it, so that there is time to
    write down what there is of it. A second one interrupts that as well, but where torchrun passes
    on what the terminal has sent already.
    """

    def __init__(self) -> None:
        self.running: Running | None = None
        self.caught: list[int] = []

    def __call__(self, number: int, frame: FrameType | None) -> None:
        self.caught.append(number)
        if self.running is None or (len(self.caught) > 1 and not launched()):
            raise Interrupted(number)
        # In a thread of its own: this one may hold a lock that stopping takes.
        threading.Thread(target=self.running.stop, name="stop").start()


@contextmanager
def guarded() -> Iterator[Guard]:
    """Meanwhile signals go to a guard; those before it have their places again afterwards."""
    guard = Guard()
    if threading.current_thread() is not threading.main_thread():  # no signal comes here
        yield guard
        return
    before = [signal.signal(number, guard) for number in SIGNALS]
    try:
        yield guard
    finally:
        for number, handler in zip(SIGNALS, before, strict=True):
            signal.signal(number, handler)


def watch(running: Running, progress: Progress | None, guard: Guard) -> Ending:
    """Drive a run to its end, whatever that is."""
    guard.running = running
    try:
        for point in running:
            if progress is not None:
                progress.see(point)
        run: Run | None = running.result()
        error = None
    except ClusterError as failed:
        run, error = failed.run, failed
    finally:
        if progress is not None:
            progress.close()
    stopped = guard.caught and run is not None and run.stopped
    return Ending(run, error, guard.caught[0] if stopped else None)
