"""Answers that are programs: run on simulated ranks, judged by their results and their trace."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ddml_kit.cluster.comm import Comm
from ddml_kit.cluster.simulated import Simulated
from ddml_kit.cluster.trace import COLLECTIVES, KINDS
from ddml_kit.notebook.check.exercise import Observed


def observe_program(answer: Callable[..., Any], values: Sequence[Any]) -> Observed:
    """What answer(comm, values[comm.rank]) did with a rank for each value, and its messages.

    The value is the list of what the ranks returned. The cost: messages, and bytes in them. A
    program that calls a collective is told so, since those are what it should do without.
    Raises what the run raises: Deadlock, RankFailed.
    """

    def program(comm: Comm) -> Any:
        return answer(comm, values[comm.rank])

    run = Simulated(len(values)).run(program)
    used = [kind for kind in COLLECTIVES if len(run.trace.of(kind))]
    note = f"it calls {KINDS[used[0]]}: use send and recv alone" if used else ""
    return Observed(list(run.results), {"messages": run.messages, "bytes": run.bytes}, note)
