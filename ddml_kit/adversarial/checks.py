"""What the attacks refuse, in a sentence with the rule and the value."""

from __future__ import annotations

import math
import operator
from typing import Any

import numpy as np
import torch

from ddml_kit.adversarial.norms import Bounds


def check_mode(model: Any) -> None:
    """Raises ValueError if a part of the model is in training mode."""
    if not isinstance(model, torch.nn.Module):
        return
    for name, part in model.named_modules():
        if part.training:
            where = f"its part {name} ({type(part).__name__})" if name else type(part).__name__
            raise ValueError(
                "an attack needs a model in evaluation mode (call model.eval()), got "
                f"{where} in training mode"
            )


def check_bounds(bounds: Bounds) -> None:
    """Raises ValueError unless they are two numbers, the first below the second."""
    try:
        low, high = bounds
        in_order = bool(low < high)
    except (TypeError, ValueError):
        raise ValueError(f"bounds are (least, greatest), two numbers, got {bounds!r}") from None
    if not in_order:
        raise ValueError(f"bounds are (least, greatest), the first below, got ({low}, {high})")


def check_eps(eps: float) -> None:
    """Raises ValueError for a radius that is negative or not finite, TypeError for no number."""
    if not 0 <= real(eps, "eps") < math.inf:
        raise ValueError(f"eps must be 0 or more and finite, got {eps}")


def check_steps(step: float, steps: int) -> None:
    """Raises ValueError for a step that is not positive, or a negative number of steps."""
    if not 0 < real(step, "step") < math.inf:
        raise ValueError(f"step must be above 0 and finite, got {step}")
    check_count(steps, "steps", least=0)


def check_count(count: int, what: str, least: int = 1) -> None:
    """Raises ValueError for a number below the least, TypeError for no whole number."""
    try:
        operator.index(count)
    except TypeError:
        raise TypeError(f"{what} must be a whole number, got {count!r}") from None
    if count < least:
        raise ValueError(f"{what} must be {least} or more, got {count}")


def real(value: float, what: str) -> float:
    """The number as a float. Raises TypeError for what is none."""
    if not isinstance(value, str | bytes):  # which float() would read
        try:
            return float(value)
        except (TypeError, ValueError, RuntimeError):
            pass
    raise TypeError(f"{what} must be a number, got {value!r}")


def as_images(x: Any, bounds: Bounds) -> torch.Tensor:
    """The images (n, ...) as a tensor; an array is shared or copied, never written.

    Raises ValueError for a value outside the bounds, TypeError for what are no float images.
    """
    check_bounds(bounds)
    if isinstance(x, np.ndarray):
        x = torch.from_numpy(x if x.flags.writeable and x.flags.c_contiguous else x.copy())
    if not isinstance(x, torch.Tensor) or not x.is_floating_point():
        kind = x.dtype if isinstance(x, torch.Tensor) else type(x).__name__
        raise TypeError(f"images must be an array or tensor of floats, got {kind}")
    if x.ndim < 2:
        raise ValueError(f"images are (n, ...), one a row, got the shape {tuple(x.shape)}")
    low, high = bounds
    outside = ~((x >= low) & (x <= high))  # NaN is outside
    if outside.any():
        raise ValueError(
            f"images must lie within their bounds ({low:g}, {high:g}), got "
            f"{x[outside][0].item():g} and {int(outside.sum()) - 1} other such values"
        )
    return x.detach()


def as_labels(y: Any, n: int) -> torch.Tensor:
    """The labels, (n,) int64. Raises ValueError for another number, or for a negative one."""
    if isinstance(y, np.ndarray):
        y = torch.from_numpy(y.copy())
    y = torch.as_tensor(y)
    if y.shape != (n,):
        raise ValueError(f"{n} images need labels ({n},), got the shape {tuple(y.shape)}")
    if y.is_floating_point() or y.is_complex() or y.dtype == torch.bool:
        raise TypeError(f"labels must be whole numbers, got {y.dtype}")
    if n and y.min() < 0:
        raise ValueError(f"labels must be 0 or more, got {y.min()}")
    return y.long()


def check_outputs(outputs: torch.Tensor, y: torch.Tensor) -> None:
    """Raises ValueError unless outputs are (n, classes), with a class for every label."""
    if outputs.ndim != 2 or outputs.shape[1] < 2:
        raise ValueError(
            f"a model's outputs must be (n, classes), 2 classes at least, got the shape "
            f"{tuple(outputs.shape)}"
        )
    if len(y) and y.max() >= outputs.shape[1]:
        raise ValueError(
            f"labels must be below the {outputs.shape[1]} classes of the model, got {y.max()}"
        )


def as_given(result: torch.Tensor, x: Any) -> Any:
    """The result as what was given: an array for an array, a tensor for a tensor."""
    return result.numpy() if isinstance(x, np.ndarray) else result
