"""gloo and MPI as pairs of processes that stay, and measure when they are asked to.

They take long to start, so `benchmarks.messages` starts each pair once. Their first rank reads
`what size` from its standard input and answers with the seconds of one exchange.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import statistics
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable, Sequence

import numpy as np

BURSTS = 7  # of which the median counts
MODULE = [sys.executable, "-m", "benchmarks.message_peers"]
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
AS_ROOT = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
END = "end 0"

Peer = Callable[[str, int], float]  # (what, bytes) -> seconds


def timed(exchange: Callable[[], object], size: int) -> float:
    """Seconds of one exchange: the median of some bursts, after a warm one."""
    count = max(2, min(300, (16 << 20) // size))
    taken = []
    for _ in range(BURSTS + 1):
        start = time.perf_counter()
        for _ in range(count):
            exchange()
        taken.append((time.perf_counter() - start) / count)
    return statistics.median(taken[1:])


def gloo(stack: contextlib.ExitStack) -> Peer | None:
    """A pair on torch.distributed with gloo, or None where there is no torch."""
    if importlib.util.find_spec("torch") is None:
        return None
    store = os.path.join(stack.enter_context(tempfile.TemporaryDirectory()), "store")
    return _pair(stack, *([*MODULE, "gloo", str(rank), store] for rank in (0, 1)))


def mpi(stack: contextlib.ExitStack) -> Peer | None:
    """A pair on mpi4py, or None where there is no mpi4py or no mpiexec."""
    beside = os.path.join(sysconfig.get_path("scripts"), "mpiexec")
    mpiexec = beside if os.path.exists(beside) else shutil.which("mpiexec")
    if mpiexec is None or importlib.util.find_spec("mpi4py") is None:
        return None
    more = ["--oversubscribe"] if (os.cpu_count() or 1) < 2 else []
    return _pair(stack, [mpiexec, "-n", "2", *more, *MODULE, "mpi"])


def _pair(stack: contextlib.ExitStack, *commands: Sequence[str]) -> Peer:
    """Start these commands; the first of them answers."""
    processes = [
        stack.enter_context(
            subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                env={**os.environ, **ONE_THREAD, **AS_ROOT},
            )
        )
        for command in commands
    ]
    first = processes[0]
    assert first.stdin is not None
    assert first.stdout is not None
    asked, answers = first.stdin, first.stdout

    def ask(what: str, size: int) -> float:
        asked.write(f"{what} {size}\n")
        asked.flush()
        return float(answers.readline())

    stack.callback(lambda: (asked.write(f"{END}\n"), asked.flush()))
    return ask


# ------------------------------------------------------------------------ in their processes


def serve_gloo(rank: int, store: str) -> None:
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    import torch
    import torch.distributed as dist

    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)

    def ping_pong(size: int) -> Callable[[], object]:
        x, y = torch.ones(size, dtype=torch.uint8), torch.empty(size, dtype=torch.uint8)

        def first() -> None:
            dist.send(x, 1)
            dist.recv(y, 1)

        def second() -> None:
            dist.recv(y, 0)
            dist.send(y, 0)

        return second if rank else first

    def all_reduce(size: int) -> Callable[[], object]:
        x = torch.zeros(size // 4)
        return lambda: dist.all_reduce(x)

    def pass_on(line: str) -> str:
        words = [line]
        dist.broadcast_object_list(words)
        return words[0]

    _serve(rank, pass_on, {"ping_pong": ping_pong, "all_reduce": all_reduce})
    dist.destroy_process_group()


def serve_mpi() -> None:
    from mpi4py import MPI

    comm = MPI.COMM_WORLD

    def ping_pong(size: int) -> Callable[[], object]:
        x, y = np.ones(size, np.uint8), np.empty(size, np.uint8)

        def first() -> None:
            comm.Send(x, 1)
            comm.Recv(y, 1)

        def second() -> None:
            comm.Recv(y, 0)
            comm.Send(y, 0)

        return second if comm.rank else first

    def all_reduce(size: int) -> Callable[[], object]:
        x, y = np.ones(size // 4, np.float32), np.empty(size // 4, np.float32)
        return lambda: comm.Allreduce(x, y)

    def pass_on(line: str) -> str:
        if comm.rank == 0:
            comm.send(line, 1)
            return line
        while not comm.Iprobe(0):  # MPI waits busily, which would slow the others down
            time.sleep(0.001)
        return comm.recv(source=0)

    _serve(comm.rank, pass_on, {"ping_pong": ping_pong, "all_reduce": all_reduce})


def _serve(
    rank: int,
    pass_on: Callable[[str], str],
    programs: dict[str, Callable[[int], Callable[[], object]]],
) -> None:
    while True:
        line = pass_on((sys.stdin.readline().strip() or END) if rank == 0 else "")
        if line == END:
            return
        what, size = line.split()
        taken = timed(programs[what](int(size)), int(size))
        if rank == 0:
            print(taken, flush=True)


if __name__ == "__main__":
    if sys.argv[1] == "gloo":
        serve_gloo(int(sys.argv[2]), sys.argv[3])
    else:
        serve_mpi()
