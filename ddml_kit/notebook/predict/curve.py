"""The widget in which a curve is drawn; its browser half is curve.js."""

from __future__ import annotations

from pathlib import Path

import anywidget
import traitlets


class CurveWidget(anywidget.AnyWidget):
    """Points at `x` whose heights `y`, from `low` to `high`, are dragged or moved by keys."""

    _esm = Path(__file__).with_name("curve.js")

    title = traitlets.Unicode().tag(sync=True)
    x = traitlets.List(traitlets.Float()).tag(sync=True)
    y = traitlets.List(traitlets.Float()).tag(sync=True)
    low = traitlets.Float().tag(sync=True)
    high = traitlets.Float().tag(sync=True)
    log_x = traitlets.Bool(False).tag(sync=True)
    x_title = traitlets.Unicode().tag(sync=True)
    y_title = traitlets.Unicode().tag(sync=True)
