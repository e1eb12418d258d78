"""The clusters on which programs must do the same; a new one joins here."""

from __future__ import annotations

from ddml_kit.cluster import Processes, Simulated, Torchrun

CLUSTERS = [Simulated, Processes, Torchrun]
SIZES = [1, 2, 3, 5]
