"""LeNet and the small network, their shapes and what they learn; the points of the playground."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ddml_kit.cluster import Simulated
from ddml_kit.problems import Data, Logistic, digits
from ddml_kit.problems.lenet import lenet, on_images
from ddml_kit.problems.points import points, quarters, rings, small_network, spirals
from ddml_kit.training.momentum import momentum
from ddml_kit.training.one_machine import mini_batch

LAYOUTS = [rings, quarters, spirals]


def test_lenet_for_mnist_has_the_layers_of_the_paper() -> None:
    """Parameters of figure 2 where the layers are the same: C1 156, C5 48,120, F6 10,164."""
    sizes = [
        sum(p.numel() for p in layer.parameters()) for layer in lenet(28) if [*layer.parameters()]
    ]
    assert sizes == [156, 6 * 16 * 25 + 16, 48_120, 10_164, 850]
    maps = []
    x = torch.zeros(1, 28, 28)
    for layer in lenet(28):
        x = layer(x)
        maps.append(tuple(x.shape[1:]))
    assert {(6, 28, 28), (6, 14, 14), (16, 10, 10), (16, 5, 5), (120,), (84,)} <= set(maps)
    assert maps[-1] == (10,)


def test_lenet_for_small_digits_ends_at_two_by_two() -> None:
    maps = []
    x = torch.zeros(3, 8, 8)
    for layer in lenet(8):
        x = layer(x)
        maps.append(tuple(x.shape[1:]))
    assert (16, 2, 2) in maps
    assert maps[-1] == (10,)


def test_lenet_learns_the_digits_by_mini_batches_and_is_better_than_a_line() -> None:
    train, test = digits().split(test=0.2, seed=0)
    problem, held_out = on_images(train), on_images(test)
    options = {"steps": 900, "batch_size": 32}
    run = Simulated(1).run(mini_batch, problem, momentum(0.05), **options)
    straight = Logistic(train.x, train.y), Logistic(test.x, test.y)
    plain = Simulated(1).run(mini_batch, straight[0], momentum(0.1), **options)
    assert held_out.accuracy(run.results[0]) > 0.97
    assert held_out.accuracy(run.results[0]) > straight[1].accuracy(plain.results[0])


def test_lenet_refuses_other_images() -> None:
    with pytest.raises(ValueError, match="images of 8 x 8 or 28 x 28 here, got 16 x 16"):
        lenet(16)
    for shape in ((2, 8, 9), (2, 64)):
        with pytest.raises(ValueError, match="LeNet takes images of 8 x 8 or 28 x 28 here, got"):
            on_images(Data(np.zeros(shape, np.float32), np.zeros(2, np.int64), "odd"))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_points_lie_on_the_plane_and_repeat(layout) -> None:
    data = points(layout, 200, seed=0)
    assert data.x.shape == (200, 2)
    assert np.abs(data.x).max() < 1.1
    assert 0.4 < data.y.mean() < 0.6
    np.testing.assert_array_equal(data.x, points(layout, 200, seed=0).x)
    assert not np.array_equal(data.x, points(layout, 200, seed=1).x)
    assert data.y[:20].std() > 0  # in random order


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_small_network_parts_what_no_line_does(layout) -> None:
    train, test = points(layout, 400, seed=0).split(test=0.25, seed=0)
    options = {"steps": 1000, "batch_size": 32}
    problem, held_out = small_network(train), small_network(test)
    run = Simulated(1).run(mini_batch, problem, momentum(0.1), **options)
    ones = [np.column_stack([data.x, np.ones(len(data))]) for data in (train, test)]
    line = Simulated(1).run(mini_batch, Logistic(ones[0], train.y), momentum(0.1), **options)
    assert held_out.accuracy(run.results[0]) > 0.97
    assert Logistic(ones[1], test.y).accuracy(line.results[0]) < 0.8


def test_points_need_two() -> None:
    with pytest.raises(ValueError, match="two classes need 2 points or more, got 1"):
        points(rings, 1, seed=0)
