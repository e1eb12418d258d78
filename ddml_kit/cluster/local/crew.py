"""The processes of one run, however they were started, and why one of them ended."""

from __future__ import annotations

import os
import signal
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

NOT_STARTED = 1000  # as an exit code, with the number of the system's error added
SERVER_DIED = 999
LOST = 998  # nothing is known of it but that its connections have broken


class Crew(ABC):
    """What the watcher holds of the workers' processes."""

    @abstractmethod
    def waitables(self) -> Sequence[Any]:
        """What becomes readable when a worker has ended."""

    @abstractmethod
    def exits(self, ready: Any) -> Sequence[tuple[int, int]]:
        """Who has ended, now that this waitable is ready: (rank, exit code); negative a signal."""

    @abstractmethod
    def terminate(self, rank: int) -> None:
        """Ask `rank` to end itself: SIGTERM."""

    @abstractmethod
    def kill(self, rank: int) -> None:
        """End `rank`, which can't refuse: SIGKILL."""

    @abstractmethod
    def close(self) -> None:
        """Let go; workers that are still there are killed."""


def why(code: int) -> str:
    """The end of a worker that had not finished, in words that follow "rank 3 failed: "."""
    if code == SERVER_DIED:
        return "the server that workers are forked from was killed, and its workers with it"
    if code == LOST:
        return "its process died, or its connection broke"
    if code > NOT_STARTED:
        return f"its process could not be started: {os.strerror(code - NOT_STARTED)}"
    if code >= 0:
        return f"its process ended with exit code {code} before the program returned"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    causes = {
        "SIGKILL": "perhaps the system ran out of memory, or somebody ended it",
        "SIGTERM": "somebody ended it",
        "SIGSEGV": "compiled code went wrong",
        "SIGBUS": "compiled code went wrong, or memory that was mapped is no longer there",
        "SIGABRT": "compiled code gave up",
        "SIGILL": "compiled code is for another processor",
        "SIGFPE": "compiled code divided by zero",
    }
    cause = f" ({causes[name]})" if name in causes else ""
    return f"was killed by {name}{cause}"
