"""Predictions: commit to one before the run, lay it over what happened, pool those of a class."""

from ddml_kit.notebook.predict.kinds import Choice, Curve, Number
from ddml_kit.notebook.predict.pool import pool
from ddml_kit.notebook.predict.question import Comparison, Question
from ddml_kit.notebook.predict.store import to_csv

__all__ = ["Choice", "Comparison", "Curve", "Number", "Question", "pool", "to_csv"]
