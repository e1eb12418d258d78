"""A model that is trained in a second, and falls as fast: a perceptron with one hidden layer."""

from __future__ import annotations

import math

import torch

from ddml_kit.problems.data import Data
from ddml_kit.problems.torch_module import TorchModule


def perceptron(data: Data, hidden: int = 64) -> TorchModule:
    """Pixels, so many hidden units with ReLU, and an output for each class, on images (n, ...).

    The cross-entropy is its loss. On two thirds of `digits`, 400 steps of Adam at 0.005 on batches
    of 64 are enough; trained adversarially too.
    """
    pixels = math.prod(data.x.shape[1:])
    module = torch.nn.Sequential(
        torch.nn.Flatten(),
        torch.nn.Linear(pixels, hidden),
        torch.nn.ReLU(),
        torch.nn.Linear(hidden, max(2, len(data.labels), int(data.y.max()) + 1)),
    )
    return TorchModule(module, torch.nn.functional.cross_entropy, data)
