"""What happens when something goes wrong on real processes, and how soon.

    python -m benchmarks.faults

Each row makes one fault and shows the sentence that a user gets, how long after the fault it came,
and what was left behind: processes, threads, named segments, files, descriptors. Rows that happen
at a moment of their own (a kill, a stop, the parent's end) are repeated, and the median and the
worst are shown. A killed worker's peers tell themselves when they were released. When a process is
gone is told by the system, through a pidfd. Linux only.
"""

from __future__ import annotations

import gc
import os
import re
import select
import signal
import statistics
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import islice
from typing import Any, NamedTuple

import numpy as np

from benchmarks.common import duration, report
from benchmarks.leftovers import inventory, left_since
from ddml_kit.cluster import Comm, Processes, RankFailed, Running, Simulated
from ddml_kit.problems import Logistic, sparse_logistic
from ddml_kit.training.hogwild import hogwild

SIZE = 4
DOOMED = 1  # the rank that is killed
REPEATS = 10
PATIENCE = 20.0  # seconds until something counts as stuck
RELEASED, ORPHANED = 0.020, 0.050  # seconds, the aims
SMALL = 64  # MB, the /dev/shm that Docker gives


class Seen(NamedTuple):
    """What came of a fault: the sentence, and the seconds from the fault until it came."""

    sentence: str
    seconds: float | None = None


def expect(f: Callable[..., Any], *args: Any, **kwargs: Any) -> BaseException:
    """What f raises."""
    try:
        f(*args, **kwargs)
    except BaseException as error:
        return error
    raise AssertionError(f"{f} raised nothing")


def started(cluster: Processes, program: Callable[..., Any], *args: Any) -> tuple[Running, list]:
    """A run under way, and the process of each rank."""
    running = cluster.start(program, *args)
    pids = {point.rank: int(point.values["pid"]) for point in islice(running, cluster.size)}
    return running, [pids[rank] for rank in range(cluster.size)]


# --------------------------------------------------------------------------- programs


def tell(comm: Comm) -> None:
    """Tell the parent this rank's process, once all are there."""
    comm.barrier()
    comm.record(pid=os.getpid())


def raising(comm: Comm) -> None:
    if comm.rank == 2:
        comm.record(at=time.monotonic())
        raise ValueError("enough")
    comm.recv(timeout=PATIENCE)


def receiving(comm: Comm) -> None:
    tell(comm)
    comm.recv(DOOMED if comm.rank != DOOMED else 0, timeout=PATIENCE)


def computing(comm: Comm) -> None:
    tell(comm)
    while True:
        pass


def reducing(comm: Comm) -> None:
    tell(comm)
    x = np.ones(100_000)
    while True:
        comm.all_reduce(x)


def released(comm: Comm, wait: Callable[[Comm], None]) -> float:
    """When this rank was told of another's death: system-wide, monotonic seconds."""
    try:
        wait(comm)
    except RankFailed:
        return time.monotonic()
    raise AssertionError("not released")


def stubborn(comm: Comm) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    tell(comm)
    while True:
        pass


def unsendable(comm: Comm) -> Any:
    return threading.Lock() if comm.rank == 1 else comm.rank


def waiting_in_a_ring(comm: Comm) -> None:
    comm.recv((comm.rank + 1) % comm.size)


def heavy(comm: Comm) -> float:
    """3 × 100 MB: in shared memory, in a message, and in a sum."""
    part = comm.shared(np.ones(12_500_000))
    comm.send(part, (comm.rank + 1) % comm.size)
    return float(comm.recv().value.sum() + comm.all_reduce(part)[0])


# ------------------------------------------------------------------------------ faults


def a_worker_raises() -> Seen:
    error = expect(Processes(SIZE).run, raising)
    now = time.monotonic()
    assert isinstance(error, RankFailed)
    [raised] = [point.values["at"] for point in error.run.points]
    return Seen(str(error), now - raised)


def killed(wait: Callable[[Comm], None]) -> Callable[[], Seen]:
    def fault() -> Seen:
        running, pids = started(Processes(SIZE), wait)
        at = time.monotonic()
        os.kill(pids[DOOMED], signal.SIGKILL)
        return Seen(str(expect(running.result)), time.monotonic() - at)

    return fault


def peers_released(wait: Callable[[Comm], None]) -> Callable[[], Seen]:
    def fault() -> Seen:
        running, pids = started(Processes(SIZE, on_failure="continue"), released, wait)
        at = time.monotonic()
        os.kill(pids[DOOMED], signal.SIGKILL)
        run = running.result()
        told = [when - at for when in run.results if when is not None]
        assert len(told) == SIZE - 1
        return Seen('RankFailed in each of the others; on_failure="continue"', max(told))

    return fault


def stopped(program: Callable[[Comm], None]) -> Callable[[], Seen]:
    def fault() -> Seen:
        running, _ = started(Processes(SIZE), program)
        at = time.monotonic()
        running.stop()
        run = running.result()
        seconds = time.monotonic() - at
        assert run.stopped
        return Seen("a Run with stopped=True, and the trace up to then", seconds)

    return fault


def interrupted() -> Seen:
    running, _ = started(Processes(SIZE), computing)
    at = []

    def interrupt() -> None:
        at.append(time.monotonic())
        os.kill(os.getpid(), signal.SIGINT)  # as Jupyter does

    threading.Timer(0.1, interrupt).start()
    error = expect(running.result)
    return Seen(f"{type(error).__name__}, when all workers have ended", time.monotonic() - at[0])


def parent_dies(program: str, end: str) -> Callable[[], Seen]:
    script = f"""
    import os, time
    from benchmarks import faults
    from ddml_kit.cluster.local.forked import ForkServer
    running, pids = faults.started(faults.Processes({SIZE}), faults.{program})
    print(ForkServer.running().process.pid, *pids, flush=True)
    input()
    {end}
    """

    def fault() -> Seen:
        parent = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(script)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        with parent:
            pids = [int(pid) for pid in parent.stdout.readline().split()]
            seconds = gone_after(pids, lambda: ended(parent))
        return Seen(f"{len(pids)} processes ended: the workers and their server", seconds)

    return fault


def ended(parent: subprocess.Popen) -> float:
    """Let the parent end; when it had, in monotonic seconds."""
    assert parent.stdin is not None
    descriptor = os.pidfd_open(parent.pid)
    try:
        parent.stdin.write("\n")
        parent.stdin.flush()
        assert select.select([descriptor], [], [], PATIENCE)[0]
        return time.monotonic()
    finally:
        os.close(descriptor)


def gone_after(pids: list[int], fault: Callable[[], float]) -> float:
    """Seconds from the fault, which returns its time, until the last of the processes is gone."""
    with pidfds(pids) as waiting:
        at = last = fault()
        while waiting:
            gone = select.select(waiting, [], [], PATIENCE)[0]
            assert gone, "processes outlive their parent"
            last = time.monotonic()
            waiting -= set(gone)
    return last - at


@contextmanager
def pidfds(pids: list[int]) -> Iterator[set[int]]:
    opened = [os.pidfd_open(pid) for pid in pids]
    try:
        yield set(opened)
    finally:
        for descriptor in opened:
            os.close(descriptor)


def kernel_ends(how: Callable[[Any], None]) -> Callable[[], Seen]:
    """A notebook's kernel is restarted, or killed, while a cell runs workers."""
    cell = f"""
    from benchmarks import faults
    from ddml_kit.cluster.local.forked import ForkServer
    running, pids = faults.started(faults.Processes({SIZE}), faults.computing)
    print("pids", ForkServer.running().process.pid, *pids, flush=True)
    running.result()
    """

    def fault() -> Seen:
        from jupyter_client.manager import start_new_kernel

        manager, client = start_new_kernel(kernel_name="python3")
        try:
            client.execute(textwrap.dedent(cell))
            text = ""
            while not (found := re.search(r"pids ([\d ]+)\n", text)):
                message = client.get_iopub_msg(timeout=PATIENCE)
                text += message["content"].get("text", "")
                assert message["msg_type"] != "error", message["content"]
            pids = [int(pid) for pid in found[1].split()]
            kernel = manager.provisioner.pid

            def end() -> float:
                with pidfds([kernel]) as waiting:
                    beside.submit(how, manager)
                    assert select.select(waiting, [], [], PATIENCE)[0]
                    return time.monotonic()

            with ThreadPoolExecutor(1) as beside:
                seconds = gone_after(pids, end)
        finally:
            client.stop_channels()
            manager.shutdown_kernel(now=True)
            manager.cleanup_resources()
        return Seen(f"{len(pids)} processes ended: the workers and their server", seconds)

    return fault


def small_shared_memory(full: bool) -> Callable[[], Seen]:
    fill = "head -c 100M /dev/zero > /dev/shm/filled 2>/dev/null;" if full else ""
    script = "from benchmarks.faults import *; print(Processes(2).run(heavy).results)"

    def fault() -> Seen:
        done = subprocess.run(
            [
                *("unshare", "--user", "--map-root-user", "--mount", "sh", "-c"),
                f"mount -t tmpfs -o size={SMALL}m tmpfs /dev/shm && {{ {fill} "
                f"{sys.executable} -c '{script}'; }}",
            ],
            capture_output=True,
            text=True,
        )
        if done.returncode:
            return Seen(f"could not be tried here: {done.stderr.strip().splitlines()[-1]}")
        return Seen(f"it does not matter: 2 × 300 MB went through, {done.stdout.strip()}")

    return fault


def wrong_size(cluster: type, size: int) -> Callable[[], Seen]:
    return lambda: Seen(str(expect(cluster, size)))


def cannot_be_sent() -> Seen:
    return Seen(str(expect(Processes(SIZE).run, unsendable)))


def not_a_number(cluster: Processes | Simulated) -> Callable[[], Seen]:
    data = sparse_logistic(200, 50, 5, seed=0)
    data.x.values[-1] = np.nan  # in the shard of the last rank
    problem = Logistic(data.x, data.y)
    return lambda: Seen(str(expect(cluster.run, hogwild, problem, steps=100, lr=0.1)))


def two_at_once() -> Seen:
    blocked, _ = started(Processes(2), receiving)
    answer = Processes(3).run(lambda comm: comm.all_reduce(comm.rank)).results
    blocked.stop()
    assert answer == [3, 3, 3]
    assert blocked.result().stopped
    return Seen("both as if alone: one went through, the other was stopped after it")


def twenty_times() -> Seen:
    at = time.monotonic()
    for _ in range(20):
        running, _ = started(Processes(SIZE), receiving)
        running.stop()
        assert running.result().stopped
    return Seen("20 Runs with stopped=True", time.monotonic() - at)


def redefined() -> Seen:
    answers = []
    for answer in (1, 2):
        cell: dict[str, Any] = {"__name__": "__main__"}
        exec(f"def helper(): return {answer}\ndef program(comm): return helper()", cell)
        answers.append(Processes(2).run(cell["program"]).results)
    assert answers == [[1, 1], [2, 2]]
    return Seen("the new definition is run, that of its helpers, too")


def deadlock() -> Seen:
    at = time.monotonic()
    error = expect(Processes(2).run, waiting_in_a_ring)
    return Seen(str(error), time.monotonic() - at)


FAULTS: list[tuple[str, Callable[[], Seen], int]] = [
    ("a worker raises", a_worker_raises, REPEATS),
    ("a worker is killed, the others receive", killed(receiving), REPEATS),
    ("… and their programs go on", peers_released(receiving), REPEATS),
    ("a worker is killed in the middle of all-reduces", killed(reducing), REPEATS),
    ("… and the programs of the others go on", peers_released(reducing), REPEATS),
    ("stop, while the workers compute", stopped(computing), REPEATS),
    ("stop, and the workers ignore SIGTERM", stopped(stubborn), REPEATS),
    ("the cell is interrupted", interrupted, REPEATS),
    ("the kernel is restarted", kernel_ends(lambda manager: manager.restart_kernel(now=True)), 3),
    ("the kernel is killed", kernel_ends(lambda manager: manager.signal_kernel(signal.SIGKILL)), 3),
    (
        "the parent is killed, the workers compute",
        parent_dies("computing", "os.kill(os.getpid(), 9)"),
        REPEATS,
    ),
    (
        "the parent is killed, the workers receive",
        parent_dies("receiving", "os.kill(os.getpid(), 9)"),
        REPEATS,
    ),
    ("the parent leaves by os._exit", parent_dies("computing", "os._exit(0)"), REPEATS),
    (f"/dev/shm has {SMALL} MB", small_shared_memory(full=False), 1),
    (f"/dev/shm has {SMALL} MB and is full", small_shared_memory(full=True), 1),
    ("0 workers", wrong_size(Processes, 0), 1),
    ("−1 workers", wrong_size(Processes, -1), 1),
    ("10,000 workers", wrong_size(Processes, 10_000), 1),
    ("0 workers, simulated", wrong_size(Simulated, 0), 1),
    ("a result that can't be sent", cannot_be_sent, 1),
    ("NaN in a gradient", not_a_number(Processes(SIZE)), 1),
    ("NaN in a gradient, simulated", not_a_number(Simulated(SIZE)), 1),
    ("two runs at once", two_at_once, 1),
    ("a run started and stopped 20 times", twenty_times, 1),
    ("a cell redefines the program between runs", redefined, 1),
    ("each worker waits for the next", deadlock, 1),
]


def tried(fault: Callable[[], Seen], repeats: int) -> tuple[Seen, list[float], str]:
    """What came of a fault the last time, the seconds of each time, and what was left behind."""
    Processes(SIZE).run(tell)  # the server of the workers is there
    before, files, open_before = inventory(), set(os.listdir(tempfile.gettempdir())), descriptors()
    taken = []
    for _ in range(repeats):
        seen = fault()
        if seen.seconds is not None:
            taken.append(seen.seconds)
    gc.collect()
    left = left_since(before, PATIENCE) | (set(os.listdir(tempfile.gettempdir())) - files)
    if not left and (more := descriptors() - open_before) > 0:
        left = {f"{more} descriptors"}
    return seen, taken, ", ".join(sorted(left)) or "nothing"


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def main() -> None:
    """Print the table and the line of JSON."""
    rows, worst = [], {}
    with tempfile.TemporaryDirectory() as directory:
        tempfile.tempdir = directory
        for name, fault, repeats in FAULTS:
            seen, taken, left = tried(fault, repeats)
            worst[name] = max(taken, default=0.0)
            middle = duration(statistics.median(taken)) if taken else "–"
            most = duration(max(taken)) if len(taken) > 1 else "–"
            rows.append((name, seen.sentence.replace("\n", " "), middle, most, left))
            print(".", end="", file=sys.stderr, flush=True)
    peers = max(seconds for name, seconds in worst.items() if name.startswith("…"))
    orphans = max(seconds for name, seconds in worst.items() if "the parent" in name)
    report(
        "faults",
        {"released_20ms": RELEASED / peers, "orphans_50ms": ORPHANED / orphans},
        head=("fault", "what one gets", "after, median", "worst", "left behind"),
        rows=rows,
        notes=(
            f"{SIZE} workers where nothing else is said, {REPEATS} times each (kernels 3 times). "
            f"The last peer of a killed worker was released after {duration(peers)} at worst, the "
            f"last orphan gone {duration(orphans)} after its parent.",
        ),
    )


if __name__ == "__main__":
    main()
