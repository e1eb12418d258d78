"""Which way workers are started on this system."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from multiprocessing.connection import Connection

from ddml_kit.cluster.errors import ClusterError
from ddml_kit.cluster.local.crew import Crew
from ddml_kit.cluster.local.guards import LOADING
from ddml_kit.cluster.local.worker import Task

FORKS = sys.platform == "linux"  # macOS's libraries do not survive a fork, Windows has none


def warm_up() -> None:
    """Have the server ready that workers are forked from; returns at once.

    It loads torch and NumPy meanwhile, so that the first run does not wait for them. Where workers
    are spawned there is nothing to get ready, nor in a worker that is loading its program.
    """
    if FORKS and not LOADING.get():
        from ddml_kit.cluster.local.forked import ForkServer

        ForkServer.running()


def launch(task: Task, connections: Sequence[Connection]) -> Crew:
    """Processes that do the task, one a connection; they may still be starting.

    Raises ClusterError in a worker that is still loading its program.
    """
    if LOADING.get():
        raise ClusterError(
            "a module that the program comes from starts workers when it is imported, and each of "
            'them imports it again: put that under if __name__ == "__main__"'
        )
    if FORKS:
        from ddml_kit.cluster.local.forked import ForkedCrew

        return ForkedCrew(task, connections)
    from ddml_kit.cluster.local.spawned import SpawnedCrew

    return SpawnedCrew(task, connections)
