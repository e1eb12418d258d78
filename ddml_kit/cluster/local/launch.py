"""Which way workers are started on this system."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from multiprocessing.connection import Connection

from ddml_kit.cluster.local.crew import Crew
from ddml_kit.cluster.local.worker import Task

FORKS = sys.platform == "linux"  # macOS's libraries do not survive a fork, Windows has none


def warm_up() -> None:
    """Have the server ready that workers are forked from; returns at once.

    It loads torch and NumPy meanwhile, so that the first run does not wait for them. Where workers
    are spawned there is nothing to get ready.
    """
    if FORKS:
        from ddml_kit.cluster.local.forked import ForkServer

        ForkServer.running()


def launch(task: Task, connections: Sequence[Connection]) -> Crew:
    """Processes that do the task, one a connection; they may still be starting."""
    if FORKS:
        from ddml_kit.cluster.local.forked import ForkedCrew

        return ForkedCrew(task, connections)
    from ddml_kit.cluster.local.spawned import SpawnedCrew

    return SpawnedCrew(task, connections)
