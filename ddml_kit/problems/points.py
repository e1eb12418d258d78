"""Points of the plane in two classes that no straight line parts, and small networks that do.

The inputs of a playground: two numbers, so that the whole of a network's answer can be drawn.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from ddml_kit.problems.data import Data
from ddml_kit.problems.torch_module import TorchModule

Layout = Callable[[np.random.Generator, int], tuple[np.ndarray, np.ndarray]]


def rings(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
    """A disc of class 1 within a ring of class 0; x (n, 2) from -1 to 1, y (n,)."""
    y = np.arange(n) % 2
    radius = np.where(y == 1, 0.5 * np.sqrt(rng.random(n)), 0.7 + 0.25 * rng.random(n))
    angle = 2 * np.pi * rng.random(n)
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1), y


def quarters(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Exclusive or: class 1 where the two numbers have one sign; x (n, 2), y (n,)."""
    x = (0.06 + 0.9 * rng.random((n, 2))) * rng.choice([-1.0, 1.0], (n, 2))
    return x, (x[:, 0] * x[:, 1] > 0).astype(np.int64)


def spirals(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Two arms, wound about each other; x (n, 2), y (n,).

    After K. J. Lang, M. J. Witbrock, "Learning to Tell Two Spirals Apart", Proceedings of the 1988
    Connectionist Models Summer School: theirs make three turns, these make one and a quarter.
    """
    y = np.arange(n) % 2
    along = np.sqrt(0.02 + 0.98 * rng.random(n))
    angle = 2.5 * np.pi * along + np.pi * y
    x = along[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    return 0.95 * x + 0.02 * rng.standard_normal((n, 2)), y


def points(layout: Layout, n: int, *, seed: int) -> Data:
    """n points of a layout (rings, quarters, spirals), in random order, as float32."""
    if n < 2:
        raise ValueError(f"two classes need 2 points or more, got {n}")
    rng = np.random.default_rng(seed)
    x, y = layout(rng, n)
    order = rng.permutation(n)
    name = layout.__name__
    return Data(x[order].astype(np.float32), y[order].astype(np.int64), name, ("0", "1"))


def small_network(data: Data, neurons: int = 8) -> TorchModule:
    """Points classified by a network 2 - neurons - neurons - 2 of tanh, by cross-entropy."""
    module = torch.nn.Sequential(
        torch.nn.Linear(2, neurons),
        torch.nn.Tanh(),
        torch.nn.Linear(neurons, neurons),
        torch.nn.Tanh(),
        torch.nn.Linear(neurons, 2),
    )
    return TorchModule(module, torch.nn.functional.cross_entropy, data)
