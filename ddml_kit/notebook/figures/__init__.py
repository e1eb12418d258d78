"""Figures of runs, in one look. They draw what a run holds and compute nothing."""

from ddml_kit.notebook.figures.crowd import crowd
from ddml_kit.notebook.figures.curves import curves
from ddml_kit.notebook.figures.figure import Figure
from ddml_kit.notebook.figures.heat import heat
from ddml_kit.notebook.figures.histogram import histogram
from ddml_kit.notebook.figures.landscape import landscape
from ddml_kit.notebook.figures.lines import lines
from ddml_kit.notebook.figures.messages import messages
from ddml_kit.notebook.figures.moved import moved
from ddml_kit.notebook.figures.network import network
from ddml_kit.notebook.figures.neurons import neurons
from ddml_kit.notebook.figures.points import points
from ddml_kit.notebook.figures.terrain import terrain
from ddml_kit.notebook.figures.tiles import tiles
from ddml_kit.notebook.figures.timeline import timeline

__all__ = [
    "Figure",
    "crowd",
    "curves",
    "heat",
    "histogram",
    "landscape",
    "lines",
    "messages",
    "moved",
    "network",
    "neurons",
    "points",
    "terrain",
    "tiles",
    "timeline",
]
