"""Parameter servers of torch.distributed.rpc and of Ray, each with four workers that stay.

They take long to start, so `benchmarks.parameter_server` starts each once. Then a line `workers
size` on standard input asks for the seconds of one round trip, and a line says them. A round trip
is one call: a worker sends a gradient, the server folds it in and returns its vector.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from benchmarks.message_peers import END, ONE_THREAD, timed

MOST = 4  # workers
PATIENCE = 20  # seconds that an orderly end may take
ANSWER = "seconds "  # begins a line that is one: Ray prints others
MODULE = [sys.executable, "-m", "benchmarks.parameter_server_peers"]
QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "TP_SOCKET_IFNAME": "lo", "PYTHONWARNINGS": "ignore"}

Peer = Callable[[int, int], float]  # (workers, bytes) -> seconds


def torch_rpc(stack: contextlib.ExitStack) -> Peer | None:
    """A server and workers on torch.distributed.rpc; None where there is no torch."""
    if importlib.util.find_spec("torch") is None:
        return None
    store = os.path.join(stack.enter_context(tempfile.TemporaryDirectory()), "store")
    ranks = range(MOST + 1)
    return _crew(stack, [[*MODULE, "torch_rpc", str(k), store] for k in ranks], restless=True)


def ray(stack: contextlib.ExitStack) -> Peer | None:
    """A server and workers that are Ray's actors; None where there is no Ray."""
    if importlib.util.find_spec("ray") is None:
        return None
    return _crew(stack, [[*MODULE, "ray"]])


def _crew(
    stack: contextlib.ExitStack, commands: Sequence[Sequence[str]], restless: bool = False
) -> Peer:
    """Start these commands; the first of them answers, the others end when it does.

    restless: they take processor time even if they have nothing to do, as TensorPipe does, which
    polls its shared memory; so they are stopped while it is not their turn.
    """
    crew = [
        stack.enter_context(
            subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                env={**os.environ, **ONE_THREAD, **QUIET},
            )
        )
        for command in commands
    ]
    asked, answers = crew[0].stdin, crew[0].stdout
    assert asked is not None
    assert answers is not None

    def signal_all(number: int) -> None:
        for process in crew if restless else ():
            process.send_signal(number)

    def say(text: str) -> None:
        signal_all(signal.SIGCONT)
        asked.write(f"{text}\n")
        asked.flush()

    def ask(workers: int, size: int) -> float:
        say(f"{workers} {size}")
        for line in answers:
            if line.startswith(ANSWER):
                signal_all(signal.SIGSTOP)
                return float(line.removeprefix(ANSWER))
        raise RuntimeError(f"{' '.join(commands[0][2:])} has ended without an answer")

    def end() -> None:
        with contextlib.suppress(BrokenPipeError):
            say(END)
        for process in crew:
            try:
                process.wait(PATIENCE)
            except subprocess.TimeoutExpired:  # the others wait for one that has failed
                process.kill()

    stack.callback(end)
    return ask


def _answer(measure: Callable[[int, int], float]) -> None:
    """Answer what is asked on standard input until there is no more."""
    for line in sys.stdin:
        if line.strip() == END:
            return
        workers, size = map(int, line.split())
        print(f"{ANSWER}{measure(workers, size)}", flush=True)


# ---------------------------------------------------------------------------- torch's processes


class Held:
    """The vector of torch's server, how often it was changed, and a lock: calls are in threads."""

    w: Any = None
    calls = 0
    lock = threading.Lock()


def push_and_pull(gradient: Any) -> Any:
    """Fold it in; the vector itself, not a copy, is what torch then sends."""
    with Held.lock:
        Held.w.sub_(gradient)
        Held.calls += 1
    return Held.w


def trips_by_rpc(size: int) -> float:
    """Seconds of one round trip of this worker."""
    import torch
    from torch.distributed import rpc

    gradient = torch.ones(size // 4)
    return timed(lambda: rpc.rpc_sync("rank0", push_and_pull, (gradient,)), size)


def serve_torch(rank: int, store: str) -> None:
    """A rank: 0 is the server, and answers; the others are workers."""
    import torch
    from torch.distributed import rpc

    torch.set_num_threads(1)
    options = rpc.TensorPipeRpcBackendOptions(init_method=f"file://{store}", rpc_timeout=600)
    rpc.init_rpc(f"rank{rank}", rank=rank, world_size=MOST + 1, rpc_backend_options=options)

    def measure(workers: int, size: int) -> float:
        Held.w, Held.calls = torch.zeros(size // 4), 0
        trips = [rpc.rpc_async(f"rank{1 + k}", trips_by_rpc, (size,)) for k in range(workers)]
        taken = [trip.wait() for trip in trips]
        assert (Held.w == -Held.calls).all(), f"{Held.calls} gradients, but w is {Held.w}"
        return statistics.mean(taken)

    if rank == 0:
        _answer(measure)
    rpc.shutdown()


# ------------------------------------------------------------------------------- Ray's actors


class Server:
    def __init__(self, size: int) -> None:
        self._w = np.zeros(size // 4, np.float32)
        self._calls = 0

    def push_and_pull(self, gradient: np.ndarray) -> np.ndarray:
        self._w -= gradient
        self._calls += 1
        return self._w

    def check(self) -> None:
        assert (self._w == -self._calls).all(), f"{self._calls} gradients, but w is {self._w}"


class Worker:
    def trips(self, server: Any, size: int) -> float:
        """Seconds of one round trip of this worker."""
        import ray

        gradient = np.ones(size // 4, np.float32)
        return timed(lambda: ray.get(server.push_and_pull.remote(gradient)), size)


def serve_ray() -> None:
    """The driver, which starts the actors and answers."""
    import ray

    ray.init(num_cpus=MOST + 2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    crew = [ray.remote(Worker).remote() for _ in range(MOST)]

    def measure(workers: int, size: int) -> float:
        server = ray.remote(Server).remote(size)
        taken = ray.get([worker.trips.remote(server, size) for worker in crew[:workers]])
        ray.get(server.check.remote())
        ray.kill(server)
        return statistics.mean(taken)

    _answer(measure)
    ray.shutdown()


if __name__ == "__main__":
    # by its name, so that the ranks find the same functions, and the same `Held`, in each other
    from benchmarks import parameter_server_peers as peers

    if sys.argv[1] == "ray":
        peers.serve_ray()
    else:
        peers.serve_torch(int(sys.argv[2]), sys.argv[3])
