"""Lab 10's training as a short call."""

from __future__ import annotations

import numpy as np
import pytest
from torch import nn

from ddml_kit.notebook.play.lab10_ways import Slower, train
from ddml_kit.problems import digits


@pytest.fixture(scope="module")
def problem() -> Slower:
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    return Slower(network, nn.functional.cross_entropy, digits())


def test_an_image_takes_a_tenth_of_a_millisecond(problem: Slower) -> None:
    took = [train(problem, 5, workers=n).seconds / 5 for n in (1, 2)]
    assert took[0] == pytest.approx(64e-4)
    assert 32e-4 < took[1] < 40e-4


def test_workers_share_the_batch_and_agree(problem: Slower) -> None:
    run = train(problem, 20)
    assert run.size == 4
    assert np.array_equal(run.results[0], run.results[3])
    assert problem.accuracy(run.results[0]) > 0.7
