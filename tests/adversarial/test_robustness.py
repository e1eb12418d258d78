"""Accuracy against eps, gradients that hide and are found, surfaces and patches."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

from ddml_kit.adversarial import (
    Rounded,
    Saturated,
    accuracy,
    bpda,
    directions,
    draw_places,
    fgsm,
    held,
    l2,
    linf,
    loss_surface,
    margin,
    patch,
    perceptron,
    pgd,
    robust_accuracy,
    rounded,
    square,
    verdicts,
    with_patch,
)
from ddml_kit.cluster import Simulated
from ddml_kit.problems import digits
from ddml_kit.training.adaptive import adam
from ddml_kit.training.one_machine import mini_batch

EPS = 0.2


@pytest.fixture(scope="module")
def trained():
    """Two standard models from different starts, and 200 digits that they have not seen."""
    train, test = digits().split(0.3)
    models = []
    for hidden in (48, 32):
        problem = perceptron(train, hidden)
        run = Simulated(1).run(mini_batch, problem, adam(0.01), steps=150, batch_size=64)
        models.append(problem.module(run.results[0]).eval())
    return *models, test.x[:200], test.y[:200]


# ---------------------------------------------------------------------------------- curves


def test_accuracy_at_radius_zero_is_the_clean_one_and_never_rises(trained):
    model, _, x, y = trained
    calls = []

    def attack(model, x, y, *, eps):
        calls.append((eps, len(x)))
        return pgd(model, x, y, eps=eps, steps=10, stop_early=True)

    radii = [0.2, 0.0, 0.05, 0.1]
    found = robust_accuracy(model, x, y, attack, eps=radii)
    assert found[1] == accuracy(model, x, y)
    assert found[1] > found[2] > found[3] > found[0]
    assert found[0] < 0.05
    assert [eps for eps, _ in calls] == [0.05, 0.1, 0.2]
    assert [n for _, n in calls] == [round(200 * found[i]) for i in (1, 2, 3)]


def test_what_was_fooled_stays_fooled_whatever_the_attack_does_further_out(trained):
    model, _, x, y = trained

    def lazy(model, x, y, *, eps):
        return fgsm(model, x, y, eps=eps) if eps < 0.1 else x

    kept = held(model, x, y, lazy, eps=[0.0, 0.05, 0.3])
    assert kept.shape == (3, 200)
    assert kept[0].sum() > kept[1].sum()
    np.testing.assert_array_equal(kept[2], kept[1])
    np.testing.assert_array_equal(kept[0], verdicts(model, x) == y)


# ------------------------------------------------------------------------- hidden gradients


def test_a_rounded_model_withstands_pgd_and_nothing_else(trained):
    model, other, x, y = trained
    defended = Rounded(model, levels=6).eval()
    clean = accuracy(defended, x, y)
    assert clean > 0.9
    # no gradient: one step, many steps and a large radius find nothing
    for attack in (partial(fgsm, eps=EPS), partial(pgd, eps=0.5, steps=10)):
        np.testing.assert_array_equal(attack(defended, x, y), x)
    there = {
        "bpda": pgd(model, x, y, eps=EPS, steps=20, preprocess=bpda(partial(rounded, levels=6))),
        "transferred": pgd(other, x, y, eps=EPS, steps=20),
        "search": square(defended, x, y, eps=EPS, steps=150, rng=np.random.default_rng(0)),
    }
    left = {name: accuracy(defended, found, y) for name, found in there.items()}
    assert left["bpda"] < 0.1
    assert left["transferred"] < 0.5
    assert left["search"] < 0.5
    for found in there.values():
        assert np.abs(found - x).max() <= EPS + 1e-6


def test_a_saturated_model_falls_to_a_loss_that_is_not_flat(trained):
    model, _, x, y = trained
    defended = Saturated(model).eval()
    np.testing.assert_array_equal(verdicts(defended, x), verdicts(model, x))
    right = verdicts(model, x) == y
    hidden = pgd(defended, x[right], y[right], eps=EPS, steps=20)
    assert accuracy(defended, hidden, y[right]) > 0.9
    found = pgd(defended, x[right], y[right], eps=EPS, steps=20, loss=margin)
    assert accuracy(defended, found, y[right]) < 0.05


def test_wrappers_take_the_mode_of_their_model():
    for wrapper in (Rounded, Saturated):
        assert not wrapper(nn.Linear(2, 2).eval()).training
        assert wrapper(nn.Linear(2, 2)).training
    with pytest.raises(ValueError, match="scale must be above 0, got 0"):
        Saturated(nn.Linear(2, 2), 0)
    with pytest.raises(ValueError, match="levels must be 2 or more, got 1"):
        Rounded(nn.Linear(2, 2), 1)


def test_bpda_goes_forward_through_the_one_and_backward_through_the_other():
    x = torch.tensor([[0.2, 0.7]], requires_grad=True)
    through = bpda(torch.round, lambda x: 3 * x)
    out = through(x)
    assert out.tolist() == [[0.0, 1.0]]
    out.sum().backward()
    assert x.grad.tolist() == [[3.0, 3.0]]


def test_the_margin_is_positive_where_the_verdict_is_wrong():
    outputs = torch.tensor([[1.0, 3.0, 0.0], [2.0, -1.0, 1.5]])
    torch.testing.assert_close(margin(outputs, torch.tensor([0, 0])), torch.tensor([2.0, -0.5]))


# -------------------------------------------------------------------------------- surfaces


def test_a_surface_has_the_losses_and_verdicts_of_the_moved_images(trained):
    model, _, x, y = trained
    first, second = directions(model, x[:3], y[:3], np.random.default_rng(0))
    surface = loss_surface(model, x[1], int(y[1]), first[1], second[1], reach=0.3, points=7)
    assert surface.at[3] == 0
    np.testing.assert_allclose(surface.at, np.linspace(-0.3, 0.3, 7), atol=1e-15)
    for i, a in enumerate(surface.at):
        for j, b in enumerate(surface.at):
            image = torch.from_numpy(np.clip(x[1] + a * first[1] + b * second[1], 0, 1)[None])
            with torch.no_grad():
                outputs = model(image.float())
            loss = nn.functional.cross_entropy(outputs, torch.from_numpy(y[1:2]))
            assert surface.losses[i, j] == pytest.approx(float(loss), rel=1e-4, abs=1e-6)
            assert surface.verdicts[i, j] == outputs.argmax()
    along, across = surface.losses[:, 3], surface.losses[3]
    assert along[-1] > across.max()  # the gradient's signs lead up, random ones nowhere
    assert along[-1] > along[0]


def test_directions_have_length_one(trained):
    model, _, x, y = trained
    for norm in (linf, l2):
        for d in directions(model, x[:5], y[:5], np.random.default_rng(0), norm=norm):
            lengths = norm.length(torch.from_numpy(d).flatten(1))
            torch.testing.assert_close(lengths, torch.ones(5))


# --------------------------------------------------------------------------------- patches


def in_the_middle(rng, n):
    return np.tile([2, 2, 0], (n, 1))


def anywhere(rng, n):
    return draw_places(rng, n, (8, 8), 5)


@pytest.mark.parametrize(
    ("places", "side", "target", "fooled"), [(in_the_middle, 4, 0, 0.8), (anywhere, 5, 4, 0.25)]
)
def test_a_patch_turns_images_it_has_never_seen_into_its_target(
    trained, places, side, target, fooled
):
    model, _, x, y = trained
    rng = np.random.default_rng(0)
    options = {"target": target, "side": side, "step": 0.05, "steps": 100, "rng": rng}
    learned = patch(model, x[:100], **options, places=None if places is anywhere else places)
    assert learned.shape == (side, side)
    assert 0 <= learned.min() <= learned.max() <= 1
    unseen = x[100:][y[100:] != target]
    noise = rng.random((side, side), np.float32)

    def turned(laid):
        moved = with_patch(unseen, laid, places(np.random.default_rng(1), len(unseen)))
        return np.mean(verdicts(model, moved) == target)

    assert turned(learned) > fooled
    assert turned(learned) > 3 * turned(noise)


def test_a_patch_lies_where_it_is_laid_and_turned_as_told():
    x = np.zeros((2, 3, 5, 4), np.float32)
    square_ = np.arange(12, dtype=np.float32).reshape(3, 2, 2) / 12
    laid = with_patch(x, square_, np.array([[3, 2, 0], [0, 1, 1]]))
    np.testing.assert_array_equal(laid[0, :, 3:, 2:], square_)
    np.testing.assert_array_equal(laid[1, :, :2, 1:3], np.rot90(square_, 1, (1, 2)))
    assert (laid[0] != 0).sum() + (laid[1] != 0).sum() == 2 * 11
    assert not x.any()


def test_places_are_all_those_where_it_fits():
    places = draw_places(np.random.default_rng(0), 2000, (5, 4), 3, turned=True)
    assert {tuple(place) for place in places[:, :2].tolist()} == {
        (row, column) for row in range(3) for column in range(2)
    }
    assert set(places[:, 2].tolist()) == {0, 1, 2, 3}
    assert not draw_places(np.random.default_rng(0), 50, (5, 4), 3)[:, 2].any()
