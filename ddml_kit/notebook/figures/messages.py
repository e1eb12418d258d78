"""Who got which message when: a row a worker, a bar a message, in the colour of where it set out.

A message that is passed on keeps its colour: it set out where its chain did, at the rank that had
received nothing before. Round a ring that is the chunk, as each rank sets out with another one. The
picture is a space-time diagram as in L. Lamport, "Time, Clocks, and the Ordering of Events in a
Distributed System", CACM 21(7), 1978, but with each message drawn at its receiver.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import plotly.graph_objects as go

from ddml_kit.cluster.run import Run, human_bytes
from ddml_kit.cluster.trace import RECEIVE, SEND
from ddml_kit.notebook.figures import style
from ddml_kit.notebook.figures.activity import match_messages
from ddml_kit.notebook.figures.figure import Figure
from ddml_kit.notebook.units import unit_for

MOST = 16  # workers that can be told apart by a number in a bar


class Arrivals(NamedTuple):
    """The messages of a run as they came, six arrays of one length; sorted by rank, then stop.

    source, rank: from whom to whom. origin: the rank at which the chain of messages set out that
    this one belongs to. start, stop: seconds; when the first of it could come in, as it had been
    sent and the one before was in, and when all of it was there.
    """

    source: np.ndarray
    rank: np.ndarray
    origin: np.ndarray
    start: np.ndarray
    stop: np.ndarray
    bytes: np.ndarray


def messages(run: Run) -> Figure:
    """What each worker received when; the number in a bar is the worker at which it set out.

    Raises ValueError for a run of more than 16 workers, or without messages.
    """
    if run.size > MOST:
        raise ValueError(f"messages shows a run of at most {MOST} workers, got {run.size}")
    got = arrivals(run)
    if not len(got.rank):
        raise ValueError("messages needs a run in which messages were received, got one without")
    unit = unit_for(float(got.stop.max()))
    plot = go.Figure(
        layout={
            "template": style.TEMPLATE,
            "height": run.size * 38 + 90,
            "barmode": "overlay",
            "bargap": 0.12,
            "showlegend": False,
            "xaxis": {"title": {"text": f"{unit.name} ({style.BADGES[run.badge]})"}},
            "yaxis": {
                "title": {"text": "to worker"},
                "range": [run.size - 0.5, -0.5],
                "showgrid": False,
                "tickvals": list(range(run.size)),
            },
        }
    )
    for origin in np.unique(got.origin):
        chosen = got.origin == origin
        plot.add_bar(
            orientation="h",
            y=got.rank[chosen],
            base=got.start[chosen] * unit.scale,
            x=(got.stop - got.start)[chosen] * unit.scale,
            text=[str(origin)] * int(chosen.sum()),
            textposition="inside",
            insidetextanchor="middle",
            textangle=0,
            marker={
                "color": style.SERIES[origin % len(style.SERIES)],
                "line": {"color": "white", "width": 1},
            },
            customdata=[
                f"from {source}, {human_bytes(nbytes)}"
                for source, nbytes in zip(got.source[chosen], got.bytes[chosen], strict=True)
            ],
            hovertemplate=f"%{{customdata}}; set out at {origin}<extra></extra>",
        )
    return Figure(plot, _words(got), style.badge_text(run))


def arrivals(run: Run) -> Arrivals:
    """The messages between different ranks of a run that were received."""
    events = run.trace.events
    events = events[np.isin(events["kind"], (SEND, RECEIVE)) & (events["rank"] != events["peer"])]
    moment = np.where(events["kind"] == SEND, events["start"], events["stop"])
    events = events[np.lexsort((moment, events["rank"]))]  # each rank's, as it did them
    sent = match_messages(events)
    received = np.flatnonzero(sent >= 0)
    by_send = np.full(len(events), -1)
    by_send[sent[received]] = received
    origin = _origins(events, sent)[received]
    rank, stop = events["rank"][received], events["stop"][received]
    before = np.where(np.append(-1, rank[:-1]) == rank, np.append(0.0, stop[:-1]), 0.0)
    start = np.maximum(events["start"][sent[received]], before)
    return Arrivals(
        *(events["peer"][received], rank, origin, np.minimum(start, stop), stop),
        events["bytes"][sent[received]],
    )


def _origins(events: np.ndarray, sent: np.ndarray) -> np.ndarray:
    """The rank at which the chain of each received message set out; events by rank, in order.

    sent: the send of each receive, -1 for none.
    """
    at = np.arange(len(events))
    last = np.maximum.accumulate(np.where(sent >= 0, at, -1))  # the last receive up to here
    last = np.where((last >= 0) & (events["rank"][last] == events["rank"]), last, -1)
    passed_on = np.where(sent >= 0, last[sent], -1)  # the receive before a receive's send
    root = np.where(passed_on >= 0, passed_on, at)
    for _ in range(len(events).bit_length()):
        root = root[root]
    return events["peer"][root]


def _words(got: Arrivals) -> str:
    """What each worker received, by where it set out."""
    rows = [
        f"worker {rank}: " + ", ".join(map(str, got.origin[got.rank == rank]))
        for rank in np.unique(got.rank)
    ]
    return f"Where the messages to each worker set out, in order. {'; '.join(rows)}."
