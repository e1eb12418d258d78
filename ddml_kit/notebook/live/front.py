"""The widget of a live figure: as that of a dashboard, without runs.

The page sends the knobs as they stand and waits for the answer to them before it sends the next, so
that a slow machine skips positions of a slider and never lags behind it.
"""

from __future__ import annotations

from pathlib import Path

import anywidget
import traitlets
from plotly.offline import get_plotlyjs

from ddml_kit.notebook.panel.front import PARTS, Front


class LiveFront(anywidget.AnyWidget):
    """State of the page. figure: as JSON text."""

    _esm = PARTS + (Path(__file__).parent / "live.js").read_text(encoding="utf8")
    _css = Front._css

    plotlyjs = traitlets.Unicode(get_plotlyjs()).tag(sync=True)
    spec = traitlets.Dict().tag(sync=True)  # knobs, presets, title: fixed
    settings = traitlets.Dict().tag(sync=True)  # values of the knobs; turn: of setting them here
    state = traitlets.Dict().tag(sync=True)  # answers, alert; sent: which message is answered
    figure = traitlets.Unicode("null").tag(sync=True)
