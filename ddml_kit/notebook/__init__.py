"""What a lab shows: dashboard, figures, predictions, checks, source."""

try:
    import anywidget  # noqa: F401
    import plotly  # noqa: F401
except ImportError as error:
    raise ImportError(
        f"ddml_kit.notebook needs {error.name}, which comes with: pip install 'ddml_kit[labs]'"
    ) from error

from ddml_kit.cluster.processes import warm_up
from ddml_kit.notebook.dashboard import dashboard
from ddml_kit.notebook.figures import (
    Figure,
    crowd,
    curves,
    heat,
    histogram,
    landscape,
    lines,
    messages,
    moved,
    network,
    neurons,
    points,
    terrain,
    tiles,
    timeline,
)
from ddml_kit.notebook.knobs import Choice, Slider, Toggle
from ddml_kit.notebook.live import Live, Shown
from ddml_kit.notebook.machine import Facts, machine
from ddml_kit.notebook.panel import Kept, Panel
from ddml_kit.notebook.panel.models import curve_of_all
from ddml_kit.notebook.saved import show_run
from ddml_kit.notebook.source import Source, source
from ddml_kit.notebook.units import count_text, seconds_text, seconds_to

__all__ = [
    "Choice",
    "Facts",
    "Figure",
    "Kept",
    "Live",
    "Panel",
    "Shown",
    "Slider",
    "Source",
    "Toggle",
    "count_text",
    "crowd",
    "curve_of_all",
    "curves",
    "dashboard",
    "heat",
    "histogram",
    "landscape",
    "lines",
    "machine",
    "messages",
    "moved",
    "network",
    "neurons",
    "points",
    "seconds_text",
    "seconds_to",
    "show_run",
    "source",
    "terrain",
    "tiles",
    "timeline",
]

warm_up()  # while the learner reads, so that the first run does not wait for it
