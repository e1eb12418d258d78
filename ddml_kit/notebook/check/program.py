"""Answers that are programs: run on simulated ranks, judged by their results and their trace."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ddml_kit.cluster.comm import Comm
from ddml_kit.cluster.simulated import Simulated
from ddml_kit.notebook.check.exercise import Observed

# For `Exercise.without`: all that ranks can tell each other by, but for messages.
SEND_AND_RECV_ALONE: Mapping[Callable[..., Any], str] = dict.fromkeys(
    (Comm.all_reduce, Comm.all_gather, Comm.broadcast, Comm.barrier, Comm.shared, Comm.lock),
    "use send and recv alone",
)


def observe_program(answer: Callable[..., Any], values: Sequence[Any]) -> Observed:
    """What answer(comm, values[comm.rank]) did with a rank for each value, and its messages.

    The value is the list of what the ranks returned. The cost: messages, and bytes in them.
    Raises what the run raises: Deadlock, RankFailed.
    """

    def program(comm: Comm) -> Any:
        return answer(comm, values[comm.rank])

    run = Simulated(len(values)).run(program)
    return Observed(list(run.results), {"message": run.messages, "byte": run.bytes})
