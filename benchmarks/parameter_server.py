"""Push and pull of a parameter server, beside torch.distributed.rpc and Ray; and how fast it is
simulated.

A round trip: a worker pushes a gradient of float32, the server subtracts it from its vector, and
the worker has the whole new vector. Seconds are those that a worker waits, the mean of 1 worker or
of 4 at a time; a process each, one server, one thread a process.

- Ours: `Store` and `Server` of the kit, a whole run on `Processes`, ASP, its trace on; every
  gradient is scaled, and the model is copied into the worker's own vector.
- torch_rpc: `rpc_sync` of a function that subtracts the tensor under a lock and returns the vector
  (not a copy: it may change while it is sent, which spares torch a copy).
- ray: a method of an actor, the same over NumPy arrays; large ones go through its shared memory,
  and the worker reads them there.

All count that no gradient was lost. simulated: 256 workers x 200 steps of softmax regression on the
digits (batch 32) through the same `parameter_server`, BSP, ASP and SSP(4), on one core;
simulated_20s is 20 s over the slowest of them.

    python -m benchmarks.parameter_server          all sizes
    python -m benchmarks.parameter_server 1048576  these sizes only, in bytes
"""

from __future__ import annotations

import contextlib
import statistics
import sys
import time
from collections.abc import Callable

import numpy as np

from benchmarks.common import alternate, duration, medians, report
from benchmarks.message_peers import timed
from benchmarks.parameter_server_peers import MOST, Peer, ray, torch_rpc
from ddml_kit.cluster import Comm, Processes, Simulated
from ddml_kit.problems import Data, Logistic, digits
from ddml_kit.training.optimisers import sgd, undamped
from ddml_kit.training.parameter_server import Server, mean, parameter_server
from ddml_kit.training.parameters import Store
from ddml_kit.training.waiting import ASP, BSP, SSP, Waiting

KB, MB = 1 << 10, 1 << 20
SIZES = [4 * KB, MB, 16 * MB]
WORKERS = [1, MOST]
AIMS = {"torch_rpc": {4 * KB: 10, 16 * MB: 5}, "ray": {4 * KB: 30, 16 * MB: 3}}
ROUNDS = 5  # times that each contender has its turn
SIMULATED, CLOCKS, BATCH = 256, 200, 32
POLICIES: list[Waiting] = [BSP(), ASP(), SSP(4)]

Times = dict[tuple[int, int], dict[str, float]]  # (workers, bytes) -> contender -> seconds


def main() -> None:
    """Print the table and the line of JSON."""
    sizes = [int(argument) for argument in sys.argv[1:]] or SIZES
    missing = []
    with contextlib.ExitStack() as stack:
        peers: dict[str, Peer] = {}
        for name, start in (("torch_rpc", torch_rpc), ("ray", ray)):
            peer = start(stack)
            if peer is None:
                missing.append(f"{name} is missing: not installed, so there is no ratio")
            else:
                peers[name] = peer
                peer(1, 4 * KB)  # until it is up, so that it doesn't start in another's turn
        times = {(n, size): measure(n, size, peers) for size in sizes for n in WORKERS}
    names = ["ours", *peers]
    rows = [
        ["push + pull", name_of(size), n]
        + [duration(taken[name]) for name in names]
        + [f"{taken[name] / taken['ours']:.2f}" for name in peers]
        for (n, size), taken in times.items()
    ]
    empty = ["–"] * (2 * len(peers))
    seconds = {policy: simulate(policy) for policy in POLICIES}
    rows += [
        [f"simulated, {policy}", f"{CLOCKS} steps", SIMULATED, duration(taken), *empty]
        for policy, taken in seconds.items()
    ]
    aims = [
        f"{p}_{name_of(s)} >= {aim}" for p, by_size in AIMS.items() for s, aim in by_size.items()
    ]
    report(
        "parameter_server",
        ratios(times) | {"simulated_20s": 20 / max(seconds.values())},
        head=["", "", "workers", *names, *(f"{name} / ours" for name in peers)],
        rows=rows,
        packages=("numpy", "torch", "ray"),
        notes=[
            *missing,
            f"medians of {ROUNDS} turns, in each the mean of the workers' medians of bursts",
            f"aims: {', '.join(aims)}, simulated_20s >= 1; a ratio is the least over workers",
        ],
    )


def measure(workers: int, size: int, peers: dict[str, Peer]) -> dict[str, float]:
    """Seconds of one round trip of `size` bytes each way, by contender."""
    contenders: dict[str, Callable[[], float]] = {"ours": lambda: ours(workers, size)}
    for name, peer in peers.items():
        contenders[name] = lambda peer=peer: peer(workers, size)  # type: ignore[misc]
    return medians(alternate(contenders, ROUNDS))


def ratios(times: Times) -> dict[str, float]:
    """How many times as fast as each peer, by size: the least, and by the number of workers."""
    found: dict[str, float] = {}
    for (n, size), taken in times.items():
        for peer in taken.keys() - {"ours"}:
            name, ratio = f"{peer}_{name_of(size)}", taken[peer] / taken["ours"]
            found[f"{name}_{n}"] = ratio
            found[name] = min(ratio, found.get(name, ratio))
    return dict(sorted(found.items()))


def name_of(size: int) -> str:
    """4KB, 16MB."""
    return f"{size // KB}KB" if size < MB else f"{size // MB}MB"


# ------------------------------------------------------------------------------------ ours


def ours(workers: int, size: int) -> float:
    """Seconds of one round trip on processes."""
    *taken, _ = Processes(workers + 1).run(push_and_pull, size).results
    return statistics.mean(taken)


def push_and_pull(comm: Comm, size: int) -> float:
    """Seconds of one round trip of a worker; of the server, how many gradients it has folded in.

    Gradients are ones, and each moves the vector by 1, so that the vector counts them.
    """
    workers = comm.size - 1
    dtype = np.dtype(np.float32)
    comm.barrier()
    if comm.rank == workers:
        w = np.zeros(size // 4, dtype)
        served = Server(comm, w, sgd(workers), ASP(), undamped, workers, set(), mean).serve(None)
        return served.steps
    store = Store(comm, [workers], size // 4, dtype)
    gradient = np.ones(size // 4, dtype)
    clock = 0

    def exchange() -> None:
        nonlocal clock
        store.push(clock, gradient)
        clock += 1
        store.request(clock)
        store.pull()

    taken = timed(exchange, size)
    w = store.leave()
    assert (w == -workers * clock).all(), f"{workers * clock} gradients, but w is {w}"
    return taken


def simulate(waiting: Waiting) -> float:
    """Seconds of the process for all steps of all workers, on one core."""
    data = digits()
    order = np.resize(np.arange(len(data)), SIMULATED * BATCH)  # so that every batch is a full one
    data = Data(data.x[order], data.y[order], data.name)
    problem = Logistic(data.x, data.y)
    start = time.process_time()
    run = Simulated(SIMULATED + 1).run(
        parameter_server, problem, sgd(0.5), clocks=CLOCKS, batch_size=BATCH, waiting=waiting
    )
    taken = time.process_time() - start
    assert sum(worker.clocks for worker in run.results[:-1]) == SIMULATED * CLOCKS
    assert problem.accuracy(run.results[0].w) > 0.8
    return taken


if __name__ == "__main__":
    main()
