"""A figure that answers its knobs at once."""

from ddml_kit.notebook.live.live import Live, Shown

__all__ = ["Live", "Shown"]
