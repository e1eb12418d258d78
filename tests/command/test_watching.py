"""A run under way: what is told of it, and what a signal does to it."""

from __future__ import annotations

import io
import signal
import threading

import numpy as np
import pytest

from ddml_kit.cluster import Deadlock, Metric, Processes, RankFailed, Simulated, Snapshot
from ddml_kit.cluster.distributed.world import NAMES
from ddml_kit.cluster.run import Running
from ddml_kit.command.progress import Progress
from ddml_kit.command.watching import Ending, guarded, watch


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def told(stream: io.StringIO, total: int | None = None) -> Progress:
    """Tells every step, since no time passes by its clock."""
    figure = "test loss", lambda w: float(w.sum())
    return Progress(stream, figure, total, 0.0, clock=lambda: 0.0)


def counting(comm, steps: int) -> np.ndarray:
    w = np.zeros(2)
    for k in range(steps):
        comm.work(0.5)
        w = np.full(2, float(k))
        comm.record(k=k)
        comm.snapshot(w)
    return w


def watched(running: Running, progress: Progress | None) -> Ending:
    with guarded() as guard:
        return watch(running, progress, guard)


def test_a_line_each_where_there_is_no_terminal() -> None:
    stream = io.StringIO()
    progress = told(stream, total=1200)
    ending = watched(Simulated(2).start(counting, 3), progress)
    assert ending.error is ending.signal is None
    assert len(ending.run.snapshots) == 6
    assert stream.getvalue().splitlines() == [
        "step 0 of 1,200, 0.5 s, test loss 0",
        "step 1 of 1,200, 1 s, test loss 2",
        "step 2 of 1,200, 1.5 s, test loss 4",
    ]


def test_one_line_that_is_written_over_and_taken_away_on_a_terminal() -> None:
    stream = Terminal()
    watched(Simulated(1).start(counting, 2), told(stream))
    start = "\r\x1b[K"
    lines = ["step 0, 0.5 s, test loss 0", "step 1, 1 s, test loss 2", ""]
    assert stream.getvalue() == "".join(start + line for line in lines)


def test_models_are_evaluated_a_quarter_of_the_time_at_most() -> None:
    stream, seen = io.StringIO(), []
    times = iter([0.0, 1.0, 2.0, 5.0, 9.9, 17.0, 17.1, 19.0, 19.2, 19.2])

    def loss(w: np.ndarray) -> float:
        seen.append(w[0])
        return 0.0

    progress = Progress(stream, ("loss", loss), None, 2.0, clock=lambda: next(times))
    for k in range(6):  # at 1, from 2 to 5, at 9.9, from 17 to 17.1, at 19, from 19.2 on
        progress.see(Snapshot(0, 0.0, k, np.full(1, k)))
        progress.see(Snapshot(1, 0.0, k, np.full(1, -1.0)))
        progress.see(Metric(0, 0.0, {}))
    assert seen == [1, 3, 5]


class Interrupting(Progress):
    """Raises a signal when it sees a step, as someone at the keyboard might."""

    def __init__(self, at: dict[int, int]) -> None:
        super().__init__(io.StringIO(), ("loss", lambda w: 0.0), None, 1e9)
        self._at = at

    def see(self, point) -> None:
        if isinstance(point, Snapshot) and point.rank == 0 and point.step in self._at:
            signal.raise_signal(self._at.pop(point.step))


@pytest.mark.parametrize("cluster", [Simulated(2), Processes(2)], ids=["simulated", "processes"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_the_run_and_leaves_what_there_is(cluster, number: int) -> None:
    before = signal.getsignal(number)
    ending = watched(cluster.start(counting, 10_000_000), Interrupting({3: number}))
    assert (ending.error, ending.signal) == (None, number)
    assert ending.run.stopped
    assert max(snapshot.step for snapshot in ending.run.snapshots) >= 3
    assert signal.getsignal(number) is before


def test_a_second_signal_is_an_interrupt() -> None:
    running = Simulated(2).start(counting, 10_000_000)
    running.stop = lambda: None  # it does not listen
    with pytest.raises(KeyboardInterrupt):
        watched(running, Interrupting({3: signal.SIGINT, 4: signal.SIGINT}))


def test_what_torchrun_passes_on_is_no_second_signal(monkeypatch) -> None:
    for name in NAMES:
        monkeypatch.setenv(name, "0")
    running = Simulated(2).start(counting, 6)
    running.stop = lambda: None  # it takes its time
    ending = watched(running, Interrupting({3: signal.SIGINT, 4: signal.SIGINT}))
    assert len(ending.run.snapshots) == 12


def test_a_signal_interrupts_what_comes_before_a_run_but_not_what_comes_after() -> None:
    with pytest.raises(KeyboardInterrupt), guarded():
        signal.raise_signal(signal.SIGTERM)
    with guarded() as guard:
        ending = watch(Simulated(1).start(counting, 2), None, guard)
        signal.raise_signal(signal.SIGTERM)  # while it is written down
        assert (ending.run.stopped, ending.signal) == (False, None)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGTERM)


def test_a_signal_that_comes_too_late_to_stop_anything_says_nothing() -> None:
    running = Simulated(1).start(counting, 3)
    running.stop = lambda: None
    ending = watched(running, Interrupting({2: signal.SIGINT}))
    assert (ending.run.stopped, ending.signal) == (False, None)


def failing(comm) -> None:
    comm.snapshot(np.ones(1))
    comm.work(1.0)
    if comm.rank == 1:
        raise ValueError("no")
    comm.recv()


def waiting(comm) -> None:
    comm.recv()


def test_what_ends_a_run_is_returned_with_the_run_up_to_then() -> None:
    ending = watched(Simulated(2).start(failing), None)
    assert isinstance(ending.error, RankFailed)
    assert len(ending.run.snapshots) == 2
    ending = watched(Simulated(2).start(waiting), None)
    assert isinstance(ending.error, Deadlock)
    assert ending.run is not None


def test_in_another_thread_a_run_is_watched_without_signals() -> None:
    endings = []
    thread = threading.Thread(
        target=lambda: endings.append(watched(Simulated(1).start(counting, 2), None))
    )
    thread.start()
    thread.join()
    assert endings[0].run.results[0][0] == 1.0
