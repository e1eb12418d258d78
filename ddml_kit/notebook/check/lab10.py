"""The exercises of lab 10, adversarial examples."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from ddml_kit.adversarial import fgsm, iterates, l2, linf, pgd
from ddml_kit.adversarial.ball import Ball
from ddml_kit.adversarial.pgd import UNIT, _path
from ddml_kit.notebook.check.exercise import Case, Exercise, Mutant, Observed

Gradient = Callable[[np.ndarray], np.ndarray]

# ------------------------------------------------------------------ the projection on the l2 ball


def project(v: np.ndarray, eps: float) -> np.ndarray:
    return l2.project(torch.from_numpy(v), eps).numpy()


def _observe_projection(answer: Callable[..., Any], case: Case) -> Observed:
    return Observed(answer(*case.arguments))


def _projection_case(v: np.ndarray, eps: float) -> Case:
    return Case(f"v = {v.tolist()}\neps = {eps}", (v, eps))


def _drawn_projection(rng: np.random.Generator) -> Case:
    v = rng.normal(size=(6, 5)) * rng.choice([0.3, 3.0], (6, 1))
    return _projection_case(np.round(v, 3), float(rng.integers(4, 9)) / 4)


def _stub_projection(v: np.ndarray, eps: float) -> np.ndarray: ...  # type: ignore[empty-body]


def _always_on_the_sphere(v: np.ndarray, eps: float) -> np.ndarray:
    length = np.linalg.norm(v, axis=1, keepdims=True)
    return eps * v / np.where(length > 0, length, 1)


def _of_the_whole(v: np.ndarray, eps: float) -> np.ndarray:
    return v * min(1.0, eps / np.linalg.norm(v))


def _each_coordinate(v: np.ndarray, eps: float) -> np.ndarray:
    return np.clip(v, -eps, eps)


def _squared(v: np.ndarray, eps: float) -> np.ndarray:
    square = (v**2).sum(axis=1, keepdims=True)
    return np.where(square > eps, v * eps / np.where(square > 0, square, 1), v)


def _by_zero(v: np.ndarray, eps: float) -> np.ndarray:
    with np.errstate(invalid="ignore", divide="ignore"):
        length = np.sqrt((v**2).sum(axis=1, keepdims=True))
        return v / length * np.minimum(length, eps)


def _down_the_columns(v: np.ndarray, eps: float) -> np.ndarray:
    length = np.linalg.norm(v, axis=0)
    return v * np.minimum(1, eps / np.where(length > 0, length, 1))


def _of_the_other_norm(v: np.ndarray, eps: float) -> np.ndarray:
    length = np.abs(v).sum(axis=1, keepdims=True)
    return v * np.minimum(1, eps / np.where(length > 0, length, 1))


L2_PROJECTION = Exercise(
    name="l2_projection",
    question="Each row of v, or the nearest one whose length is at most eps.",
    reference=project,
    key=l2.project,
    stub=_stub_projection,
    without={l2.within: "find the nearest point yourself"},
    cases=[
        _projection_case(np.array([[3.0, 4.0]]), 1.0),
        _projection_case(np.array([[0.3, 0.4]]), 1.0),
        _projection_case(np.array([[0.0, 2.0, 0.0], [0.6, 0.0, 0.8]]), 1.5),
        _projection_case(np.array([[0.0, 0.0]]), 1.0),
    ],
    drawn=_drawn_projection,
    observe=_observe_projection,
    hints=[
        "Draw a circle, a point within it and one beyond. Which point of the disc is nearest?",
        "A point within stays. One beyond goes straight towards the middle, as far as the circle.",
        "length = np.linalg.norm(v, axis=1, keepdims=True). Multiply by eps / length where that is "
        "below 1. Mind the row of zeros.",
    ],
    mutants=[
        Mutant(_always_on_the_sphere, "input     v = [[0.3, 0.4]]"),
        Mutant(_of_the_whole, "v = [[0.0, 2.0, 0.0], [0.6, 0.0, 0.8]]"),
        Mutant(_each_coordinate, "got       [[1., 1.]]"),
        Mutant(_squared, "not the expected answer"),
        Mutant(_by_zero, "input     v = [[0.0, 0.0]]"),
        Mutant(_down_the_columns, "not the expected answer"),
        Mutant(_of_the_other_norm, "not the expected answer"),
    ],
)

# ------------------------------------------------------------------ projected gradient descent


def climb(
    gradient: Gradient, x: np.ndarray, eps: float, step: float, steps: int, start: np.ndarray
) -> np.ndarray:
    ball = Ball(torch.from_numpy(x), eps, linf, UNIT)
    at = start
    for _ in range(steps):
        at = ball.nearest(torch.from_numpy(at + step * np.sign(gradient(at)))).numpy()
    return at


def _observe_climb(answer: Callable[..., Any], case: Case) -> Observed:
    waves, *arguments = case.arguments
    asked = 0

    def gradient(at: np.ndarray) -> np.ndarray:
        """Of the loss, the sum of sin(waves * at) / waves: hills and valleys."""
        nonlocal asked
        asked += 1
        return np.cos(waves * np.asarray(at))

    value = answer(gradient, *arguments)
    return Observed(value, {"gradient": asked})


def _climb_case(
    waves: float, x: np.ndarray, eps: float, step: float, steps: int, start: np.ndarray
) -> Case:
    shown = (
        f"gradient = lambda at: np.cos({waves} * at)\nx = {x.tolist()}, eps = {eps}, "
        f"step = {step}, steps = {steps}\nstart = {start.tolist()}"
    )
    return Case(shown, (waves, x, eps, step, steps, start))


def _drawn_climb(rng: np.random.Generator) -> Case:
    x = np.round(rng.random((4, 6)), 2)
    start = np.round(np.clip(x + np.round(rng.uniform(-0.2, 0.2, x.shape), 2), 0, 1), 2)
    return _climb_case(9.0, x, 0.2, 0.15, 5, start)


def _stub_climb(  # type: ignore[empty-body]
    gradient: Gradient, x: np.ndarray, eps: float, step: float, steps: int, start: np.ndarray
) -> np.ndarray: ...


def _no_projection(
    gradient: Gradient, x: Any, eps: float, step: float, steps: int, start: Any
) -> Any:
    at = start
    for _ in range(steps):
        at = np.clip(at + step * np.sign(gradient(at)), 0, 1)
    return at


def _no_bounds(gradient: Gradient, x: Any, eps: float, step: float, steps: int, start: Any) -> Any:
    at = start
    for _ in range(steps):
        at = np.clip(at + step * np.sign(gradient(at)), x - eps, x + eps)
    return at


def _down(gradient: Gradient, x: Any, eps: float, step: float, steps: int, start: Any) -> Any:
    at = start
    for _ in range(steps):
        at = np.clip(np.clip(at - step * np.sign(gradient(at)), x - eps, x + eps), 0, 1)
    return at


def _from_x(gradient: Gradient, x: Any, eps: float, step: float, steps: int, start: Any) -> Any:
    at = x
    for _ in range(steps):
        at = np.clip(np.clip(at + step * np.sign(gradient(at)), x - eps, x + eps), 0, 1)
    return at


def _in_the_end(gradient: Gradient, x: Any, eps: float, step: float, steps: int, start: Any) -> Any:
    at = start
    for _ in range(steps):
        at = at + step * np.sign(gradient(at))
    return np.clip(np.clip(at, x - eps, x + eps), 0, 1)


def _around_the_last(
    gradient: Gradient, x: Any, eps: float, step: float, steps: int, start: Any
) -> Any:
    at = start
    for _ in range(steps):
        at = np.clip(at + np.clip(step * np.sign(gradient(at)), -eps, eps), 0, 1)
    return at


def _around_the_start(
    gradient: Gradient, x: Any, eps: float, step: float, steps: int, start: Any
) -> Any:
    at = start
    for _ in range(steps):
        at = np.clip(np.clip(at + step * np.sign(gradient(at)), start - eps, start + eps), 0, 1)
    return at


def _no_sign(gradient: Gradient, x: Any, eps: float, step: float, steps: int, start: Any) -> Any:
    at = start
    for _ in range(steps):
        at = np.clip(np.clip(at + step * gradient(at), x - eps, x + eps), 0, 1)
    return at


def _one_gradient(
    gradient: Gradient, x: Any, eps: float, step: float, steps: int, start: Any
) -> Any:
    direction, at = np.sign(gradient(start)), start
    for _ in range(steps):
        at = np.clip(np.clip(at + step * direction, x - eps, x + eps), 0, 1)
    return at


def _a_gradient_too_many(
    gradient: Gradient, x: Any, eps: float, step: float, steps: int, start: Any
) -> Any:
    at = start
    for _ in range(steps):
        if not gradient(at).any():
            break
        at = np.clip(np.clip(at + step * np.sign(gradient(at)), x - eps, x + eps), 0, 1)
    return at


def _each_image_apart(
    gradient: Gradient, x: Any, eps: float, step: float, steps: int, start: Any
) -> Any:
    found = []
    for image, at in zip(x, start, strict=True):
        for _ in range(steps):
            at = np.clip(at + step * np.sign(gradient(at)), image - eps, image + eps)
            at = np.clip(at, 0, 1)
        found.append(at)
    return np.array(found)


PROJECTED_DESCENT = Exercise(
    name="projected_descent",
    question="The images after so many steps up the loss, each within eps of x and from 0 to 1.",
    reference=climb,
    key=_path,
    stub=_stub_climb,
    cases=[
        _climb_case(1.0, np.array([[0.5]]), 0.2, 0.1, 1, np.array([[0.5]])),
        _climb_case(1.0, np.array([[0.5]]), 0.2, 0.1, 2, np.array([[0.4]])),
        _climb_case(1.0, np.array([[0.5]]), 0.2, 0.1, 4, np.array([[0.5]])),
        _climb_case(1.0, np.array([[0.9, 0.5]]), 0.2, 0.1, 3, np.array([[0.9, 0.5]])),
        _climb_case(9.0, np.array([[0.6]]), 0.2, 0.15, 3, np.array([[0.6]])),
        _climb_case(
            9.0,
            np.array([[0.5, 0.1], [0.7, 0.0]]),
            0.1,
            0.08,
            4,
            np.array([[0.45, 0.1], [0.7, 0.05]]),
        ),
    ],
    drawn=_drawn_climb,
    observe=_observe_climb,
    without={
        **dict.fromkeys((pgd, fgsm, iterates), "write the loop yourself"),
        Ball.nearest: "find the nearest image yourself",
    },
    helpers=[Ball.nearest],
    most={
        "gradient": "the images are right, but a gradient costs a pass through the network, and "
        "one a step for all images together will do"
    },
    hints=[
        "A step: where does the loss rise most, if every pixel may move by as much as any other?",
        "After each step: which pixel is too far from x, and which is no longer from 0 to 1?",
        "at = at + step * np.sign(gradient(at)), then np.clip(at, x - eps, x + eps), then "
        "np.clip(at, 0, 1). Where does `at` begin?",
    ],
    key_says="The nearest allowed image is that of two boxes: around x, and the bounds.",
    mutants=[
        Mutant(_no_projection, "expected  [[0.7]]"),
        Mutant(_no_bounds, "x = [[0.9, 0.5]]"),
        Mutant(_down, "expected  [[0.6]]"),
        Mutant(_from_x, "start = [[0.4]]"),
        Mutant(_in_the_end, "x = [[0.6]]"),
        Mutant(_around_the_last, "expected  [[0.7]]"),
        Mutant(_around_the_start, "not the expected answer"),
        Mutant(_no_sign, "steps = 1"),
        Mutant(_one_gradient, "not the expected answer"),
        Mutant(_a_gradient_too_many, "one a step for all images together will do"),
        Mutant(_each_image_apart, "one a step for all images together will do"),
    ],
)

# -------------------------------------------------------------- one step, where it is exact


def worst_image(w: np.ndarray, b: float, x: np.ndarray, y: int, eps: float) -> np.ndarray:
    weights = torch.from_numpy(w)

    def model(images: torch.Tensor) -> torch.Tensor:
        score = images @ weights + b
        return torch.stack([-score, score], dim=1)

    return fgsm(model, x[None], np.array([int(y > 0)]), eps=eps)[0]


def _observe_worst(answer: Callable[..., Any], case: Case) -> Observed:
    return Observed(answer(*case.arguments))


def _worst_case(w: list[float], b: float, x: list[float], y: int, eps: float) -> Case:
    shown = f"w = {w}, b = {b}\nx = {x}, y = {y}, eps = {eps}"
    return Case(shown, (np.array(w), b, np.array(x), y, eps))


def _drawn_worst(rng: np.random.Generator) -> Case:
    w, x = np.round(rng.normal(size=6), 2), np.round(rng.random(6), 2)
    return _worst_case(w.tolist(), 0.1, x.tolist(), int(rng.choice([-1, 1])), 0.3)


def _stub_worst(  # type: ignore[empty-body]
    w: np.ndarray, b: float, x: np.ndarray, y: int, eps: float
) -> np.ndarray: ...


def _along_the_weights(w: np.ndarray, b: float, x: np.ndarray, y: int, eps: float) -> np.ndarray:
    return np.clip(x - eps * y * w, 0, 1)


def _of_length_eps(w: np.ndarray, b: float, x: np.ndarray, y: int, eps: float) -> np.ndarray:
    return np.clip(x - eps * y * w / np.linalg.norm(w), 0, 1)


def _for_its_good(w: np.ndarray, b: float, x: np.ndarray, y: int, eps: float) -> np.ndarray:
    return np.clip(x + eps * y * np.sign(w), 0, 1)


def _whatever_the_label(w: np.ndarray, b: float, x: np.ndarray, y: int, eps: float) -> np.ndarray:
    return np.clip(x - eps * np.sign(w), 0, 1)


def _beyond_black(w: np.ndarray, b: float, x: np.ndarray, y: int, eps: float) -> np.ndarray:
    return x - eps * y * np.sign(w)


def _darker(w: np.ndarray, b: float, x: np.ndarray, y: int, eps: float) -> np.ndarray:
    return np.clip(x - eps * y * np.where(w >= 0, 1, -1), 0, 1)


WORST_IMAGE = Exercise(
    name="worst_image",
    question="The worst image within eps for a model that reads the sign of w @ x + b.",
    reference=worst_image,
    key=fgsm,
    stub=_stub_worst,
    cases=[
        _worst_case([1.0], 0.0, [0.5], 1, 0.1),
        _worst_case([1.0], 0.0, [0.5], -1, 0.1),
        _worst_case([2.0, -3.0], 0.5, [0.5, 0.5], 1, 0.2),
        _worst_case([2.0, 0.0, -1.0], 0.0, [0.1, 0.5, 0.9], 1, 0.2),
    ],
    drawn=_drawn_worst,
    observe=_observe_worst,
    without={pgd: "write the step yourself"},
    hints=[
        "The loss is large where y * (w @ x + b) is small. What does one pixel add to that?",
        "A pixel with a positive weight, and y = 1: up or down? By how much at most? And how does "
        "the size of its weight come in?",
        "Every pixel moves by eps, against y * np.sign(w); then np.clip to 0 and 1.",
    ],
    key_says="The gradient's sign is that of -y * w: one step up it is all there is.",
    mutants=[
        Mutant(_along_the_weights, "w = [2.0, -3.0]"),
        Mutant(_of_length_eps, "w = [2.0, -3.0]"),
        Mutant(_for_its_good, "expected  [0.4]"),
        Mutant(_whatever_the_label, "expected  [0.6]"),
        Mutant(_beyond_black, "not the expected answer"),
        Mutant(_darker, "w = [2.0, 0.0, -1.0]"),
    ],
)
