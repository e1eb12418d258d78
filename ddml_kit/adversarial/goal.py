"""What an attack climbs: the loss of a model over images, and when it has got where it wants to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from ddml_kit.adversarial.checks import as_images, as_labels, check_mode, check_outputs

Model = Callable[[torch.Tensor], torch.Tensor]  # images (n, ...) -> outputs (n, classes)
Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]  # outputs, labels -> (n,)

CHUNK = 1024  # images that are judged at once


def cross_entropy(outputs: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Minus the logarithm of the label's probability, (n,)."""
    return torch.nn.functional.cross_entropy(outputs, y, reduction="none")


def margin(outputs: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """The largest output of another class minus the label's own, (n,): positive where it is wrong.

    N. Carlini, D. Wagner, "Towards Evaluating the Robustness of Neural Networks", arXiv 1608.04644,
    f_6 of section V.A without its ceiling. It is as steep as the outputs are, however sure the
    model is; the cross-entropy's gradient then vanishes.
    """
    own = outputs.gather(1, y[:, None])
    others = outputs.scatter(1, y[:, None], -torch.inf)
    return others.amax(dim=1) - own[:, 0]


@dataclass(frozen=True)
class Goal:
    """A model and what is wanted of it.

    preprocess: applied to images before the model, and differentiated as a part of it. targeted:
    labels are those that it shall give, not those that it shall not.
    """

    model: Model
    loss: Loss = cross_entropy
    preprocess: Model | None = None
    targeted: bool = False

    def __post_init__(self) -> None:
        check_mode(self.model)
        check_mode(self.preprocess)

    def outputs(self, x: torch.Tensor) -> torch.Tensor:
        """What the model says to images (n, ...), (n, classes)."""
        return self.model(x if self.preprocess is None else self.preprocess(x))

    def reached(self, outputs: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """Of which images the verdict is what is wanted, (n,) bool."""
        verdicts = outputs.argmax(dim=1)
        return verdicts == y if self.targeted else verdicts != y

    def height(self, outputs: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """What is climbed, (n,): the loss, or minus the loss to a target."""
        losses = self.loss(outputs, y)
        return -losses if self.targeted else losses

    def slope(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """The gradient of each image's height, (n, ...)."""
        with torch.enable_grad():
            leaf = x.detach().requires_grad_()
            return self._gradient(leaf, self.height(self.outputs(leaf), y))

    def slope_of_rest(self, x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Which images have not reached the goal, (n,) bool, and their gradients, (k, ...)."""
        with torch.enable_grad():
            leaf = x.detach().requires_grad_()
            outputs = self.outputs(leaf)
            rest = ~self.reached(outputs.detach(), y)
            if not rest.any():
                return rest, x[rest]
            return rest, self._gradient(leaf, self.height(outputs[rest], y[rest]))[rest]

    def _gradient(self, leaf: torch.Tensor, heights: torch.Tensor) -> torch.Tensor:
        if not heights.requires_grad:  # what has been rounded says nothing of where to go
            return torch.zeros_like(leaf)
        (gradient,) = torch.autograd.grad(
            heights.sum(), leaf, allow_unused=True, materialize_grads=True
        )
        if not torch.isfinite(gradient).all():
            raise FloatingPointError(
                "the gradient of the loss by the images must be finite, and some of its values "
                "are NaN or infinite"
            )
        return gradient

    def judged(self, x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Which images have reached the goal, (n,) bool, and each one's height, (n,)."""
        with torch.no_grad():
            outputs = self.outputs(x)
            return self.reached(outputs, y), self.height(outputs, y)

    def check(self, x: torch.Tensor, y: torch.Tensor) -> None:
        """Raises ValueError if the model has no outputs (n, classes) in which labels y fit.

        x: (n, ...), of which one is tried. y: (n,).
        """
        if len(x):
            with torch.no_grad():
                check_outputs(self.outputs(x[:1]), y)


def verdicts(model: Model, x: Any, *, preprocess: Model | None = None) -> np.ndarray:
    """The class that the model gives each image, (n,) int64. Raises ValueError in training mode."""
    goal = Goal(model, preprocess=preprocess)
    images = as_images(x, (-np.inf, np.inf))
    with torch.no_grad():
        parts = [goal.outputs(part).argmax(dim=1) for part in images.split(CHUNK)]
    return torch.cat(parts).cpu().numpy()


def accuracy(model: Model, x: Any, y: Any, *, preprocess: Model | None = None) -> float:
    """The share of images that the model gives their label."""
    labels = as_labels(y, len(x)).cpu().numpy()
    return float(np.mean(verdicts(model, x, preprocess=preprocess) == labels))
