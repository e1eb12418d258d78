"""Gradients clipped to a ball: around the last result, or around the origin.

Centred clipping: S. P. Karimireddy, L. He, M. Jaggi, "Learning from history for Byzantine robust
optimization", ICML 2021, arXiv 2012.10333: v <- v + mean of (x_i - v) min(1, tau / |x_i - v|). Its
proof wants v to start from the last result, which `CentredClipping` remembers, and the gradients to
be momenta of the workers, which is theirs to do. `centred_clipping` remembers nothing: from the
origin, where it starts unless told otherwise, it is norm clipping, iterated.

Norm clipping: Z. Sun, P. Kairouz, A. T. Suresh, H. B. McMahan, "Can you really backdoor federated
learning?", 2019, arXiv 1911.07963: the same around the origin, once.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch

from ddml_kit.aggregation import bounds
from ddml_kit.aggregation.gradients import Gradients, examined
from ddml_kit.aggregation.kernels import rows


def centred_clipping(
    gradients: Any, f: int = 0, *, radius: float, steps: int = 1, start: Any = None
) -> Any:
    """start plus the mean of the gradients' differences from it, each clipped to radius, (d,).

    n >= 2f + 1; proved for at most a tenth that lie (Karimireddy et al. 2021), with history.
    radius: tau, more than 0. steps: how often, each from what came of the one before. start: (d,),
    array or tensor; zero unless given.
    Raises what `examined` raises, and ValueError where radius or steps are not positive, start is
    not finite or not of shape (d,), or more than f gradients are not finite.
    """
    given = examined(gradients, f, bounds.CENTRED_CLIPPING).without_lies()
    if steps < 1:
        raise ValueError(f"steps must be 1 or more, got {steps}")
    v = beginning(start, given.rows.shape[1])
    for _ in range(steps):
        v = clipped(given, v, radius)
    return given.back(v.astype(given.rows.dtype))


class CentredClipping:
    """Centred clipping from the last result: a rule with memory, at first zero.

    radius, steps: as of `centred_clipping`, and so is what it raises; also ValueError where the
    gradients are no longer as long as they were. What is refused leaves the memory as it was.
    """

    def __init__(self, *, radius: float, steps: int = 1) -> None:
        self._radius, self._steps = radius, steps
        self._last: Any = None

    def __call__(self, gradients: Any, f: int = 0) -> Any:
        """The last result plus the mean of the clipped differences from it, (d,)."""
        result = centred_clipping(
            gradients, f, radius=self._radius, steps=self._steps, start=self._last
        )
        self._last = result.clone() if isinstance(result, torch.Tensor) else result.copy()
        return result


def norm_clipping(gradients: Any, f: int = 0, *, radius: float) -> Any:
    """The mean of the gradients, each shortened to radius where it is longer, (d,).

    n >= 2f + 1, though nothing is proved: f liars move it by 2 f radius / n at most.
    Raises what `examined` raises, and ValueError where radius is not positive or more than f are
    not finite.
    """
    given = examined(gradients, f, bounds.NORM_CLIPPING).without_lies()
    v = clipped(given, beginning(None, given.rows.shape[1]), radius)
    return given.back(v.astype(given.rows.dtype))


def clipped(given: Gradients, v: np.ndarray, radius: float) -> np.ndarray:
    """v plus the mean of the gradients' differences from it, clipped to radius, (d,) float64."""
    if not 0 < radius < math.inf:
        raise ValueError(f"radius must be positive and finite, got {radius}")
    squared = np.empty(given.n)
    rows.squared_from(given.rows, v, squared)
    with np.errstate(divide="ignore"):
        kept = np.minimum(1, radius / np.sqrt(squared)) / given.n
    out = np.empty(len(v))
    rows.weighted(given.rows, kept, out)
    return out + (1 - kept.sum()) * v


def beginning(start: Any, d: int) -> np.ndarray:
    """start as (d,) float64, zero where it is None."""
    if start is None:
        return np.zeros(d)
    if isinstance(start, torch.Tensor):
        start = start.detach().to("cpu", torch.float64).numpy()
    v = np.asarray(start, np.float64)
    if v.shape != (d,) or not np.isfinite(v).all():
        raise ValueError(f"start must be finite and of shape ({d},), got {v.shape}")
    return v
