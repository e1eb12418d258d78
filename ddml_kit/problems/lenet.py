"""LeNet-5: convolutions that look for strokes, and layers that read the digit off them.

Y. LeCun, L. Bottou, Y. Bengio, P. Haffner, "Gradient-Based Learning Applied to Document
Recognition", Proceedings of the IEEE 86(11), 1998, section II.B and figure 2: convolution (6
maps), halving, convolution (16 maps), halving, 120, 84, 10.

Departures, for every size: plain tanh and plain averages (theirs are scaled, and averages have a
weight and a bias); each map of the second convolution sees all six (theirs see some, table I);
ten outputs with the cross-entropy (theirs are distances to drawn digits). Images of 28 x 28, such
as MNIST's, get a border of 2, as there, and 5 x 5 convolutions. For images of 8 x 8 that is too
coarse: convolutions are 3 x 3 with a border of 1, so that 2 x 2 is left after two halvings, as
5 x 5 is there.
"""

from __future__ import annotations

import torch

from ddml_kit.problems.data import Data
from ddml_kit.problems.torch_module import TorchModule


def lenet(side: int, classes: int = 10) -> torch.nn.Sequential:
    """The network, from images (b, side, side) to (b, classes); side is 8 or 28.

    Raises ValueError for another side.
    """
    if side not in (8, 28):
        raise ValueError(f"LeNet takes images of 8 x 8 or 28 x 28 here, got {side} x {side}")
    kernel, first, second = (3, 1, 1) if side == 8 else (5, 2, 0)
    left = 2 if side == 8 else 5  # rows and columns after the second halving
    return torch.nn.Sequential(
        torch.nn.Unflatten(1, (1, side)),
        torch.nn.Conv2d(1, 6, kernel, padding=first),
        torch.nn.Tanh(),
        torch.nn.AvgPool2d(2),
        torch.nn.Conv2d(6, 16, kernel, padding=second),
        torch.nn.Tanh(),
        torch.nn.AvgPool2d(2),
        torch.nn.Flatten(),
        torch.nn.Linear(16 * left * left, 120),
        torch.nn.Tanh(),
        torch.nn.Linear(120, 84),
        torch.nn.Tanh(),
        torch.nn.Linear(84, classes),
    )


def on_images(data: Data) -> TorchModule:
    """LeNet on images (n, 8, 8), as `digits()`, or (n, 28, 28), as `load_idx` reads MNIST.

    Raises ValueError for images of another size.
    """
    if len(data.x.shape) != 3 or data.x.shape[1] != data.x.shape[2]:
        raise ValueError(f"LeNet takes images of 8 x 8 or 28 x 28 here, got {data.x.shape[1:]}")
    module = lenet(data.x.shape[1], max(10, int(data.y.max()) + 1))
    return TorchModule(module, torch.nn.functional.cross_entropy, data)
