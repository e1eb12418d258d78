"""How many images withstand an attack, as the attack may move them further and further.

As Madry et al., arXiv 1706.06083, draw accuracy against eps. An image found within a radius lies
within every larger one, so what is fooled once stays fooled: accuracy is the worst over all smaller
radii too, and never rises. Radius 0 has one image, x itself: its accuracy is the clean one, with no
attack.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from ddml_kit.adversarial.checks import as_images, as_labels, check_eps
from ddml_kit.adversarial.goal import Model, verdicts
from ddml_kit.adversarial.norms import Bounds
from ddml_kit.adversarial.pgd import UNIT

Attack = Callable[..., Any]  # (model, x, y, *, eps) -> adversarial images


def robust_accuracy(
    model: Model,
    x: Any,
    y: Any,
    attack: Attack,
    *,
    eps: Sequence[float] | np.ndarray,
    bounds: Bounds = UNIT,
    preprocess: Model | None = None,
) -> np.ndarray:
    """The share of images (n, ...) that the model gives their label within each radius, (k,).

    attack: called as attack(model, x, y, eps=radius) on those images that no smaller radius has
    fooled: partial(pgd, steps=20, stop_early=True). eps: the radii, in any order. bounds,
    preprocess: the same as the attack's; it must be given its own.
    Raises ValueError for a negative radius, and for what the attack refuses.
    """
    return held(model, x, y, attack, eps=eps, bounds=bounds, preprocess=preprocess).mean(axis=1)


def held(
    model: Model,
    x: Any,
    y: Any,
    attack: Attack,
    *,
    eps: Sequence[float] | np.ndarray,
    bounds: Bounds = UNIT,
    preprocess: Model | None = None,
) -> np.ndarray:
    """Which images keep their label within each radius, (k, n) bool; see `robust_accuracy`."""
    radii = np.asarray(eps, np.float64)
    if radii.ndim != 1 or not len(radii):
        raise ValueError(f"eps must be a list of radii, got the shape {radii.shape}")
    for radius in radii:
        check_eps(float(radius))
    images = as_images(x, bounds)
    if not len(images):
        raise ValueError("an accuracy needs an image at least, got none")
    labels = as_labels(y, len(images))
    right = verdicts(model, images, preprocess=preprocess) == labels.cpu().numpy()
    found = np.empty((len(radii), len(images)), bool)
    for k in np.argsort(radii, kind="stable"):
        left = torch.from_numpy(np.flatnonzero(right)).to(images.device)
        if radii[k] > 0 and len(left):
            moved = attack(model, images[left], labels[left.cpu()], eps=float(radii[k]))
            now = verdicts(model, moved, preprocess=preprocess) == labels[left.cpu()].numpy()
            right[left.cpu().numpy()] = now
        found[k] = right
    return found
