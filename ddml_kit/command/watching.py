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
from ddml_kit.command.progress import Progress

SIGNALS = (signal.SIGINT, signal.SIGTERM)  # the second is what schedulers send


class Ending(NamedTuple):
    """run: what there is of it, None if nothing. error: what ended it. signal: that stopped it."""

    run: Run | None
    error: ClusterError | None
    signal: int | None


def watch(running: Running, progress: Progress | None) -> Ending:
    """Drive a run to its end. An interrupt stops it; a second one is a KeyboardInterrupt."""
    with stopping(running) as caught:
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
    return Ending(run, error, caught[0] if caught and run is not None and run.stopped else None)


@contextmanager
def stopping(running: Running) -> Iterator[list[int]]:
    """Meanwhile a signal stops the run, rather than this process; the signals that came."""
    caught: list[int] = []

    def stop(number: int, frame: FrameType | None) -> None:
        if caught:
            raise KeyboardInterrupt
        caught.append(number)
        # In a thread of its own: this one may hold a lock that stopping takes.
        threading.Thread(target=running.stop, name="stop").start()

    if threading.current_thread() is not threading.main_thread():  # no signal comes here
        yield caught
        return
    before = [signal.signal(number, stop) for number in SIGNALS]
    try:
        yield caught
    finally:
        for number, handler in zip(SIGNALS, before, strict=True):
            signal.signal(number, handler)
