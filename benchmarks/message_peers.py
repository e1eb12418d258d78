"""gloo and MPI as crews of processes that stay, and measure when they are asked to.

They take long to start, so a benchmark starts each crew once. Their first rank reads `what size`
from its standard input and answers with the seconds of one exchange.
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
BURST = 0.03  # seconds of a burst of collectives, about; at least one
MOST = 2000  # collectives of a burst
MODULE = [sys.executable, "-m", "benchmarks.message_peers"]
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
AS_ROOT = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
SEGMENTS = "/dev/shm"
END = "end 0"

Peer = Callable[[str, int], float]  # (what, bytes) -> seconds


def timed(exchange: Callable[[], object], size: int) -> float:
    """Seconds of one exchange: the median of some bursts, after a warm one."""
    count = max(2, min(300, (16 << 20) // size))
    return statistics.median([_burst(exchange, count) for _ in range(BURSTS + 1)][1:])


def slowest(collective: Callable[[], object], largest: Callable[[float], float]) -> float:
    """Seconds of one collective on the slowest rank: the median of some bursts, after warm ones.

    All ranks call it. largest: the largest of the ranks' numbers, which they learn in this way.
    """
    _burst(collective, 2)
    count = max(1, min(MOST, int(BURST / largest(_burst(collective, 2)))))
    return statistics.median([largest(_burst(collective, count)) for _ in range(BURSTS + 1)][1:])


def _burst(exchange: Callable[[], object], count: int) -> float:
    """Seconds of one of `count` exchanges."""
    start = time.perf_counter()
    for _ in range(count):
        exchange()
    return (time.perf_counter() - start) / count


def gloo(stack: contextlib.ExitStack, n: int = 2) -> Peer | None:
    """n ranks on torch.distributed with gloo, or None where there is no torch."""
    if importlib.util.find_spec("torch") is None:
        return None
    store = os.path.join(stack.enter_context(tempfile.TemporaryDirectory()), "store")
    return _crew(stack, *([*MODULE, "gloo", str(rank), str(n), store] for rank in range(n)))


def mpi(stack: contextlib.ExitStack, n: int = 2, options: Sequence[str] = ()) -> Peer | None:
    """n ranks on mpi4py, or None where there is no mpi4py or no mpiexec. options: to mpiexec.

    Open MPI keeps the segments of ranks that are killed: they lie in a folder that goes with them.
    """
    beside = os.path.join(sysconfig.get_path("scripts"), "mpiexec")
    mpiexec = beside if os.path.exists(beside) else shutil.which("mpiexec")
    if mpiexec is None or importlib.util.find_spec("mpi4py") is None:
        return None
    more = ["--oversubscribe"] if (os.cpu_count() or 1) < n else []
    if os.path.isdir(SEGMENTS):
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="mpi-", dir=SEGMENTS))
        more += ["--mca", "btl_sm_backing_directory", folder]
    return _crew(stack, [mpiexec, "-n", str(n), *more, *options, *MODULE, "mpi"])


def _crew(stack: contextlib.ExitStack, *commands: Sequence[str]) -> Peer:
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


def serve_gloo(rank: int, n: int, store: str) -> None:
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    import torch
    import torch.distributed as dist

    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=n)

    def largest(number: float) -> float:
        x = torch.tensor(number, dtype=torch.float64)
        dist.all_reduce(x, dist.ReduceOp.MAX)
        return x.item()

    def ping_pong(size: int) -> float:
        x, y = torch.ones(size, dtype=torch.uint8), torch.empty(size, dtype=torch.uint8)

        def first() -> None:
            dist.send(x, 1)
            dist.recv(y, 1)

        def second() -> None:
            dist.recv(y, 0)
            dist.send(y, 0)

        return timed(second if rank else first, size)

    def all_reduce(size: int) -> float:
        x = torch.zeros(size // 4)
        return slowest(lambda: dist.all_reduce(x), largest)

    def ddp(hidden: int) -> float:
        from benchmarks.data_parallel import ddp

        return largest(ddp(rank, hidden)[0])

    def ddp_fingerprint(hidden: int) -> float:
        from benchmarks.data_parallel import ddp, fingerprint

        return fingerprint(ddp(rank, hidden)[1])

    def power_sgd(asked: int) -> float:
        from benchmarks.power_sgd import ddp

        return largest(ddp(rank, asked)[0])

    def power_sgd_loss(asked: int) -> float:
        from benchmarks.power_sgd import ddp_loss

        return ddp_loss(rank, asked)

    def pass_on(line: str) -> str:
        words = [line]
        dist.broadcast_object_list(words)
        return words[0]

    programs = {"ping_pong": ping_pong, "all_reduce": all_reduce}
    programs |= {"ddp": ddp, "ddp_fingerprint": ddp_fingerprint}
    programs |= {"power_sgd": power_sgd, "power_sgd_loss": power_sgd_loss}
    _serve(rank, pass_on, programs)
    dist.destroy_process_group()


def serve_mpi() -> None:
    from mpi4py import MPI

    comm = MPI.COMM_WORLD

    def ping_pong(size: int) -> float:
        x, y = np.ones(size, np.uint8), np.empty(size, np.uint8)

        def first() -> None:
            comm.Send(x, 1)
            comm.Recv(y, 1)

        def second() -> None:
            comm.Recv(y, 0)
            comm.Send(y, 0)

        return timed(second if comm.rank else first, size)

    def all_reduce(size: int) -> float:
        x, y = np.ones(size // 4, np.float32), np.empty(size // 4, np.float32)
        return slowest(lambda: comm.Allreduce(x, y), lambda t: comm.allreduce(t, MPI.MAX))

    def pass_on(line: str) -> str:
        if comm.rank == 0:
            for rank in range(1, comm.size):
                comm.send(line, rank)
            return line
        while not comm.Iprobe(0):  # MPI waits busily, which would slow the others down
            time.sleep(0.01)
        return comm.recv(source=0)

    _serve(comm.rank, pass_on, {"ping_pong": ping_pong, "all_reduce": all_reduce})


def _serve(
    rank: int, pass_on: Callable[[str], str], programs: dict[str, Callable[[int], float]]
) -> None:
    while True:
        line = pass_on((sys.stdin.readline().strip() or END) if rank == 0 else "")
        if line == END:
            return
        what, size = line.split()
        taken = programs[what](int(size))
        if rank == 0:
            print(taken, flush=True)


if __name__ == "__main__":
    if sys.argv[1] == "gloo":
        serve_gloo(int(sys.argv[2]), int(sys.argv[3]), sys.argv[4])
    else:
        serve_mpi()
