"""Ranks as plain processes on one Wiring, without the launcher; for the transport's own tests."""

from __future__ import annotations

import functools
import multiprocessing
import pickle
import time
from collections.abc import Callable
from multiprocessing.connection import Connection, wait
from typing import Any

import cloudpickle

from ddml_kit.cluster.comm import Comm
from ddml_kit.cluster.local.endpoint import LocalEndpoint
from ddml_kit.cluster.local.wiring import Wiring
from ddml_kit.cluster.trace import Trace

PATIENCE = 60  # seconds after which a test that hangs is ended


class Ranks:
    """Processes that run f(comm, *args), one a rank. For `with`, which leaves none behind."""

    def __init__(self, size: int, f: Callable[..., Any], *args: Any, **settings: Any) -> None:
        self.wiring = Wiring.create(size)
        context = multiprocessing.get_context("forkserver")
        call = cloudpickle.dumps((f, args, {"seed": 0, "slowdowns": (), "paced": False} | settings))
        pipes = [context.Pipe(duplex=False) for _ in range(size)]
        self.processes = [
            context.Process(target=_live, args=(self.wiring, rank, call, time.monotonic(), end))
            for rank, (_, end) in enumerate(pipes)
        ]
        for process in self.processes:
            process.start()
        for _, end in pipes:
            end.close()
        self._ends: list[Connection] = [end for end, _ in pipes]
        self.emitted: list[Any] = []
        self.traces: dict[int, Trace] = {}

    def __enter__(self) -> Ranks:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self.processes:
            process.kill()
            process.join()
            process.close()
        for end in self._ends:
            end.close()
        self.wiring.close()

    def results(self) -> list[Any]:
        """What each rank returned, or the error it raised; EOFError for one that was killed."""
        found: dict[int, Any] = {}
        deadline = time.monotonic() + PATIENCE
        while len(found) < len(self._ends):
            pending = [end for rank, end in enumerate(self._ends) if rank not in found]
            ready = wait(pending, max(0.0, deadline - time.monotonic()))
            assert ready, f"ranks {sorted(found)} have ended, the others hang"
            for end in ready:
                rank = self._ends.index(end)
                try:
                    kind, content = pickle.loads(end.recv_bytes())
                except EOFError as error:
                    found[rank] = error
                    continue
                if kind == "emitted":
                    self.emitted.append(content)
                else:
                    found[rank], self.traces[rank] = content
        return [found[rank] for rank in range(len(found))]

    def said(self, rank: int) -> Any:
        """What the rank has emitted next: a way to know how far it has come."""
        assert self._ends[rank].poll(PATIENCE), f"rank {rank} hangs"
        return pickle.loads(self._ends[rank].recv_bytes())[1]


def run(size: int, f: Callable[..., Any], *args: Any, **settings: Any) -> list[Any]:
    """What f(comm, *args) returned on each rank. Raises the first error."""
    with Ranks(size, f, *args, **settings) as ranks:
        results = ranks.results()
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return results


def _live(wiring: Wiring, rank: int, call: bytes, started: float, end: Connection) -> None:
    f, args, settings = pickle.loads(call)

    def send(kind: str, content: Any) -> None:
        end.send_bytes(cloudpickle.dumps((kind, content)))

    endpoint = LocalEndpoint(
        wiring, rank, started=started, emit=functools.partial(send, "emitted"), **settings
    )
    try:
        result = f(Comm(endpoint), *args)
        wiring.mark_finished(rank)
    except BaseException as error:
        result = error
    send("result", (result, endpoint.recorder.trace()))
