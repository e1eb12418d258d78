"""What the watcher of a run has of ranks that are processes elsewhere; on rank 0.

The watcher is that of local workers (local/watch.py). A Desk stands for the pipe to a rank, and
Away for the processes: both are fed by frames and by the ends of connections.
"""

from __future__ import annotations

import socket
import threading
from collections import deque
from collections.abc import Callable, Sequence

from ddml_kit.cluster.local.crew import Crew

# What a frame between ranks and watcher is about.
START, COMMAND, INTERRUPT, KILL, OUTCOME, TIME = range(6)  # from rank 0, and the time that it has
NEWS, VALUE, REPORT, PLEASE_STOP, ASK_TIME = range(6, 11)  # to it
Tell = Callable[[int, int, bytes], None]  # (rank, about, content)


class Bell:
    """Becomes readable, as a selector sees it, once for each ring."""

    def __init__(self) -> None:
        self._ear, self._clapper = socket.socketpair()

    def ring(self) -> None:
        self._clapper.send(b"!")

    def hear(self) -> None:
        """Take one ring away; waits for it."""
        self._ear.recv(1)

    def fileno(self) -> int:
        return self._ear.fileno()

    def close(self) -> None:
        self._ear.close()
        self._clapper.close()


class Desk:
    """Stands for the connection with one rank; `put` brings what that one sends."""

    def __init__(self, rank: int, tell: Tell) -> None:
        self._rank, self._tell = rank, tell
        self._bell = Bell()
        self._messages: deque[bytes] = deque()
        self.value = b""  # what the rank's program returned or raised, as it came

    def put(self, message: bytes, *, is_value: bool = False) -> None:
        if is_value:
            self.value = message
        self._messages.append(message)
        self._bell.ring()

    def recv_bytes(self) -> bytes:
        self._bell.hear()
        return self._messages.popleft()

    def send_bytes(self, message: bytes) -> None:
        self._tell(self._rank, START, message)

    def poll(self) -> bool:
        return bool(self._messages)

    def fileno(self) -> int:
        return self._bell.fileno()

    def close(self) -> None:
        self._bell.close()


class Away(Crew):
    """The processes of a run that torchrun has started: they are asked, not killed."""

    def __init__(self, size: int, tell: Tell) -> None:
        self._tell = tell
        self._bell = Bell()
        self._gone: deque[tuple[int, int]] = deque()
        self._left = set(range(size))
        self._sorting = threading.Lock()

    def gone(self, rank: int, code: int) -> None:
        """A rank's program is over (0), or the connection with it has broken (LOST), whichever
        comes first.
        """
        with self._sorting:
            if rank in self._left:
                self._left.discard(rank)
                self._gone.append((rank, code))
                self._bell.ring()

    def waitables(self) -> Sequence[Bell]:
        return [self._bell]

    def exits(self, ready: Bell) -> Sequence[tuple[int, int]]:
        ready.hear()
        return [self._gone.popleft()]

    def terminate(self, rank: int) -> None:
        self._tell(rank, INTERRUPT, b"")

    def kill(self, rank: int) -> None:
        self._tell(rank, KILL, b"")

    def close(self) -> None:
        self._bell.close()
