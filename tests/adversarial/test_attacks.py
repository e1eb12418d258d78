"""FGSM and PGD: the update as written, step for step; starts, restarts, targets, what is left."""

from __future__ import annotations

import itertools
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from ddml_kit.adversarial import (
    accuracy,
    clipped,
    fgsm,
    iterates,
    l1,
    l2,
    linf,
    margin,
    perceptron,
    pgd,
    square,
    verdicts,
)
from ddml_kit.cluster import Simulated
from ddml_kit.problems import digits
from ddml_kit.training.adaptive import adam
from ddml_kit.training.one_machine import mini_batch

NORMS = {"linf": linf, "l2": l2, "l1": l1}
RADII = {"linf": 0.1, "l2": 0.7, "l1": 1.5}
every_norm = pytest.mark.parametrize("name", NORMS)


@pytest.fixture(scope="module")
def trained():
    """A standard model, and 100 digits that it has not seen."""
    train, test = digits().split(0.3)
    problem = perceptron(train, 32)
    w = Simulated(1).run(mini_batch, problem, adam(0.01), steps=120, batch_size=64).results[0]
    return problem.module(w).eval(), test.x[:100], test.y[:100]


def small(seed: int = 0) -> nn.Module:
    generator = torch.Generator().manual_seed(seed)
    module = nn.Sequential(nn.Flatten(), nn.Linear(12, 7), nn.Tanh(), nn.Linear(7, 3)).eval()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    return module


def lengths(name, a, b):
    moved = torch.from_numpy(np.float64(a) - np.float64(b)).flatten(1)
    return NORMS[name].length(moved).numpy()


@pytest.mark.parametrize("targeted", [False, True])
@every_norm
def test_pgd_is_the_rule_as_it_is_written(name, targeted):
    """Written out for one image at a time, with the gradient of a perceptron by hand."""
    model = small().double()
    w1, b1, w2, b2 = (p.detach().numpy() for p in model.parameters())
    rng = np.random.default_rng(1)
    x, y = rng.uniform(0.2, 0.8, (6, 3, 4)), np.arange(6) % 3
    eps, step, sign = 0.15, 0.04, -1.0 if targeted else 1.0

    def gradient(at, label):
        hidden = np.tanh(w1 @ at + b1)
        outputs = w2 @ hidden + b2
        p = np.exp(outputs - outputs.max())
        p /= p.sum()
        p[label] -= 1
        return sign * w1.T @ ((w2.T @ p) * (1 - hidden**2))

    def onward(at, image, label):
        g = gradient(at, label)
        if name == "linf":
            moved = np.clip(at + step * np.sign(g) - image, -eps, eps)
        elif name == "l2":
            moved = at + step * g / np.linalg.norm(g) - image
            moved *= min(1, eps / np.linalg.norm(moved))
        else:
            best = np.argmax(np.abs(g))
            moved = at - image
            moved[best] += step * np.sign(g[best])
            lower, upper = 0.0, np.abs(moved).max()
            for _ in range(100 if np.abs(moved).sum() > eps else 0):
                theta = (lower + upper) / 2
                long = np.maximum(np.abs(moved) - theta, 0).sum() > eps
                lower, upper = (theta, upper) if long else (lower, theta)
            moved = np.sign(moved) * np.maximum(np.abs(moved) - lower, 0)
        return image + moved

    path = list(
        iterates(model, x, y, eps=eps, step=step, steps=8, norm=NORMS[name], targeted=targeted)
    )
    assert len(path) == 9
    np.testing.assert_array_equal(path[0], x)
    for before, after in itertools.pairwise(path):
        for i in range(6):
            there = onward(before[i].reshape(-1), x[i].reshape(-1), y[i])
            np.testing.assert_allclose(after[i].reshape(-1), there, atol=1e-9)
    last = pgd(model, x, y, eps=eps, step=step, steps=8, norm=NORMS[name], targeted=targeted)
    np.testing.assert_array_equal(last, path[-1])
    assert lengths(name, last, x).max() == pytest.approx(eps)  # the ball is what holds it


def test_from_the_same_start_it_is_the_loop_that_everybody_writes(trained):
    """In float32 and up to the last bit: sign, clip to the ball, clip to the bounds."""
    model, x, y = trained
    x, y = torch.from_numpy(x), torch.from_numpy(y)
    at = start = (x + 0.1 * (2 * torch.rand(x.shape, generator=torch.Generator()) - 1)).clamp(0, 1)
    for ours in iterates(model, x, y, eps=0.1, step=0.025, steps=10, start=start):
        assert torch.equal(ours, at)
        at.requires_grad_()
        loss = nn.functional.cross_entropy(model(at), y, reduction="sum")
        (gradient,) = torch.autograd.grad(loss, at)
        at = at.detach() + 0.025 * gradient.sign()
        at = (x + (at - x).clamp(-0.1, 0.1)).clamp(0, 1)


def test_from_the_same_start_it_is_torchattacks_step_for_step(trained):
    """Where it is installed; bit by bit, and benchmarks/pgd.py compares the time as well."""
    peer = pytest.importorskip("torchattacks")
    model, x, y = trained
    x, y, seen = torch.from_numpy(x), torch.from_numpy(y), []

    class Recording(nn.Module):
        def forward(self, x):
            seen.append(x.detach().clone())
            return model(x)

    attack = peer.PGD(Recording().eval(), eps=0.1, alpha=0.025, steps=10, random_start=True)
    with torch.random.fork_rng():
        torch.manual_seed(5)
        seen.append(attack(x, y))
        torch.manual_seed(5)
        start = torch.clamp(x + torch.empty_like(x).uniform_(-0.1, 0.1), 0, 1)
    ours = list(iterates(model, x, y, eps=0.1, step=0.025, steps=10, start=start))
    theirs = seen[-11:]
    assert len(theirs) == len(ours) == 11
    for a, b in zip(theirs, ours, strict=True):
        assert torch.equal(a, b)


@every_norm
@settings(max_examples=40)
@given(
    seed=st.integers(0, 99),
    eps=st.sampled_from([0.0, 0.03, 0.4, 2.0]),
    step=st.sampled_from([None, 0.01, 1.0]),
    bounds=st.sampled_from([(0.0, 1.0), (-0.5, 1.5), (-np.inf, np.inf)]),
    options=st.sampled_from(
        [{}, {"stop_early": True}, {"restarts": 3}, {"targeted": True}, {"loss": margin}]
    ),
)
def test_every_example_is_in_its_ball_and_in_its_bounds(name, seed, eps, step, bounds, options):
    rng = np.random.default_rng(seed)
    x = rng.random((5, 3, 4), np.float32)
    x[rng.random(x.shape) < 0.3] = 0.0
    y = np.arange(5) % 3
    kept = x.copy()
    given_ = {"eps": eps, "norm": NORMS[name], "bounds": bounds, **options}
    found = pgd(small(seed), x, y, step=step, steps=4, start=rng, **given_)
    once = fgsm(small(seed), x, y, eps=eps, norm=NORMS[name], bounds=bounds)
    for adversarial in (found, once):
        assert adversarial.dtype == np.float32
        assert lengths(name, adversarial, x).max() <= eps + 1e-6
        assert adversarial.min() >= bounds[0]
        assert adversarial.max() <= bounds[1]
    if eps == 0:
        np.testing.assert_array_equal(found, x)
    np.testing.assert_array_equal(x, kept)


@pytest.mark.parametrize(
    ("name", "eps"), [("linf", 0.1), ("l2", 3.0), ("l1", 1.0), ("l1", 20.0), ("l1", 200.0)]
)
def test_a_long_image_in_float32_is_in_its_ball(name, eps):
    """To 1e-6, or 1e-6 of a radius above 1: that much is lost when the move is added to x."""
    rng, generator = np.random.default_rng(0), torch.Generator().manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 3)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    x = rng.random((8, 3, 32, 32), np.float32)
    found = pgd(model, x, np.arange(8) % 3, eps=eps, steps=6, norm=NORMS[name], start=rng)
    moved = lengths(name, found, x)
    assert moved.max() <= eps + 1e-6 * max(1.0, eps)
    assert moved.max() > 0.99 * eps


@every_norm
def test_a_standard_model_falls_and_more_steps_do_no_worse_than_one(trained, name):
    model, x, y = trained
    radius = 2 * RADII[name]
    clean = accuracy(model, x, y)
    once = accuracy(model, fgsm(model, x, y, eps=radius, norm=NORMS[name]), y)
    many = accuracy(model, pgd(model, x, y, eps=radius, steps=20, norm=NORMS[name]), y)
    assert clean > 0.9
    assert many <= once < clean
    assert many < 0.05


@every_norm
def test_to_a_target_the_model_says_the_target(trained, name):
    model, x, y = trained
    target = (y + 1) % 10
    options = {"eps": 4 * RADII[name], "steps": 40, "norm": NORMS[name], "targeted": True}
    for stop in (False, True):
        found = pgd(model, x, target, **options, stop_early=stop)
        assert np.mean(verdicts(model, found) == target) > 0.9


@every_norm
def test_stopped_early_each_image_is_the_first_of_its_path_that_fools(trained, name):
    model, x, y = trained
    options = {"eps": RADII[name], "steps": 12, "norm": NORMS[name]}
    path = np.array(list(iterates(model, x, y, **options)))
    fooled = np.array([verdicts(model, at) for at in path]) != y
    first = np.where(fooled.any(axis=0), fooled.argmax(axis=0), len(path) - 1)
    found = pgd(model, x, y, **options, stop_early=True)
    np.testing.assert_allclose(found, path[first, np.arange(len(x))], atol=1e-6)
    assert (first == 0).any()  # wrong anyway: left as they are
    assert 0 < fooled[-1].mean() < 1


def test_an_image_is_attacked_the_same_whoever_else_is_in_the_batch(trained):
    model, x, y = trained
    together = pgd(model, x, y, eps=0.1, steps=10)
    alone = np.concatenate(
        [pgd(model, x[i : i + 1], y[i : i + 1], eps=0.1, steps=10) for i in (3, 7)]
    )
    np.testing.assert_allclose(together[[3, 7]], alone, atol=1e-6)


def test_restarts_fool_more_and_keep_what_fooled(trained):
    model, x, y = trained

    def right(restarts):
        options = {"eps": 0.1, "step": 0.05, "steps": 2, "restarts": restarts}
        found = pgd(model, x, y, start=np.random.default_rng(0), **options)
        return verdicts(model, found) == y, found

    one, many = right(1), right(8)
    assert not (many[0] & ~one[0]).any()
    assert many[0].sum() < one[0].sum()
    np.testing.assert_array_equal(many[1][~one[0]], one[1][~one[0]])


def test_of_starts_that_all_fail_the_highest_loss_is_kept(trained):
    model, x, y = trained

    def losses(restarts):
        found = pgd(
            model, x, y, eps=0.01, steps=1, start=np.random.default_rng(1), restarts=restarts
        )
        with torch.no_grad():
            outputs = model(torch.from_numpy(found))
        right = outputs.argmax(dim=1) == torch.from_numpy(y)
        return nn.functional.cross_entropy(outputs, torch.from_numpy(y), reduction="none")[right]

    few, many = losses(2), losses(8)  # from other starts each time
    assert len(few) == len(many)
    assert (many >= few - 1e-7).all()
    assert (many > few + 1e-5).any()


@pytest.mark.parametrize("make", [np.random.default_rng, torch.Generator().manual_seed])
def test_a_random_start_is_its_generators_alone(trained, make):
    model, x, y = trained
    state = torch.get_rng_state()
    starts = [next(iter(iterates(model, x, y, eps=0.1, steps=1, start=make(s)))) for s in (5, 5, 6)]
    np.testing.assert_array_equal(starts[0], starts[1])
    assert not np.array_equal(starts[0], starts[2])
    assert not np.array_equal(starts[0], x)
    assert torch.equal(torch.get_rng_state(), state)


def test_model_and_images_are_left_as_they_were():
    model = small()
    model[1].weight.requires_grad_(False)
    model[3].weight.grad = torch.ones_like(model[3].weight)
    x = torch.rand(4, 3, 4, requires_grad=True)
    y = torch.arange(4) % 3
    weights = {name: p.detach().clone() for name, p in model.named_parameters()}
    kept = x.detach().clone()
    with torch.no_grad():  # whoever calls may have gradients off
        found = pgd(model, x, y, eps=0.2, steps=3, start=torch.Generator(), restarts=2)
        square(model, x, y, eps=0.2, steps=4, rng=np.random.default_rng(0))
    assert isinstance(found, torch.Tensor)
    assert not found.requires_grad
    assert x.requires_grad
    assert x.grad is None
    assert torch.equal(x.detach(), kept)
    flags = [p.requires_grad for p in model.parameters()]
    assert flags == [False, True, True, True]
    assert torch.equal(model[3].weight.grad, torch.ones_like(model[3].weight))
    assert all(p.grad is None for name, p in model.named_parameters() if name != "3.weight")
    for name, parameter in model.named_parameters():
        assert torch.equal(parameter, weights[name])
    assert not any(part.training for part in model.modules())


def test_what_is_preprocessed_is_attacked_before_it_is(trained):
    """The radius is one of what is given, not of what the model sees."""
    model, x, y = trained
    wide = nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10)).eval()
    wide.load_state_dict(model.state_dict())
    with torch.no_grad():  # the same model, of images from -1 to 1
        wide[1].bias += (wide[1].weight * 0.5).sum(dim=1)
        wide[1].weight *= 0.5
    apply = lambda images: 2 * images - 1  # noqa: E731
    inside = pgd(wide, x, y, eps=0.1, steps=10, preprocess=apply)
    plain = pgd(model, x, y, eps=0.1, steps=10)
    assert lengths("linf", inside, x).max() <= 0.1 + 1e-6
    assert accuracy(wide, x, y, preprocess=apply) == accuracy(model, x, y)
    assert accuracy(wide, inside, y, preprocess=apply) == pytest.approx(
        accuracy(model, plain, y), abs=0.02
    )


def test_search_moves_on_where_the_outputs_are_flat():
    """A departure: as good as before is kept as well."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 3, bias=False)).eval()
    nn.init.zeros_(model[1].weight)
    x, y = np.full((2, 8, 8), 0.5, np.float32), np.zeros(2, int)
    first, later = (
        square(model, x, y, eps=0.1, steps=steps, rng=np.random.default_rng(0)) for steps in (1, 9)
    )
    assert (first != later).any(axis=(1, 2)).all()


@pytest.mark.parametrize("targeted", [False, True])
def test_random_search_fools_without_a_gradient(trained, targeted):
    model, x, y = trained
    labels = (y + 1) % 10 if targeted else y
    seen = []

    def asked(images):
        assert not images.requires_grad
        seen.append(len(images))
        return model(images)

    options = {"eps": 0.4, "steps": 150, "targeted": targeted}
    found = square(asked, x, labels, rng=np.random.default_rng(0), **options)
    assert lengths("linf", found, x).max() <= 0.4 + 1e-6
    assert 0 <= found.min() <= found.max() <= 1
    reached = (verdicts(model, found) == labels) == targeted
    assert reached.mean() > (0.5 if targeted else 0.95)
    assert len(seen) <= 151
    assert seen[-1] < len(x)  # only those that are left are asked about
    none = square(model, x, y, eps=0.4, steps=0, rng=np.random.default_rng(0))
    np.testing.assert_array_equal(none, x)


def test_images_of_several_colours_are_images_too():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(64, 3)).eval()
    x, y = np.random.default_rng(0).random((5, 3, 6, 6), np.float32), np.arange(5) % 3
    for attack in (
        partial(pgd, steps=3),
        partial(pgd, steps=3, norm=clipped(l2)),
        partial(square, steps=5, rng=np.random.default_rng(0)),
    ):
        found = attack(model, x, y, eps=0.2)
        assert found.shape == x.shape
        assert np.abs(found - x).max() <= 0.2 + 1e-6


def test_no_images_are_no_error():
    x, y = np.zeros((0, 3, 4), np.float32), np.zeros(0, np.int64)
    assert pgd(small(), x, y, eps=0.1, steps=3, stop_early=True).shape == (0, 3, 4)
