"""Projected gradient descent: steps up the loss, each brought back to where it may be.

A. Madry, A. Makelov, L. Schmidt, D. Tsipras, A. Vladu, "Towards Deep Learning Models Resistant to
Adversarial Attacks", ICLR 2018, arXiv 1706.06083, section 2.1:

    x <- nearest allowed image to (x + step * steepest ascent of the loss)

from a random start, or from x itself (A. Kurakin, I. Goodfellow, S. Bengio, "Adversarial Examples
in the Physical World", arXiv 1607.02533). One step of length eps from x is the fast gradient sign
method (I. Goodfellow, J. Shlens, C. Szegedy, "Explaining and Harnessing Adversarial Examples", ICLR
2015, arXiv 1412.6572). Towards a target it steps down the loss to the target instead.

Each image is attacked by itself: sums of losses, not means, so that nothing depends on who else is
in the batch. Departures: a random start is uniform in the ball of any norm, then clipped to the
bounds; in l2 and l1 the nearest image is that of ball and bounds together (see `norms`).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from ddml_kit.adversarial.ball import Ball, Generator
from ddml_kit.adversarial.checks import (
    as_given,
    as_images,
    as_labels,
    check_count,
    check_eps,
    check_steps,
)
from ddml_kit.adversarial.goal import Goal, Loss, Model, cross_entropy
from ddml_kit.adversarial.norms import Bounds, Norm, linf

UNIT: Bounds = (0.0, 1.0)
REACH = 2.5  # times eps, all steps together, where no step is given, as in Madry et al. for l2

Start = Generator | np.ndarray | torch.Tensor | None


def fgsm(
    model: Model,
    x: Any,
    y: Any,
    *,
    eps: float,
    norm: Norm = linf,
    bounds: Bounds = UNIT,
    targeted: bool = False,
    preprocess: Model | None = None,
    loss: Loss = cross_entropy,
) -> Any:
    """Adversarial images after one step of length eps, (n, ...), an array or tensor as x is.

    Arguments and errors as in `pgd`.
    """
    check_eps(eps)
    return pgd(
        model,
        x,
        y,
        eps=eps,
        step=eps or None,
        steps=1,
        norm=norm,
        bounds=bounds,
        targeted=targeted,
        preprocess=preprocess,
        loss=loss,
    )


def pgd(
    model: Model,
    x: Any,
    y: Any,
    *,
    eps: float,
    step: float | None = None,
    steps: int,
    norm: Norm = linf,
    bounds: Bounds = UNIT,
    targeted: bool = False,
    start: Start = None,
    restarts: int = 1,
    stop_early: bool = False,
    preprocess: Model | None = None,
    loss: Loss = cross_entropy,
) -> Any:
    """Adversarial images, (n, ...), an array or tensor as x is: within eps of x and within bounds.

    model: images (n, ...) to outputs (n, classes); a module must be in evaluation mode, and is left
    as it is. x: images within bounds. y: their labels (n,), or the targets. step: the length of a
    step in the norm; None for 2.5 eps / steps. start: None for x itself, a generator for a random
    start, or images that are allowed. restarts: how often to begin from another random start,
    images that fool the model excepted; of starts that don't fool it the one with the larger loss
    is kept. stop_early: an image stays as it is once it fools the model. preprocess: applied to
    images before the model. loss: (outputs, labels) -> (n,), `cross_entropy` or `margin`.

    Rounding may leave the ball by 1e-6, or by 1e-6 of a radius above 1.
    Raises ValueError or TypeError for what can't be attacked, FloatingPointError where the loss has
    no finite gradient.
    """
    goal, ball, y = _posed(model, x, y, eps, norm, bounds, targeted, preprocess, loss)
    step = _length(step, eps, steps)
    check_count(restarts, "restarts")
    if restarts > 1 and not isinstance(start, Generator):
        raise ValueError(f"restarts need a generator as start, got {restarts} and {_kind(start)}")
    climb = _until_fooled if stop_early else _all_steps
    found = climb(goal, ball, y, _begun(start, ball), step, steps)
    if restarts > 1:
        assert isinstance(start, Generator)
        reached, heights = goal.judged(found, y)
        for _ in range(restarts - 1):
            begun = ball.draw(start)  # for all, so that an image's starts don't depend on others
            left = torch.nonzero(~reached).squeeze(1)
            if not len(left):
                break
            other = climb(goal, ball.rows(left), y[left], begun[left], step, steps)
            fools, height = goal.judged(other, y[left])
            better = fools | (height > heights[left])
            found[left[better]] = other[better]
            heights[left[better]], reached[left[fools]] = height[better], True
    return as_given(found, x)


def iterates(
    model: Model,
    x: Any,
    y: Any,
    *,
    eps: float,
    step: float | None = None,
    steps: int,
    norm: Norm = linf,
    bounds: Bounds = UNIT,
    targeted: bool = False,
    start: Start = None,
    preprocess: Model | None = None,
    loss: Loss = cross_entropy,
) -> Iterator[Any]:
    """The start and the images after each step, steps + 1 times (n, ...), as `pgd` makes them."""
    goal, ball, y = _posed(model, x, y, eps, norm, bounds, targeted, preprocess, loss)
    path = _path(goal, ball, y, _begun(start, ball), _length(step, eps, steps), steps)
    return (as_given(at, x) for at in path)


# ------------------------------------------------------------------------------ the algorithm


def _path(
    goal: Goal, ball: Ball, y: torch.Tensor, at: torch.Tensor, step: float, steps: int
) -> Iterator[torch.Tensor]:
    """The images before the first step and after each."""
    yield at
    for _ in range(steps):
        at = ball.nearest(at.add(ball.steepest(goal.slope(at, y), at), alpha=step))
        yield at


def _all_steps(
    goal: Goal, ball: Ball, y: torch.Tensor, at: torch.Tensor, step: float, steps: int
) -> torch.Tensor:
    """The images after the last step."""
    for last in _path(goal, ball, y, at, step, steps):
        at = last
    return at


def _until_fooled(
    goal: Goal, ball: Ball, y: torch.Tensor, at: torch.Tensor, step: float, steps: int
) -> torch.Tensor:
    """Each image as soon as it fools the model, or after the last step."""
    found = at.clone()
    left = torch.arange(len(at), device=at.device)
    for _ in range(steps):
        rest, gradient = goal.slope_of_rest(at, y)
        if not rest.all():
            found[left[~rest]] = at[~rest]
            left, at, y, ball = left[rest], at[rest], y[rest], ball.rows(rest)
        if not len(left):
            return found
        at = ball.nearest(at.add(ball.steepest(gradient, at), alpha=step))
    found[left] = at
    return found


# ------------------------------------------------------------------------------- the public door


def _posed(
    model: Model,
    x: Any,
    y: Any,
    eps: float,
    norm: Norm,
    bounds: Bounds,
    targeted: bool,
    preprocess: Model | None,
    loss: Loss,
) -> tuple[Goal, Ball, torch.Tensor]:
    """The arguments as an attack needs them, checked."""
    check_eps(eps)
    images = as_images(x, bounds)
    labels = as_labels(y, len(images)).to(images.device)
    goal = Goal(model, loss, preprocess, targeted)
    goal.check(images, labels)
    return goal, Ball(images, eps, norm, bounds), labels


def _length(step: float | None, eps: float, steps: int) -> float:
    check_count(steps, "steps", least=0)
    if step is None:
        return REACH * eps / max(1, steps)
    check_steps(step, steps)
    return step


def _begun(start: Start, ball: Ball) -> torch.Tensor:
    if start is None:
        return ball.x.clone()
    if isinstance(start, Generator):
        return ball.draw(start)
    if not isinstance(start, np.ndarray | torch.Tensor):
        raise TypeError(f"a start is None, a generator or images, got {_kind(start)}")
    at = torch.as_tensor(start).detach().to(ball.x, copy=True)
    ball.check(at, "the start")
    return at


def _kind(start: Any) -> str:
    return "no start" if start is None else f"a start of type {type(start).__name__}"
