"""Messages between two local processes, and their all-reduce, beside pipes, gloo and MPI.

Both sides send an array of bytes there and back; each answers with what it has received. Ours is a
whole run on `Processes(2)`, its trace on. `multiprocessing.Pipe` sends and receives arrays as
objects; gloo (torch.distributed) blocking tensors; mpi4py buffers, with `Send` and `Recv`, into an
array that is there already. One thread a process everywhere.

    python -m benchmarks.messages          all sizes
    python -m benchmarks.messages 1048576  these sizes only, in bytes
"""

from __future__ import annotations

import contextlib
import multiprocessing
import sys
from collections.abc import Callable
from multiprocessing.connection import Connection

import numpy as np

from benchmarks.common import alternate, duration, medians, report
from benchmarks.message_peers import BURSTS, gloo, mpi, slowest, timed
from ddml_kit.cluster import Comm
from ddml_kit.cluster.processes import Processes

KB, MB = 1 << 10, 1 << 20
SIZES = [4 * KB, 32 * KB, 256 * KB, MB, 4 * MB, 16 * MB, 64 * MB]
REDUCED = [4 * KB, 256 * KB, 4 * MB, 64 * MB]
ROUNDS = 5  # times that each contender has its turn

Times = dict[int, dict[str, float]]  # size in bytes -> contender -> seconds


def main() -> None:
    sizes = [int(argument) for argument in sys.argv[1:]] or SIZES
    reduced = [int(argument) for argument in sys.argv[1:]] or REDUCED
    with contextlib.ExitStack() as stack:
        peers, missing = {}, []
        for name, start in (("gloo", gloo), ("mpi", mpi)):
            peer = start(stack)
            if peer is None:
                missing.append(f"{name} is missing: not installed, so there is no ratio")
            else:
                peers[name] = peer
        trips = {size: measure("ping_pong", size, peers, pipe=True) for size in sizes}
        sums = {size: measure("all_reduce", size, peers) for size in reduced}
    names = ["ours", "pipe", *peers]
    rows = [
        [what, f"{size // KB} KB" if size < MB else f"{size // MB} MB"]
        + [duration(taken.get(name)) for name in names]
        + [f"{taken[name] / taken['ours']:.2f}" if name in taken else "–" for name in names[1:]]
        for what, table in (("round trip", trips), ("all-reduce", sums))
        for size, taken in table.items()
    ]
    report(
        "messages",
        ratios(trips, sums),
        head=["", "", *names, *(f"{name} / ours" for name in names[1:])],
        rows=rows,
        packages=("numpy", "torch", "mpi4py", "openmpi"),
        notes=[*missing, f"medians of {ROUNDS} turns, in each the median of {BURSTS} bursts"],
    )


def measure(
    what: str, size: int, peers: dict[str, Callable[[str, int], float]], pipe: bool = False
) -> dict[str, float]:
    """Seconds of one exchange of `size` bytes, by contender."""
    contenders: dict[str, Callable[[], float]] = {"ours": lambda: ours(what, size)}
    if pipe:
        contenders["pipe"] = lambda: through_a_pipe(size)
    for name, peer in peers.items():
        contenders[name] = lambda peer=peer: peer(what, size)  # type: ignore[misc]
    return medians(alternate(contenders, ROUNDS))


def ratios(trips: Times, sums: Times) -> dict[str, float]:
    """How many times as fast as the peer: the targets of the kit, and the all-reduces."""
    found: dict[str, float] = {}

    def least(key: str, peer: str, table: Times, low: int, high: int) -> None:
        times = [
            taken[peer] / taken["ours"]
            for size, taken in table.items()
            if peer in taken and low <= size <= high
        ]
        if times:
            found[key] = min(times)

    everything = 1 << 40
    least("pipe_min", "pipe", trips, 0, everything)
    least("gloo_to_1MB_min", "gloo", trips, 0, MB)
    least("gloo_above_min", "gloo", trips, MB + 1, everything)
    least("mpi_4KB", "mpi", trips, 4 * KB, 4 * KB)
    least("mpi_1MB", "mpi", trips, MB, MB)
    least("mpi_above_min", "mpi", trips, MB + 1, everything)
    least("gloo_all_reduce_min", "gloo", sums, 0, everything)
    least("mpi_all_reduce_min", "mpi", sums, 0, everything)
    return found


# ------------------------------------------------------------------------------------ ours


def ours(what: str, size: int) -> float:
    return Processes(2).run(PROGRAMS[what], size).results[0]


def ping_pong(comm: Comm, size: int) -> float:
    x = np.ones(size, np.uint8)

    def exchange() -> None:
        if comm.rank == 0:
            comm.send(x, 1)
            comm.recv(1)
        else:
            comm.send(comm.recv(0).value, 0)

    return timed(exchange, size)


def all_reduce(comm: Comm, size: int) -> float:
    x = np.ones(size // 4, np.float32)
    return slowest(lambda: comm.all_reduce(x), lambda seconds: comm.all_reduce(seconds, "max"))


PROGRAMS = {"ping_pong": ping_pong, "all_reduce": all_reduce}

# ----------------------------------------------------------------------------------- pipes


def through_a_pipe(size: int) -> float:
    here, there = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=answer, args=(there, size))
    process.start()
    x = np.ones(size, np.uint8)

    def exchange() -> None:
        here.send(x)
        here.recv()

    taken = timed(exchange, size)
    process.join()
    return taken


def answer(connection: Connection, size: int) -> None:
    timed(lambda: connection.send(connection.recv()), size)


if __name__ == "__main__":
    main()
