"""What is learned: data and a model, as loss and gradient of a flat vector.

TorchModule is imported when it is first asked for, since torch takes seconds to import.
"""

from typing import TYPE_CHECKING, Any

from ddml_kit.problems.csr import Rows
from ddml_kit.problems.data import Data, digits, library_counts, library_snippets, library_text
from ddml_kit.problems.images import load_cifar10, load_idx
from ddml_kit.problems.libsvm import load_libsvm
from ddml_kit.problems.logistic import Logistic
from ddml_kit.problems.problem import Batch, Problem
from ddml_kit.problems.quadratic import LeastSquares, Quadratic
from ddml_kit.problems.sharding import by_label, contiguous, dirichlet, shuffled
from ddml_kit.problems.sparse import Sparse
from ddml_kit.problems.synthetic import sparse_logistic

if TYPE_CHECKING:
    from ddml_kit.problems.torch_module import TorchModule

__all__ = [
    "Batch",
    "Data",
    "LeastSquares",
    "Logistic",
    "Problem",
    "Quadratic",
    "Rows",
    "Sparse",
    "TorchModule",
    "by_label",
    "contiguous",
    "digits",
    "dirichlet",
    "library_counts",
    "library_snippets",
    "library_text",
    "load_cifar10",
    "load_idx",
    "load_libsvm",
    "shuffled",
    "sparse_logistic",
]


def __getattr__(name: str) -> Any:
    if name != "TorchModule":
        raise AttributeError(f"module {__name__} has no attribute {name}")
    from ddml_kit.problems.torch_module import TorchModule

    return TorchModule
