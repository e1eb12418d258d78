"""The widget of a dashboard: what Python tells the page, and what the page tells Python.

One widget with native inputs, which a keyboard and a screen reader understand, and with the
plotly.js that the installed plotly brings: no network, and its figures keep the width of the page.
Python owns the state. The page only sends what was pressed, as messages, so that it never writes
to a trait while the thread of a run does.
"""

from __future__ import annotations

from pathlib import Path

import anywidget
import traitlets
from plotly.offline import get_plotlyjs

_HERE = Path(__file__).parent
PARTS = (_HERE / "parts.js").read_text(encoding="utf8")  # knobs and figures, for any such widget


class Front(anywidget.AnyWidget):
    """State of the page. curve, timeline: figures as JSON text, "null" for none."""

    _esm = PARTS + (_HERE / "front.js").read_text(encoding="utf8")
    _css = (_HERE / "front.css").read_text(encoding="utf8")

    plotlyjs = traitlets.Unicode(get_plotlyjs()).tag(sync=True)
    spec = traitlets.Dict().tag(sync=True)  # knobs, presets, value: fixed
    settings = traitlets.Dict().tag(sync=True)  # values of the knobs; turn: of setting them here
    state = traitlets.Dict().tag(sync=True)  # buttons, progress, messages, answers, runs
    curve = traitlets.Unicode("null").tag(sync=True)
    live = traitlets.Dict().tag(sync=True)  # x, y, line of the run under way, or empty
    timeline = traitlets.Unicode("null").tag(sync=True)
