"""The exercises of lab 10: right answers in other words, and what a wrong one costs."""

from __future__ import annotations

import numpy as np
import torch

from ddml_kit.adversarial import l2, linf, pgd
from ddml_kit.notebook import check


def test_a_projection_in_other_words() -> None:
    def row_by_row(v, eps):
        found = []
        for row in v:
            length = np.sqrt(row @ row)
            found.append(row if length <= eps else row / length * eps)
        return np.array(found)

    def at_once(v, eps):
        return v / np.maximum(1, np.sqrt((v**2).sum(axis=1, keepdims=True)) / eps)

    assert check.l2_projection(row_by_row)
    assert check.l2_projection(at_once)


def test_the_library_s_projection_is_no_answer() -> None:
    def by_another_door(v, eps):
        v = torch.from_numpy(v)
        far = torch.full_like(v, 1e9)
        return l2.within(v, eps, -far, far).numpy()

    verdict = check.l2_projection(lambda v, eps: l2.project(torch.from_numpy(v), eps).numpy())
    assert verdict.state == "refused"
    assert "find the nearest point yourself" in check.l2_projection(by_another_door).sentence


def test_a_row_of_zeros_stays_where_it_is() -> None:
    def by_nothing(v, eps):
        with np.errstate(all="ignore"):
            length = np.linalg.norm(v, axis=1, keepdims=True)
            return (
                np.where(length > eps, 1, 0) * v * eps / length + np.where(length > eps, 0, 1) * v
            )

    verdict = check.l2_projection(by_nothing)
    assert "v = [[0.0, 0.0]]" in verdict.details["input"]
    assert "nan" in verdict.details["got"]


def test_descent_in_other_words() -> None:
    def by_bounds(gradient, x, eps, step, steps, start):
        low, high = np.maximum(x - eps, 0), np.minimum(x + eps, 1)
        at = start.copy()
        while steps:
            at += step * np.sign(gradient(at))
            at = np.minimum(np.maximum(at, low), high)
            steps -= 1
        return at

    def by_changes(gradient, x, eps, step, steps, start):
        added = start - x
        for _ in range(steps):
            added = np.clip(added + step * np.sign(gradient(x + added)), -eps, eps)
            added = np.clip(x + added, 0, 1) - x
        return x + added

    assert check.projected_descent(by_bounds)
    assert check.projected_descent(by_changes)


def test_the_library_s_descent_is_no_answer() -> None:
    def calls(gradient, x, eps, step, steps, start):
        def model(images):
            return images

        return pgd(model, x, np.zeros(len(x), int), eps=eps, step=step, steps=steps, norm=linf)

    verdict = check.projected_descent(calls)
    assert verdict.state == "refused"
    assert "write the loop yourself" in verdict.sentence


def test_gradients_are_counted() -> None:
    def twice(gradient, x, eps, step, steps, start):
        at = start
        for _ in range(steps):
            gradient(at)
            at = np.clip(np.clip(at + step * np.sign(gradient(at)), x - eps, x + eps), 0, 1)
        return at

    verdict = check.projected_descent(twice)
    assert "a gradient costs a pass through the network" in verdict.sentence
    assert (verdict.details["expected"], verdict.details["got"]) == ("1 gradient", "2 gradients")


def test_each_classic_mistake_of_descent_is_told_by_another_case() -> None:
    def at_the_end(gradient, x, eps, step, steps, start):
        at = start
        for _ in range(steps):
            at = at + step * np.sign(gradient(at))
        return np.clip(np.clip(at, x - eps, x + eps), 0, 1)

    def from_x(gradient, x, eps, step, steps, start):
        at = x
        for _ in range(steps):
            at = np.clip(np.clip(at + step * np.sign(gradient(at)), x - eps, x + eps), 0, 1)
        return at

    late, deaf = check.projected_descent(at_the_end), check.projected_descent(from_x)
    assert "x = [[0.6]], eps = 0.2, step = 0.15, steps = 3" in late.details["input"]
    assert (late.details["expected"], late.details["got"]) == ("[[0.8]]", "[[0.75]]")
    assert "start = [[0.4]]" in deaf.details["input"]


def test_the_worst_image_in_other_words() -> None:
    def pixel_by_pixel(w, b, x, y, eps):
        worst = x.copy()
        for i, weight in enumerate(w):
            if weight * y > 0:
                worst[i] = max(0.0, x[i] - eps)
            elif weight * y < 0:
                worst[i] = min(1.0, x[i] + eps)
        return worst

    def by_the_gradient(w, b, x, y, eps):
        slope = -y * w / (1 + np.exp(y * (w @ x + b)))
        return np.clip(x + eps * np.sign(slope), 0, 1)

    assert check.worst_image(pixel_by_pixel)
    assert check.worst_image(by_the_gradient)


def test_the_size_of_a_weight_is_not_that_of_the_step() -> None:
    verdict = check.worst_image(lambda w, b, x, y, eps: np.clip(x - eps * y * w, 0, 1))
    assert verdict.details["expected"] == "[0.3, 0.7]"
