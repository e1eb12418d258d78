"""What is learned: data and a model, as loss and gradient of a flat vector."""

from ddml_kit.problems.problem import Batch, Problem, Sparse

__all__ = ["Batch", "Problem", "Sparse"]
