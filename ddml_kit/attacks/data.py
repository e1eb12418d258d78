"""Attacks on data: a worker that does all as it should, on samples that have been tampered with.

`label_flip` as in V. Tolpegin, S. Truex, M. E. Gursoy, L. Liu, "Data Poisoning Attacks Against
Federated Learning Systems", ESORICS 2020, arXiv 2007.08432, but for all classes: class c becomes
the last class less c. `backdoor` as in T. Gu, B. Dolan-Gavitt, S. Garg, "BadNets: Identifying
Vulnerabilities in the Machine Learning Model Supply Chain", 2017, arXiv 1708.06733: some samples
get a trigger and all of those the same label, so that the model does well, and does as it is told
where it sees the trigger. Whoever would know how well that works takes a problem over stamped
samples with the target as their label: its accuracy is the share that obeys.

A batch is anything with x, (b, ...), and y, (b,), that dataclasses.replace can change. What comes
back is new; batches may be views of the data set.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from math import isqrt
from typing import Any

import numpy as np

Poison = Callable[[Any, np.random.Generator], Any]
Trigger = Callable[[np.ndarray], np.ndarray]


def label_flip(classes: int = 10) -> Poison:
    """A poison: every label c becomes classes - 1 - c.

    classes: how many there are, counted from 0. Raises ValueError for fewer than 2, and later for
    a label that is none of them.
    """
    if classes < 2:
        raise ValueError(f"label_flip needs 2 classes or more, got {classes}")

    def poison(batch: Any, rng: np.random.Generator) -> Any:
        if len(batch.y) and not 0 <= batch.y.min() <= batch.y.max() < classes:
            raise ValueError(
                f"label_flip needs labels from 0 to {classes - 1}, got {batch.y.min()} to "
                f"{batch.y.max()}"
            )
        return replace(batch, y=(classes - 1 - batch.y).astype(batch.y.dtype))

    return poison


def backdoor(target: int = 0, share: float = 0.5, trigger: Trigger | None = None) -> Poison:
    """A poison: a share of the samples, drawn from rng, gets the trigger and the target's label.

    target: the class. share: of a batch, from 0 to 1. trigger: what stamps samples; None for
    `corner()`. Raises ValueError for a share that is none, or target < 0, and later TypeError for
    samples that are no array.
    """
    if not 0 <= share <= 1:
        raise ValueError(f"backdoor needs a share from 0 to 1, got {share}")
    if target < 0:
        raise ValueError(f"backdoor needs a target class of 0 or more, got {target}")
    stamp = corner() if trigger is None else trigger

    def poison(batch: Any, rng: np.random.Generator) -> Any:
        if not isinstance(batch.x, np.ndarray):
            raise TypeError(f"backdoor stamps images in an array, got {type(batch.x).__name__}")
        chosen = rng.random(len(batch.y)) < share
        x, y = np.array(batch.x), np.array(batch.y)
        x[chosen] = stamp(x[chosen])
        y[chosen] = target
        return replace(batch, x=x, y=y)

    return poison


def corner(size: int = 2, value: float = 1.0) -> Trigger:
    """A trigger: the last `size` rows and columns of an image take this value.

    Images are (b, height, width), more axes before these two, or square ones laid flat, (b, h h).
    Raises ValueError for size < 1, and later for what is no image of that size.
    """
    if size < 1:
        raise ValueError(f"a trigger needs a size of 1 pixel or more, got {size}")

    def stamp(x: np.ndarray) -> np.ndarray:
        stamped = np.array(x)
        images = stamped
        if x.ndim == 2:
            side = isqrt(x.shape[1])
            if side * side != x.shape[1]:
                raise ValueError(f"a trigger needs square images, got {x.shape[1]} pixels")
            images = stamped.reshape(len(x), side, side)
        if x.ndim < 2 or min(images.shape[-2:]) < size:
            raise ValueError(f"a trigger of size {size} needs images that large, got {x.shape}")
        images[..., -size:, -size:] = value
        return stamped

    return stamp
