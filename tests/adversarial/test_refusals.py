"""What the attacks refuse: a sentence with the rule and the value."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
from torch import nn

from ddml_kit.adversarial import (
    accuracy,
    bpda,
    directions,
    draw_places,
    fgsm,
    loss_surface,
    patch,
    pgd,
    robust_accuracy,
    rounded,
    square,
    with_patch,
)

X = np.full((4, 3, 4), 0.5, np.float32)
Y = np.array([0, 1, 2, 0])


def model() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(12, 3)).eval()


def attack(**changed):
    options = {"model": model(), "x": X, "y": Y, "eps": 0.1, "step": 0.02, "steps": 3, **changed}
    return pgd(options.pop("model"), options.pop("x"), options.pop("y"), **options)


def training(module: nn.Module) -> nn.Module:
    return module.train()


def partly() -> nn.Module:
    module = nn.Sequential(nn.Flatten(), nn.Dropout(), nn.Linear(12, 3)).eval()
    module[1].train()
    return module


def one_wrong() -> np.ndarray:
    x = X.copy()
    x[2, 1, 1] = 1.5
    return x


def with_nan() -> np.ndarray:
    x = X.copy()
    x[0, 0, 0] = np.nan
    return x


REFUSED = {
    "negative eps": ({"eps": -0.1}, "eps must be 0 or more and finite, got -0.1"),
    "eps is no number": ({"eps": np.nan}, "eps must be 0 or more and finite, got nan"),
    "infinite eps": ({"eps": np.inf}, "eps must be 0 or more and finite, got inf"),
    "bounds upside down": ({"bounds": (1.0, 0.0)}, "the first below, got (1.0, 0.0)"),
    "no bounds": ({"bounds": None}, "bounds are (least, greatest), two numbers, got None"),
    "three bounds": ({"bounds": (0, 1, 2)}, "(least, greatest), two numbers, got (0, 1, 2)"),
    "bounds of text": ({"bounds": (0, "b")}, "(least, greatest), two numbers, got (0, 'b')"),
    "empty bounds": ({"bounds": (1.0, 1.0)}, "the first below, got (1.0, 1.0)"),
    "outside": ({"x": one_wrong()}, "within their bounds (0, 1), got 1.5 and 0 other"),
    "NaN": ({"x": with_nan()}, "within their bounds (0, 1), got nan and 0 other"),
    "no step": ({"step": 0.0}, "step must be above 0 and finite, got 0.0"),
    "negative step": ({"step": -1.0}, "step must be above 0 and finite, got -1.0"),
    "negative steps": ({"steps": -1}, "steps must be 0 or more, got -1"),
    "no restarts": ({"restarts": 0}, "restarts must be 1 or more, got 0"),
    "restarts of nothing": ({"restarts": 2}, "restarts need a generator as start, got 2 and no"),
    "few labels": ({"y": Y[:3]}, "4 images need labels (4,), got the shape (3,)"),
    "one-hot labels": ({"y": np.eye(4, dtype=int)}, "need labels (4,), got the shape (4, 4)"),
    "negative label": ({"y": np.array([0, -100, 1, 2])}, "labels must be 0 or more, got -100"),
    "no such class": ({"y": np.array([0, 3, 1, 2])}, "below the 3 classes of the model, got 3"),
    "training": (
        {"model": training(model())},
        "in evaluation mode (call model.eval()), got Sequential in training mode",
    ),
    "partly training": ({"model": partly()}, "got its part 1 (Dropout) in training mode"),
    "training before": (
        {"preprocess": nn.Dropout()},
        "in evaluation mode (call model.eval()), got Dropout in training mode",
    ),
    "one row": ({"x": X[0, 0], "y": Y}, "images are (n, ...), one a row, got the shape (4,)"),
    "one output": (
        {"model": nn.Sequential(nn.Flatten(), nn.Linear(12, 1)).eval()},
        "outputs must be (n, classes), 2 classes at least, got the shape (1, 1)",
    ),
    "far start": ({"start": X + 0.2}, "the start must lie within eps = 0.1 of x in linf, got 0.2"),
    "start outside": (
        {"x": X * 0, "start": X * 0 - 0.05},
        "the start must lie within the bounds (0, 1)",
    ),
    "start of another shape": ({"start": X[:2]}, "the shape of x, (4, 3, 4), got (2, 3, 4)"),
}


@pytest.mark.parametrize(("changed", "sentence"), REFUSED.values(), ids=REFUSED)
def test_pgd_refuses_with_rule_and_value(changed, sentence):
    with pytest.raises(ValueError, match=re.escape(sentence)):
        attack(**changed)


def test_other_types_are_refused():
    for changed, sentence in (
        ({"eps": "a"}, "eps must be a number, got 'a'"),
        ({"step": None, "eps": None}, "eps must be a number, got None"),
        ({"step": "0.1"}, "step must be a number, got '0.1'"),
        ({"steps": 2.5}, "steps must be a whole number, got 2.5"),
        ({"restarts": 1.5}, "restarts must be a whole number, got 1.5"),
    ):
        with pytest.raises(TypeError, match=sentence):
            attack(**changed)
    with pytest.raises(TypeError, match=r"array or tensor of floats, got torch.uint8"):
        attack(x=np.zeros((4, 3, 4), np.uint8))
    with pytest.raises(TypeError, match=r"array or tensor of floats, got list"):
        attack(x=[[0.5]])
    with pytest.raises(TypeError, match=r"labels must be whole numbers, got torch.float64"):
        attack(y=np.zeros(4))
    with pytest.raises(TypeError, match=r"None, a generator or images, got a start of type int"):
        attack(start=3)


def test_a_gradient_that_is_not_finite_is_an_error():
    def root(images):
        return model()(torch.sqrt(images - 0.5))

    for stop in (False, True):
        with pytest.raises(FloatingPointError, match="gradient of the loss by the images must be"):
            attack(model=root, stop_early=stop)


def test_fgsm_curves_surfaces_and_search_refuse_too():
    with pytest.raises(ValueError, match="eps must be 0 or more"):
        fgsm(model(), X, Y, eps=-1)
    with pytest.raises(ValueError, match="eps must be 0 or more and finite, got -1"):
        robust_accuracy(model(), X, Y, fgsm, eps=[0.1, -1])
    with pytest.raises(ValueError, match=r"eps must be a list of radii, got the shape \(\)"):
        robust_accuracy(model(), X, Y, fgsm, eps=0.1)
    with pytest.raises(ValueError, match="an accuracy needs an image at least, got none"):
        robust_accuracy(model(), X[:0], Y[:0], fgsm, eps=[0.1])
    with pytest.raises(ValueError, match="in training mode"):
        accuracy(training(model()), X, Y)
    with pytest.raises(ValueError, match=r"4 images need labels \(4,\)"):
        accuracy(model(), X, Y[:2])
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match="steps must be 0 or more, got -1"):
        square(model(), X, Y, eps=0.1, steps=-1, rng=rng)
    with pytest.raises(ValueError, match=r"squares need images .*, got the shape \(4, 12\)"):
        square(model(), X.reshape(4, 12), Y, eps=0.1, steps=1, rng=rng)
    first, second = directions(model(), X, Y, rng)
    with pytest.raises(ValueError, match="points must be odd and 3 or more, got 4"):
        loss_surface(model(), X[0], 0, first[0], second[0], reach=0.1, points=4)
    with pytest.raises(ValueError, match="reach must be above 0 and finite, got 0"):
        loss_surface(model(), X[0], 0, first[0], second[0], reach=0)
    with pytest.raises(ValueError, match=r"shape of x, \(3, 4\), got \(4, 3, 4\)"):
        loss_surface(model(), X[0], 0, first, second[0], reach=0.1)
    with pytest.raises(ValueError, match="levels must be 2 or more, got 1"):
        rounded(torch.zeros(3), 1)
    with pytest.raises(ValueError, match=r"outputs of its shape \(4, 12\), got \(4, 3, 4\)"):
        bpda(nn.Flatten().eval())(torch.from_numpy(X))


def test_patches_refuse_too():
    rng = np.random.default_rng(0)
    options = {"target": 0, "side": 2, "step": 0.1, "steps": 1, "rng": rng}
    for changed, sentence in (
        ({"side": 4}, "side is from 1 to that of the image, 3, got 4"),
        ({"side": 0}, "side is from 1 to that of the image, 3, got 0"),
        ({"target": 3}, "labels must be below the 3 classes of the model, got 3"),
        ({"target": -1}, "target must be 0 or more, got -1"),
        ({"step": 0}, "step must be above 0 and finite, got 0"),
        ({"batch_size": 0}, "batch_size must be 1 or more, got 0"),
    ):
        with pytest.raises(ValueError, match=sentence):
            patch(model(), X, **{**options, **changed})
    places = draw_places(rng, 4, (3, 4), 2)
    square_ = np.zeros((2, 2), np.float32)
    with pytest.raises(ValueError, match=r"4 images need places \(4, 3\), got \(3, 3\)"):
        with_patch(X, square_, places[:3])
    with pytest.raises(ValueError, match=r"place lies from \(0, 0\) to \(1, 2\), got"):
        with_patch(X, square_, places + 5)
    with pytest.raises(ValueError, match=r"within their bounds \(0, 1\), got 2"):
        with_patch(X, square_ + 2, places)
    with pytest.raises(ValueError, match=r"a square of theirs, got the shape \(1, 2\)"):
        with_patch(X, square_[:1], places)
