"""The dashboards of the labs, each one call in a cell."""

from ddml_kit.notebook.play.lab00 import up_or_out
from ddml_kit.notebook.play.lab02 import ways_to_write

__all__ = ["up_or_out", "ways_to_write"]
