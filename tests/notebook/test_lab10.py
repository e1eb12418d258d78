"""The dashboards of lab 10: every knob changes what happens."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from torch import nn

from ddml_kit.adversarial import Saturated, accuracy, l1, l2, pgd
from ddml_kit.cluster import Simulated
from ddml_kit.notebook.play import a_small_push, what_robustness_costs, whom_does_it_fool
from ddml_kit.notebook.play.lab10 import radius
from ddml_kit.problems import TorchModule, digits
from ddml_kit.training.adversarial import Adversarial
from ddml_kit.training.data_parallel import data_parallel
from ddml_kit.training.momentum import momentum
from ddml_kit.training.schedules import cosine

TRAIN, TEST = digits().split(test=0.2, seed=0)


class Digits(TorchModule):
    def seconds(self, batch):
        return 1e-4 * len(batch)


@pytest.fixture(scope="module")
def problem():
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
    return Digits(network, nn.functional.cross_entropy, TRAIN)


@pytest.fixture(scope="module")
def models(problem):
    run = Simulated(1).run(data_parallel, problem, momentum(0.1), steps=200, batch_size=64)
    standard = problem.module(run.results[0]).eval()
    weak = problem.module(problem.initial(0)).eval()
    return {"standard": standard, "untrained": weak, "masked": Saturated(standard)}


@pytest.fixture(scope="module")
def live(models):
    made = whom_does_it_fool(models, TEST)
    yield made
    made.close()


@pytest.fixture(scope="module")
def panel(problem):
    made = what_robustness_costs(problem, TEST, steps=12)
    yield made
    made.close()


@pytest.mark.parametrize(
    ("knob", "value", "where"),
    [
        ("model", "untrained", {}),
        ("image", 7, {}),
        ("eps", 0.05, {}),
        ("norm", "ℓ2", {"eps": 0.05}),
        ("norm", "ℓ1", {"eps": 0.05}),
        ("steps", 1, {"eps": 0.1}),
        ("step", 0.05, {"steps": 5}),
        ("random", True, {"steps": 2, "eps": 0.15}),
        ("target", "8", {}),
        ("climbs", "margin", {"model": "masked"}),
    ],
)
def test_a_knob_changes_the_answer(live, knob: str, value: object, where: dict) -> None:
    before, after = live.show(**where), live.show(**where, **{knob: value})
    assert dict(before.answers) != dict(after.answers)
    assert before.figure.data()["data"] != after.figure.data()["data"]


def test_what_is_told_is_what_the_library_finds(live, models) -> None:
    told = live.show(eps=0.1, steps=10, step=0.25).answers
    x, y = TEST.x[:200], TEST.y[:200]
    found = pgd(models["standard"], x, y, eps=0.1, steps=10, step=0.025)
    assert told["of 200 images, read right"] == f"{accuracy(models['standard'], found, y):.0%}"
    with torch.no_grad():
        chances = torch.softmax(models["standard"](torch.from_numpy(found[[3]])), dim=1)
    assert told["it reads"].endswith(f"→ {chances.argmax()}")
    assert told["gradients an image"] == "10"


@pytest.mark.parametrize(
    ("name", "norm", "eps", "times"), [("ℓ2", l2, 0.05, 8), ("ℓ1", l1, 0.02, 64)]
)
def test_the_norm_is_that_of_the_attack(live, models, name, norm, eps, times) -> None:
    told = live.show(norm=name, eps=eps, steps=5, step=0.5).answers
    x, y = TEST.x[:200], TEST.y[:200]
    reach = eps * times
    found = pgd(models["standard"], x, y, eps=reach, step=reach / 2, steps=5, norm=norm)
    right = accuracy(models["standard"], found, y)
    assert told["of 200 images, read right"] == f"{right:.0%}"
    by_pixel = pgd(models["standard"], x, y, eps=reach, step=reach / 2, steps=5)
    assert accuracy(models["standard"], by_pixel, y) < right - 0.05  # as linf it would be other


def test_training_is_in_the_norm_that_is_chosen(panel, problem) -> None:
    run = panel.run(workers=2, norm="ℓ2", eps=0.1)
    attacked = Adversarial(problem, eps=0.8, steps=5, norm=l2)
    own = Simulated(2).run(
        data_parallel,
        attacked,
        momentum(0.1),
        steps=12,
        batch_size=32,
        schedule=cosine(12),
    )
    np.testing.assert_array_equal(run.results[0], own.results[0])


def test_no_radius_is_no_change_and_the_masked_model_hides_from_the_loss_alone(live) -> None:
    clean = live.show(eps=0.0).answers["of 200 images, read right"]
    assert live.show(model="masked", eps=0.5).answers["of 200 images, read right"] == clean
    through = live.show(model="masked", eps=0.5, climbs="margin").answers
    assert through["of 200 images, read right"] == "0%"


def test_a_target_is_counted_among_the_other_digits(live) -> None:
    told = live.show(target="8", eps=0.3).answers
    others = int((TEST.y[:200] != 8).sum())
    assert int(told[f"of {others} others, read as 8"].removesuffix("%")) > 50
    at_rest = live.show(target="8", eps=0.0).answers
    assert int(at_rest[f"of {others} others, read as 8"].removesuffix("%")) < 5


def test_the_ball_of_a_norm_contains_the_one_before() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        corner = rng.choice([-0.1, 0.1], 64)
        assert np.linalg.norm(corner) <= radius("ℓ2", 0.1, 64) + 1e-12
        inside = rng.normal(size=64)
        inside *= radius("ℓ2", 0.1, 64) / np.linalg.norm(inside)
        assert np.abs(inside).sum() <= radius("ℓ1", 0.1, 64) + 1e-12
    assert radius("ℓ∞", 0.1, 64) == 0.1


def test_a_small_push_moves_one_image(models) -> None:
    push = a_small_push(models["standard"], TEST)
    try:
        assert push.show(eps=0.0).answers["it reads"] == "2 → 2"
        assert push.show(eps=0.3).answers["it reads"] != "2 → 2"
        shown = json.loads(push.front.figure)
        assert "An image of a 2" in shown["words"]
    finally:
        push.close()


@pytest.mark.parametrize(
    ("knob", "value"),
    [("attack", 0), ("attack", 2), ("eps", 0.1), ("norm", "ℓ2")],
)
def test_a_knob_changes_the_model(panel, knob: str, value: object) -> None:
    before, after = panel.run(workers=2), panel.run(workers=2, **{knob: value})
    assert not np.array_equal(before.results[0], after.results[0])
    assert panel.labels[-1] != panel.labels[-2]


def test_workers_and_network_change_the_time(panel) -> None:
    one, four = (panel.run(workers=n).seconds for n in (1, 4))
    assert four < one
    slow = panel.run(workers=4, network="1 Gbit/s, 0.2 ms")
    assert slow.seconds > four
    assert "1 Gbit/s" in panel.labels[-1]


def test_a_step_takes_a_gradient_for_each_of_the_attack_s_and_one_more(panel) -> None:
    plain, attacked = (panel.run(workers=1, attack=k).seconds for k in (0, 5))
    assert attacked == pytest.approx(6 * plain)
    assert panel.runs[-1].answers["gradients a step"] == "6"
