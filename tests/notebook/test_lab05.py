"""The dashboard of lab 05: every knob changes what happens."""

from __future__ import annotations

import numpy as np
import pytest

from ddml_kit.notebook.play import how_large_a_batch
from ddml_kit.problems import Logistic, digits

SLOW = "20 Mbit/s, 1 ms"


@pytest.fixture(scope="module")
def panel():
    train, test = digits().split(test=0.2, seed=0)
    problems = (Logistic(d.x.reshape(len(d), -1), d.y, classes=10) for d in (train, test))
    made = how_large_a_batch(*problems, target=0.3)
    yield made
    made.close()


@pytest.mark.parametrize(
    ("knob", "value"),
    [
        ("workers", 4),
        ("batch_size", 32),
        ("rate", 0.16),
        ("scaled", True),
        ("warm", 5),
        ("schedule", "step decay"),
        ("schedule", "cosine"),
        ("schedule", "batch grows"),
    ],
)
def test_a_knob_changes_the_model(panel, knob: str, value: object) -> None:
    settings = {"workers": 2, "scaled": knob == "warm"}
    before, after = panel.run(**settings), panel.run(**(settings | {knob: value}))
    assert not np.array_equal(before.results[0], after.results[0])
    assert panel.runs[-1].answers != panel.runs[-2].answers


@pytest.mark.parametrize("scaled", [False, True])
@pytest.mark.parametrize("workers", [1, 2])
def test_a_warm_up_is_in_the_legend_where_there_is_one(panel, workers, scaled) -> None:
    """One leads from the step size to the scaled one: where they are the same there is none."""
    cold, warmed = (panel.run(workers=workers, scaled=scaled, warm=warm) for warm in (0, 5))
    differ = not np.array_equal(cold.results[0], warmed.results[0])
    assert differ == (scaled and workers > 1)
    assert ("warm-up 5" in panel.labels[-1]) == differ


def test_rates_decay_and_batches_grow_after_the_same_pass(panel) -> None:
    """One that ends with a smaller batch: 359 images of a worker make 12 steps of 32."""
    settings = {"workers": 4, "batch_size": 32}
    constant, *others = (
        [s.w for s in panel.run(**settings, schedule=name).snapshots if s.rank == 0]
        for name in ("constant", "step decay", "batch grows")
    )
    for models in others:
        same = [np.array_equal(*pair) for pair in zip(models, constant, strict=False)]
        assert same.index(False) == 5 * 12 + 1


def test_a_network_changes_the_time_and_not_the_model(panel) -> None:
    plain, slow = (panel.run(workers=2, network=name) for name in ("plain cluster", SLOW))
    np.testing.assert_array_equal(plain.results[0], slow.results[0])
    assert slow.seconds > plain.seconds


def test_batches_that_grow_make_fewer_steps_over_the_same_samples(panel) -> None:
    steps, samples = [], []
    for schedule in ("step decay", "batch grows"):
        run = panel.run(workers=2, schedule=schedule)
        steps.append(len(run.curve(np.sum).step))
        samples.append(panel.runs[-1].answers["samples a second"])
    assert steps[1] < steps[0]
    assert samples[1] != samples[0]
