"""A dashboard: knobs, runs that are kept, and what they look like."""

from ddml_kit.notebook.panel.panel import Panel
from ddml_kit.notebook.panel.plan import Plan
from ddml_kit.notebook.panel.runs import Kept

__all__ = ["Kept", "Panel", "Plan"]
