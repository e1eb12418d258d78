"""Vectors combined over send and recv alone, so that steps and bytes can be counted."""

from ddml_kit.collectives.ring import all_gather, reduce_scatter, ring

__all__ = ["all_gather", "reduce_scatter", "ring"]
