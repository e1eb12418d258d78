"""What is learned: data and a model, as loss and gradient of a flat vector."""

from ddml_kit.problems.csr import Rows
from ddml_kit.problems.data import Data
from ddml_kit.problems.logistic import Logistic
from ddml_kit.problems.problem import Batch, Problem
from ddml_kit.problems.sparse import Sparse
from ddml_kit.problems.synthetic import sparse_logistic

__all__ = ["Batch", "Data", "Logistic", "Problem", "Rows", "Sparse", "sparse_logistic"]
