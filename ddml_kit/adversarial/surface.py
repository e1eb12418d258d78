"""The loss around an image, over the plane of two directions.

As F. Tramer, A. Kurakin, N. Papernot, I. Goodfellow, D. Boneh, P. McDaniel draw it, "Ensemble
Adversarial Training: Attacks and Defenses", ICLR 2018, arXiv 1705.07204: one direction is that of
the gradient's signs, the other one of random signs. A ridge right beside the image, to which the
gradient does not point, is a mark of gradient masking.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from ddml_kit.adversarial.ball import Ball
from ddml_kit.adversarial.checks import as_images, as_labels
from ddml_kit.adversarial.goal import CHUNK, Goal, Loss, Model, cross_entropy
from ddml_kit.adversarial.norms import Bounds, Norm, linf
from ddml_kit.adversarial.pgd import UNIT


@dataclass(frozen=True, eq=False)
class Surface:
    """Losses and verdicts of x + at[i] * first + at[j] * second, in row i and column j.

    at: (m,). losses: (m, m) float64. verdicts: (m, m) int64.
    """

    at: np.ndarray
    losses: np.ndarray
    verdicts: np.ndarray


def directions(
    model: Model,
    x: Any,
    y: Any,
    rng: np.random.Generator,
    *,
    norm: Norm = linf,
    bounds: Bounds = UNIT,
    preprocess: Model | None = None,
    loss: Loss = cross_entropy,
) -> tuple[np.ndarray, np.ndarray]:
    """The steepest step from each image and one of random signs, both of length 1, (n, ...).

    Where the gradient is 0 the first is 0 too. Raises ValueError, TypeError or FloatingPointError
    for what `pgd` can't attack either.
    """
    images = as_images(x, bounds)
    labels = as_labels(y, len(images)).to(images.device)
    goal = Goal(model, loss, preprocess)
    goal.check(images, labels)
    ball = Ball(images, 0.0, norm, bounds)
    signs = torch.from_numpy(rng.choice([-1.0, 1.0], tuple(images.shape))).to(images)
    length = norm.length(signs.flatten(1)).view(-1, *[1] * (images.ndim - 1))
    steepest = ball.steepest(goal.slope(images, labels), images)
    return steepest.cpu().numpy(), (signs / length).cpu().numpy()


def loss_surface(
    model: Model,
    x: Any,
    y: int,
    first: Any,
    second: Any,
    *,
    reach: float,
    points: int = 21,
    bounds: Bounds = UNIT,
    preprocess: Model | None = None,
    loss: Loss = cross_entropy,
) -> Surface:
    """The losses of one image x, (...), moved by -reach to reach along both directions, (...).

    points: in each direction; odd, so that x itself is one. Moved images are clipped to the bounds.
    Raises ValueError for an even number of points, and as `pgd` does.
    """
    if points < 3 or points % 2 == 0:
        raise ValueError(f"points must be odd and 3 or more, got {points}")
    if not 0 < reach < np.inf:
        raise ValueError(f"reach must be above 0 and finite, got {reach}")
    image = as_images(x[None], bounds)
    label = as_labels(np.array([y]), 1).to(image.device)
    goal = Goal(model, loss, preprocess)
    goal.check(image, label)
    along = [torch.as_tensor(d).to(image) for d in (first, second)]
    for direction in along:
        if direction.shape != image.shape[1:]:
            raise ValueError(
                f"a direction must have the shape of x, {tuple(image.shape[1:])}, got "
                f"{tuple(direction.shape)}"
            )
    at = np.linspace(-reach, reach, points)
    at[points // 2] = 0.0
    steps = torch.from_numpy(at).to(image).view(-1, *[1] * (image.ndim - 1))
    grid = (image + steps * along[0])[:, None] + steps * along[1]
    moved = torch.clamp(grid.flatten(0, 1), *bounds)
    with torch.no_grad():
        outputs = torch.cat([goal.outputs(part) for part in moved.split(CHUNK)])
        losses = loss(outputs, label.expand(len(moved))).double()
    shape = (points, points)
    return Surface(
        at,
        losses.cpu().numpy().reshape(shape),
        outputs.argmax(dim=1).cpu().numpy().reshape(shape),
    )
