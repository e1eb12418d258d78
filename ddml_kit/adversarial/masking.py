"""Models that hide their gradients, and how the gradients are found again.

A. Athalye, N. Carlini, D. Wagner, "Obfuscated Gradients Give a False Sense of Security", ICML 2018,
arXiv 1802.00420. A defence that only spoils the gradient withstands PGD and nothing else. Its marks
(section 3.1): one step does better than many, attacks that see no gradient do better than those
that do, and an unlimited radius does not fool everything. Here:

`rounded` makes few grey values of many. It is flat almost everywhere (shattered gradients). Found
by BPDA (section 4.1): forward through the defence, backward through something near it that has a
gradient, here nothing at all; by a transferred attack, on a model without the defence; by random
search (`square`), which needs no gradient.

`Saturated` multiplies the outputs, so that the softmax is exactly 0 and 1 in floating point and the
cross-entropy's gradient exactly 0 (as defensive distillation does: N. Carlini, D. Wagner, arXiv
1608.04644). Verdicts are those without it. Found by a loss that is not flat: `margin`.
"""

from __future__ import annotations

from typing import Any

import torch

from ddml_kit.adversarial.checks import check_count
from ddml_kit.adversarial.goal import Model


class Saturated(torch.nn.Module):
    """The model with its outputs multiplied: the same verdicts, and no gradient of the loss."""

    def __init__(self, model: torch.nn.Module, scale: float = 1e4) -> None:
        super().__init__()
        if not scale > 0:
            raise ValueError(f"scale must be above 0, got {scale}")
        self.model, self.scale = model, scale
        self.train(model.training)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.model(x) * self.scale


class Rounded(torch.nn.Module):
    """The model on images of few grey values: verdicts much the same, and no gradient at all."""

    def __init__(self, model: torch.nn.Module, levels: int = 8) -> None:
        super().__init__()
        self.model, self.levels = model, levels
        rounded(torch.zeros(0), levels)
        self.train(model.training)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.model(rounded(x, self.levels))


def rounded(x: torch.Tensor, levels: int) -> torch.Tensor:
    """Images from 0 to 1 with so many grey values, evenly spaced, (n, ...)."""
    check_count(levels, "levels", least=2)
    return torch.round(x * (levels - 1)) / (levels - 1)


def bpda(defence: Model, near: Model | None = None) -> Model:
    """The defence, differentiated as if it were `near`; None for the identity.

    Outputs are exactly the defence's. near: a function with outputs of the same shape.
    """

    def through(x: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            exact = defence(x)
        soft = x if near is None else near(x)
        if soft.shape != exact.shape:
            raise ValueError(
                "what stands in for a defence must have outputs of its shape "
                f"{tuple(exact.shape)}, got {tuple(soft.shape)}"
            )
        return _Instead.apply(soft, exact)

    return through


class _Instead(torch.autograd.Function):
    """The second tensor, with the first one's gradient."""

    @staticmethod
    def forward(ctx: Any, soft: torch.Tensor, exact: torch.Tensor) -> torch.Tensor:
        return exact.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None]:
        return gradients[0], None
