"""The clusters on which programs must do the same; a new one joins here."""

from __future__ import annotations

from ddml_kit.cluster import Processes, Simulated

CLUSTERS = [Simulated, Processes]
SIZES = [1, 2, 3, 5]
