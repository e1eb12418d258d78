"""Ranks that the parent starts as processes of this machine, and that find each other by gloo.

They are started, watched and ended as those of `Processes` are (local/), but share no memory: their
end of a run is the same as under torchrun. The addresses of the ranks go through a file without a
name, as torch's FileStore; commands come through the pipe on which a worker reports.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import tempfile
import threading
from collections.abc import Sequence
from multiprocessing import reduction
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Any

from ddml_kit.cluster.distributed.reports import Command, Reins
from ddml_kit.cluster.local.system import MEMFD
from ddml_kit.cluster.local.worker import Seat, Task

if TYPE_CHECKING:
    from ddml_kit.cluster.distributed.endpoint import TorchEndpoint

LOOPBACK = "127.0.0.1"


class File:
    """A file that ranks share for as long as someone has it. Picklable while a process starts."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._descriptor, self._path = -1, ""
        if MEMFD:
            self._descriptor = os.memfd_create("ddml_kit")
        else:
            descriptor, self._path = tempfile.mkstemp(prefix="ddml_kit")
            os.close(descriptor)

    @property
    def path(self) -> str:
        """Where this process can open it."""
        return self._path or f"/proc/self/fd/{self._descriptor}"

    def close(self) -> None:
        """Let go of it in the process that has made it."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
        self._descriptor = -1
        if self._path:
            with contextlib.suppress(OSError):
                os.remove(self._path)

    def __getstate__(self) -> tuple[int, Any, str]:
        shared = None if self._path else reduction.DupFd(self._descriptor)
        return self.size, shared, self._path

    def __setstate__(self, state: tuple[int, Any, str]) -> None:
        self.size, shared, self._path = state
        self._descriptor = -1 if shared is None else shared.detach()


class Pipes(Reins):
    """The watcher's hold of workers: through their pipes. In a worker, the file alone is left."""

    def __init__(self, file: File, connections: Sequence[Connection] = ()) -> None:
        super().__init__(file.size, self._send)
        self.file, self._connections = file, connections

    def __reduce__(self) -> Any:
        return Pipes, (self.file,)

    def _send(self, rank: int, command: Command) -> None:
        with contextlib.suppress(OSError):  # it has ended
            self._connections[rank].send_bytes(pickle.dumps(command))

    def close(self) -> None:
        self.file.close()


class TorchTask(Task):
    """`wiring` is Pipes."""

    MODULES = ("ddml_kit.cluster.distributed.endpoint",)

    def seat(self, rank: int, connection: Connection) -> Seat:
        return TorchSeat(self.wiring.file, rank, connection)


class TorchSeat(Seat):
    """A rank's place among the others: connections with all of them."""

    def __init__(self, file: File, rank: int, connection: Connection) -> None:
        self._file, self._rank, self._connection = file, rank, connection
        self._endpoint: TorchEndpoint | None = None

    def enter(self) -> None:
        """Connect with all; waits for them."""
        from torch.distributed import FileStore

        from ddml_kit.cluster.distributed.device import device_of
        from ddml_kit.cluster.distributed.fabric import Fabric
        from ddml_kit.cluster.distributed.groups import Groups

        store = FileStore(self._file.path, self._file.size)
        groups = Groups(store, self._rank, self._file.size, LOOPBACK)
        self._device = device_of(groups, self._rank)
        self._fabric = Fabric(groups)
        # commands come through the pipe, and the parent sees who has ended and who has died
        self._fabric.listen(lambda source, frame: None, lambda rank: None, lambda rank: None)

    def endpoint(self, **options: Any) -> TorchEndpoint:
        from ddml_kit.cluster.distributed.endpoint import TorchEndpoint

        self._endpoint = TorchEndpoint(self._fabric, device=self._device, **options)
        threading.Thread(target=self._obey, args=(self._endpoint,), daemon=True).start()
        return self._endpoint

    def finish(self) -> None:
        """The others are told by `leave`."""

    def leave(self, how: str) -> None:
        """Go when all others' programs are over, too."""
        if self._endpoint is not None:  # else the end of the process tells them
            self._endpoint.leave(how)
            self._fabric.close()

    def _obey(self, endpoint: TorchEndpoint) -> None:
        with contextlib.suppress(OSError, EOFError):
            while True:
                endpoint.obey(pickle.loads(self._connection.recv_bytes()))
