"""A patch that turns any image it is laid on into what its maker wants.

T. Brown, D. Mane, A. Roy, M. Abadi, J. Gilmer, "Adversarial Patch", arXiv 1712.09665: one patch is
learned over many images and many places, max E log P(target | image with the patch somewhere), so
that it works on images it has never seen, wherever it lies. It may change few pixels, but as much
as it likes: a ball in "l0", not in linf.

Departures: the patch is a square that is moved and, if asked, turned by quarters, not scaled; each
step goes up the gradient's sign, within bounds. Where it may lie can be confined: on images of
8 x 8, whose pixels mean something by their place, one that works everywhere must be large.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from ddml_kit.adversarial.checks import as_given, as_images, check_count, check_steps
from ddml_kit.adversarial.goal import Goal, Model
from ddml_kit.adversarial.norms import Bounds
from ddml_kit.adversarial.pgd import UNIT

Places = Callable[[np.random.Generator, int], np.ndarray]


def patch(
    model: Model,
    x: Any,
    *,
    target: int,
    side: int,
    step: float,
    steps: int,
    rng: np.random.Generator,
    batch_size: int = 64,
    places: Places | None = None,
    bounds: Bounds = UNIT,
    preprocess: Model | None = None,
) -> Any:
    """A patch, (..., side, side), that makes the model say target, an array or tensor as x is.

    x: images to learn from, (n, ..., height, width). steps: each over a batch of images, with the
    patch in another place on each. places: (rng, n) -> (n, 3) where it may lie, as `draw_places`
    has them; None for anywhere, upright. Raises ValueError or TypeError for what can't be attacked.
    """
    check_steps(step, steps)
    check_count(batch_size, "batch_size")
    images = _as_pictures(x, side, bounds)
    if not len(images):
        raise ValueError("a patch is learned from images, got none")
    if target < 0:
        raise ValueError(f"target must be 0 or more, got {target}")
    goal = Goal(model, preprocess=preprocess, targeted=True)
    labels = torch.full((batch_size,), target, device=images.device)
    goal.check(images, labels)
    shape = (*images.shape[1:-2], side, side)
    at = torch.from_numpy(rng.uniform(*bounds, shape)).to(images)
    for _ in range(steps):
        chosen = torch.from_numpy(rng.integers(0, len(images), batch_size)).to(images.device)
        if places is None:
            lying = draw_places(rng, batch_size, images.shape[-2:], side)
        else:
            lying = check_places(places(rng, batch_size), batch_size, images, side)
        with torch.enable_grad():
            leaf = at.detach().requires_grad_()
            outputs = goal.outputs(laid_on(images[chosen], leaf, lying))
            height = goal.height(outputs, labels).sum()
            (gradient,) = torch.autograd.grad(
                height, leaf, allow_unused=True, materialize_grads=True
            )
        at = torch.clamp(at + step * gradient.sign(), *bounds)
    return as_given(at, x)


def draw_places(
    rng: np.random.Generator,
    n: int,
    size: Sequence[int],
    side: int,
    *,
    turned: bool = False,
) -> np.ndarray:
    """For each of n images of this height and width a row, a column and quarter turns, (n, 3)."""
    rows, columns = (rng.integers(0, length - side + 1, n) for length in size)
    turns = rng.integers(0, 4, n) if turned else np.zeros(n, np.int64)
    return np.stack([rows, columns, turns], axis=1)


def with_patch(x: Any, patch: Any, places: np.ndarray, *, bounds: Bounds = UNIT) -> Any:
    """The images (n, ..., height, width) with the patch (..., side, side) at its places, as x is.

    places: (n, 3), a row, a column and quarter turns for each, as `draw_places` draws them. Raises
    ValueError where the patch does not lie on the image, or is out of bounds.
    """
    patch = torch.as_tensor(patch)
    images = _as_pictures(x, patch.shape[-1], bounds)
    as_images(patch, bounds)
    if patch.shape != (*images.shape[1:-2], patch.shape[-1], patch.shape[-1]):
        raise ValueError(
            f"a patch for images {tuple(images.shape[1:])} is a square of theirs, got the shape "
            f"{tuple(patch.shape)}"
        )
    laid = check_places(places, len(images), images, patch.shape[-1])
    return as_given(laid_on(images, patch.to(images), laid), x)


def check_places(places: np.ndarray, n: int, images: torch.Tensor, side: int) -> np.ndarray:
    """The places, (n, 3). Raises ValueError where a patch would not lie on the image."""
    places = np.asarray(places)
    if places.shape != (n, 3):
        raise ValueError(f"{n} images need places ({n}, 3), got {places.shape}")
    room = np.array(images.shape[-2:]) - side
    outside = ((places[:, :2] < 0) | (places[:, :2] > room)).any(axis=1)
    if outside.any():
        raise ValueError(
            f"a patch's place lies from (0, 0) to {tuple(room.tolist())}, got "
            f"{tuple(places[outside][0, :2].tolist())}"
        )
    return places


def laid_on(images: torch.Tensor, patch: torch.Tensor, places: np.ndarray) -> torch.Tensor:
    """The images with the patch on them, (n, ..., height, width), differentiable by the patch."""
    side = patch.shape[-1]
    turns = torch.stack([torch.rot90(patch, k, (-2, -1)) for k in range(4)])
    n, height, width = len(images), *images.shape[-2:]
    places = np.asarray(places)
    row, column = (places[:, i, None] + np.arange(side) for i in (0, 1))
    pixels = torch.from_numpy(row[:, :, None] * width + column[:, None, :]).view(n, 1, -1)
    flat = images.reshape(n, -1, height * width)
    laid = turns[torch.from_numpy(places[:, 2] % 4)].reshape(n, -1, side * side)
    index = pixels.to(images.device).expand(-1, flat.shape[1], -1)
    return flat.scatter(2, index, laid).view_as(images)


def _as_pictures(x: Any, side: int, bounds: Bounds) -> torch.Tensor:
    """The images as a tensor. Raises ValueError unless a square of this side fits on them."""
    images = as_images(x, bounds)
    if images.ndim < 3:
        raise ValueError(
            f"a patch needs images (n, ..., height, width), got the shape {tuple(images.shape)}"
        )
    if not 1 <= side <= min(images.shape[-2:]):
        raise ValueError(
            f"a patch's side is from 1 to that of the image, {min(images.shape[-2:])}, got {side}"
        )
    return images
