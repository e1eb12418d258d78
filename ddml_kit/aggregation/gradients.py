"""What every rule does first: look at its gradients, and leave out those that are plain lies.

A gradient with a value that is not finite (NaN, or an infinity) is a lie found out. It is left out,
and the rule goes on with n - 1 gradients of which f - 1 lie. So it is never spread, and is not
counted twice: for Krum it is the same as being infinitely far from all (as many nearest are summed,
n - f - 2), for Bulyan it is not. More than f of them are more liars than the rule was told of.
Where squares are needed, a float64 beyond 1e140 counts as an infinity.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from ddml_kit.aggregation.bounds import Bound
from ddml_kit.aggregation.kernels import rows

# gradients (n, d), f -> (d,); settings go in by functools.partial. A rule with memory is an object
# that can be copied: whoever trains with it uses a copy of his own.
Rule = Callable[[Any, int], Any]


@dataclass(frozen=True)
class Gradients:
    """n gradients fit to be computed with, and the way back to what they were."""

    rows: np.ndarray  # (n, d) float32 or float64, C-contiguous; not to be changed
    f: int  # how many of them may lie
    back: Callable[[np.ndarray], Any]  # (d,) -> the same of the caller's kind, dtype and device

    @property
    def n(self) -> int:
        return len(self.rows)

    def weighted(self, weights: np.ndarray) -> np.ndarray:
        """The sum of weights[i] times gradient i, (d,), in float64 and then rounded."""
        out = np.empty(self.rows.shape[1], self.rows.dtype)
        rows.weighted(self.rows, np.asarray(weights, np.float64), out)
        return out

    def without_lies(self) -> Gradients:
        """Those that are finite, and f less by as many as are not.

        Raises ValueError where more than f are not finite.
        """
        finite = np.empty(self.n, bool)
        rows.finite(self.rows, finite)
        if finite.all():
            return self
        lies = int(np.count_nonzero(~finite))
        if lies > self.f:
            raise ValueError(
                f"at most f gradients may lie, got {lies} that are not finite with f={self.f}"
            )
        return Gradients(self.rows[finite], self.f - lies, self.back)


def examined(gradients: Any, f: int, bound: Bound) -> Gradients:
    """The gradients as rows, once their shape, their kind and f are seen to be right.

    gradients: (n, d) array or tensor, or n vectors of the same length. What is not float32 or
    float64 is computed with as float32, and on the processor wherever it lies.
    Raises TypeError where they are no floating-point numbers, and ValueError where their lengths
    differ, where there are none or d = 0, where f is negative, and where n is too small for f.
    """
    if isinstance(gradients, list | tuple):
        gradients = stacked(gradients)
    if isinstance(gradients, torch.Tensor):
        values, back = of_tensor(gradients)
    elif isinstance(gradients, np.ndarray):
        values, back = of_array(gradients)
    else:
        raise TypeError(f"gradients must be arrays or tensors, got {type(gradients).__name__}")
    if values.ndim != 2 or 0 in values.shape:
        raise ValueError(f"gradients must have shape (n, d), none of them 0, got {values.shape}")
    bound.check(len(values), f)
    return Gradients(np.ascontiguousarray(values), int(f), back)


def stacked(vectors: Sequence[Any]) -> Any:
    """The vectors as rows, (n, d)."""
    if not vectors:
        raise ValueError("a rule needs gradients, got none")
    lengths = sorted({len(vector) for vector in vectors})
    if len(lengths) > 1:
        raise ValueError(f"gradients must be of one length, got {lengths}")
    if isinstance(vectors[0], torch.Tensor):
        return torch.stack(tuple(vectors))
    return np.stack([np.asarray(vector) for vector in vectors])


def of_array(gradients: np.ndarray) -> tuple[np.ndarray, Callable[[np.ndarray], Any]]:
    """The rows of an array, and the way back to its dtype."""
    dtype = gradients.dtype
    if dtype.kind != "f":
        raise TypeError(f"gradients must be floating-point numbers, got {dtype}")
    used = dtype if dtype in (np.float32, np.float64) else np.dtype(np.float32)
    return gradients.astype(used, copy=False), lambda vector: vector.astype(dtype, copy=False)


def of_tensor(gradients: torch.Tensor) -> tuple[np.ndarray, Callable[[np.ndarray], Any]]:
    """The rows of a tensor, and the way back to its dtype and device."""
    dtype, device = gradients.dtype, gradients.device
    if not dtype.is_floating_point:
        raise TypeError(f"gradients must be floating-point numbers, got {dtype}")
    used = dtype if dtype in (torch.float32, torch.float64) else torch.float32
    values = gradients.detach().to("cpu", used).numpy()
    return values, lambda vector: torch.from_numpy(vector).to(device, dtype)
