"""Random search with squares: an attack that asks a model for its outputs and for nothing else.

M. Andriushchenko, F. Croce, N. Flammarion, M. Hein, "Square Attack: a Query-Efficient Black-Box
Adversarial Attack via Random Search", ECCV 2020, arXiv 1912.00049, algorithms 1 and 2 (linf): from
vertical stripes of -eps and +eps, in each step a square at random of one colour, kept if the margin
gets no lower. The squares shrink as the search goes on (section 4.1), here from 0.3 of the image.
Departures: a square that leaves the margin as it was is kept as well, where the paper keeps those
that improve it, so that the search moves on where outputs are flat; an image without channels,
(n, height, width), is one of one channel.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch

from ddml_kit.adversarial.ball import Ball
from ddml_kit.adversarial.checks import as_given, as_images, as_labels, check_count, check_eps
from ddml_kit.adversarial.goal import Goal, Model, margin
from ddml_kit.adversarial.norms import Bounds, linf
from ddml_kit.adversarial.pgd import UNIT

SHARE = 0.3  # of the image that the first square covers
HALVED = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)  # steps of 10,000


def square(
    model: Model,
    x: Any,
    y: Any,
    *,
    eps: float,
    steps: int,
    rng: np.random.Generator,
    bounds: Bounds = UNIT,
    targeted: bool = False,
    preprocess: Model | None = None,
) -> Any:
    """Adversarial images, (n, ...), within eps of x in linf, an array or tensor as x is.

    x: (n, height, width) or (n, channels, height, width). steps: how often the model is asked about
    each image that does not yet fool it. Raises ValueError or TypeError as `pgd` does.
    """
    check_eps(eps)
    check_count(steps, "steps", least=0)
    images = as_images(x, bounds)
    labels = as_labels(y, len(images)).to(images.device)
    if images.ndim not in (3, 4):
        raise ValueError(
            f"squares need images (n, height, width) or (n, channels, height, width), got the "
            f"shape {tuple(images.shape)}"
        )
    goal = Goal(model, margin, preprocess, targeted)
    goal.check(images, labels)
    if not steps or not len(images):
        return as_given(images.clone(), x)
    clear = Ball(images, eps, linf, bounds)
    shape = (len(images), math.prod(images.shape[1:-2]), *images.shape[-2:])
    stripes = rng.choice([-1.0, 1.0], (shape[0], shape[1], 1, shape[3]))
    moved = (torch.from_numpy(stripes * eps).to(images)).expand(shape).reshape(images.shape)
    found = clear.nearest(images + moved)
    reached, best = goal.judged(found, labels)
    for k in range(1, steps):
        side = _side(k, steps, *shape[2:])
        window = _windows(rng, shape, side).to(images.device)
        colour = rng.choice([-1.0, 1.0], (*shape[:2], 1, 1)) * eps
        left = torch.nonzero(~reached).squeeze(1)
        if not len(left):
            break
        tried = images + torch.from_numpy(colour).to(images).expand(shape).view_as(images)
        tried = torch.where(window.expand(shape).reshape(images.shape), tried, found)[left]
        tried = clear.rows(left).nearest(tried)
        fools, height = goal.judged(tried, labels[left])
        better = fools | (height >= best[left])
        found[left[better]] = tried[better]
        best[left[better]], reached[left[fools]] = height[better], True
    return as_given(found, x)


def _side(step: int, steps: int, height: int, width: int) -> int:
    """How wide and high a square is in this step, in pixels."""
    halvings = sum(step * 10_000 > bend * steps for bend in HALVED)
    side = round(math.sqrt(SHARE * height * width / 2**halvings))
    return min(max(1, side), height, width)


def _windows(rng: np.random.Generator, shape: tuple[int, ...], side: int) -> torch.Tensor:
    """For each image a square somewhere in it, (n, 1, height, width) bool."""
    n, _, height, width = shape
    inside = []
    for length in (height, width):
        first = rng.integers(0, length - side + 1, (n, 1))
        at = np.arange(length)
        inside.append((at >= first) & (at < first + side))
    return torch.from_numpy(inside[0][:, None, :, None] & inside[1][:, None, None, :])
