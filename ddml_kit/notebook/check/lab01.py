"""The exercises of lab 01, one machine: a pass in batches, a step of Adam."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ddml_kit.notebook.check.exercise import Case, Exercise, Mutant, Observed
from ddml_kit.training.adaptive import adam
from ddml_kit.training.one_machine import mini_batch

Gradient = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]

# ------------------------------------------------------------------------ a pass in batches


def one_pass(
    w: np.ndarray, x: np.ndarray, y: np.ndarray, gradient: Gradient, lr: float, batch_size: int
) -> np.ndarray:
    for start in range(0, len(x), batch_size):
        batch = slice(start, start + batch_size)
        w = w - lr * gradient(w, x[batch], y[batch])
    return w


def _observe_pass(answer: Callable[..., Any], case: Case) -> Observed:
    """Of least squares; counts what is asked of the gradient."""
    w, x, y, lr, batch_size = case.arguments
    asked: list[int] = []

    def gradient(w: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        asked.append(len(x))
        return x.T @ (x @ w - y) / len(x)

    end = answer(w, x, y, gradient, lr, batch_size)
    return Observed(end, {"sample looked at": sum(asked), "gradient computed": len(asked)})


def _pass_case(
    w: list[float], x: list[list[float]], y: list[float], lr: float, batch_size: int
) -> Case:
    shown = f"w = {w}\nx = {x}\ny = {y}\nlr = {lr}, batch_size = {batch_size}"
    return Case(shown, (np.array(w), np.array(x), np.array(y), lr, batch_size))


def _drawn_pass(rng: np.random.Generator) -> Case:
    x, y = rng.integers(-3, 4, (7, 2)).astype(float), rng.integers(-3, 4, 7).astype(float)
    return _pass_case([0.0, 0.0], x.tolist(), y.tolist(), 0.1, 3)


def _stub_pass(  # type: ignore[empty-body]
    w: np.ndarray, x: np.ndarray, y: np.ndarray, gradient: Gradient, lr: float, batch_size: int
) -> np.ndarray: ...


def _whole_data(
    w: np.ndarray, x: np.ndarray, y: np.ndarray, gradient: Gradient, lr: float, batch_size: int
) -> np.ndarray:
    for _ in range(0, len(x), batch_size):
        w = w - lr * gradient(w, x, y)
    return w


def _at_the_old_model(
    w: np.ndarray, x: np.ndarray, y: np.ndarray, gradient: Gradient, lr: float, batch_size: int
) -> np.ndarray:
    new = w
    for start in range(0, len(x), batch_size):
        batch = slice(start, start + batch_size)
        new = new - lr * gradient(w, x[batch], y[batch])
    return new


def _drops_the_rest(
    w: np.ndarray, x: np.ndarray, y: np.ndarray, gradient: Gradient, lr: float, batch_size: int
) -> np.ndarray:
    for k in range(len(x) // batch_size):
        batch = slice(k * batch_size, (k + 1) * batch_size)
        w = w - lr * gradient(w, x[batch], y[batch])
    return w


def _sums(
    w: np.ndarray, x: np.ndarray, y: np.ndarray, gradient: Gradient, lr: float, batch_size: int
) -> np.ndarray:
    for start in range(0, len(x), batch_size):
        batch = slice(start, start + batch_size)
        w = w - lr * len(x[batch]) * gradient(w, x[batch], y[batch])
    return w


def _sample_by_sample(
    w: np.ndarray, x: np.ndarray, y: np.ndarray, gradient: Gradient, lr: float, batch_size: int
) -> np.ndarray:
    for start in range(0, len(x), batch_size):
        ours = range(start, min(start + batch_size, len(x)))
        w = w - lr * np.mean([gradient(w, x[i : i + 1], y[i : i + 1]) for i in ours], axis=0)
    return w


def _uphill(
    w: np.ndarray, x: np.ndarray, y: np.ndarray, gradient: Gradient, lr: float, batch_size: int
) -> np.ndarray:
    for start in range(0, len(x), batch_size):
        batch = slice(start, start + batch_size)
        w = w + lr * gradient(w, x[batch], y[batch])
    return w


ONE_PASS = Exercise(
    name="one_pass",
    question="The model after one pass over the samples in their order, a step for each batch.",
    reference=one_pass,
    key=mini_batch,
    stub=_stub_pass,
    cases=[
        _pass_case([0.0], [[1.0]], [2.0], 0.5, 1),
        _pass_case([0.0], [[1.0], [2.0]], [2.0, 2.0], 0.5, 1),
        _pass_case([0.0], [[1.0], [2.0], [3.0]], [2.0, 0.0, 3.0], 0.1, 2),
        _pass_case([1.0, 0.0], [[1.0, 0.0], [0.0, 1.0], [1.0, 1.0], [2.0, 0.0]],
                   [0.0, 1.0, 2.0, -1.0], 0.1, 4),
    ],
    drawn=_drawn_pass,
    observe=_observe_pass,
    most={
        "gradient computed": "the model is right, but one gradient of a batch is as good as the "
        "mean of its samples' gradients, and cheaper",
    },
    hints=[
        "A batch is a slice: x[start : start + batch_size]. Where does the last one end?",
        "for start in range(0, len(x), batch_size): ... goes over all batches, the last and "
        "smaller one as well; a slice may reach beyond the end.",
        "Each step begins where the one before has ended: the gradient is taken at the newest w.",
    ],
    key_says="Its batches come from the problem, in an order that is drawn, and its optimiser "
    "makes the step.",
    mutants=[
        Mutant(_whole_data, "not the expected answer"),
        Mutant(_at_the_old_model, "not the expected answer"),
        Mutant(_drops_the_rest, "not the expected answer"),
        Mutant(_sums, "not the expected answer"),
        Mutant(_sample_by_sample, "2 gradients computed"),
        Mutant(_uphill, "not the expected answer"),
    ],
)  # fmt: skip

# ---------------------------------------------------------------------------- a step of Adam

BETA1, BETA2, EPS = 0.9, 0.999, 1e-8


def adam_step(
    w: np.ndarray, m: np.ndarray, v: np.ndarray, gradient: np.ndarray, t: int, lr: float
) -> None:
    m[...] = BETA1 * m + (1 - BETA1) * gradient
    v[...] = BETA2 * v + (1 - BETA2) * gradient**2
    w -= lr * (m / (1 - BETA1**t)) / (np.sqrt(v / (1 - BETA2**t)) + EPS)


def _observe_adam(answer: Callable[..., Any], case: Case) -> Observed:
    w, gradients, lr = case.arguments
    m, v = np.zeros_like(w), np.zeros_like(w)
    for t, gradient in enumerate(gradients, 1):
        answer(w, m, v, gradient, t, lr)
    return Observed((w, m, v))


def _adam_case(w: list[float], gradients: list[list[float]], lr: float) -> Case:
    shown = f"w = {w}, m = v = 0, lr = {lr}\ngradients, one after the other: {gradients}\n"
    shown += f"t = 1 to {len(gradients)}; then (w, m, v)"
    return Case(shown, (np.array(w), [np.array(g) for g in gradients], lr))


def _drawn_adam(rng: np.random.Generator) -> Case:
    return _adam_case([0.0, 1.0], np.round(rng.normal(size=(5, 2)), 2).tolist(), 0.1)


def _stub_adam(
    w: np.ndarray, m: np.ndarray, v: np.ndarray, gradient: np.ndarray, t: int, lr: float
) -> None: ...


def _averages(m: np.ndarray, v: np.ndarray, gradient: np.ndarray) -> None:
    m[...] = BETA1 * m + (1 - BETA1) * gradient
    v[...] = BETA2 * v + (1 - BETA2) * gradient**2


def _uncorrected(
    w: np.ndarray, m: np.ndarray, v: np.ndarray, gradient: np.ndarray, t: int, lr: float
) -> None:
    _averages(m, v, gradient)
    w -= lr * m / (np.sqrt(v) + EPS)


def _corrected_for_good(
    w: np.ndarray, m: np.ndarray, v: np.ndarray, gradient: np.ndarray, t: int, lr: float
) -> None:
    _averages(m, v, gradient)
    m /= 1 - BETA1**t
    v /= 1 - BETA2**t
    w -= lr * m / (np.sqrt(v) + EPS)


def _corrected_once(
    w: np.ndarray, m: np.ndarray, v: np.ndarray, gradient: np.ndarray, t: int, lr: float
) -> None:
    _averages(m, v, gradient)
    w -= lr * (m / (1 - BETA1)) / (np.sqrt(v / (1 - BETA2)) + EPS)


def _a_step_late(
    w: np.ndarray, m: np.ndarray, v: np.ndarray, gradient: np.ndarray, t: int, lr: float
) -> None:
    _averages(m, v, gradient)
    w -= lr * (m / (1 - BETA1 ** (t + 1))) / (np.sqrt(v / (1 - BETA2 ** (t + 1))) + EPS)


def _eps_in_the_root(
    w: np.ndarray, m: np.ndarray, v: np.ndarray, gradient: np.ndarray, t: int, lr: float
) -> None:
    _averages(m, v, gradient)
    w -= lr * (m / (1 - BETA1**t)) / np.sqrt(v / (1 - BETA2**t) + EPS)


def _no_root(
    w: np.ndarray, m: np.ndarray, v: np.ndarray, gradient: np.ndarray, t: int, lr: float
) -> None:
    _averages(m, v, gradient)
    w -= lr * (m / (1 - BETA1**t)) / (v / (1 - BETA2**t) + EPS)


def _forgets(
    w: np.ndarray, m: np.ndarray, v: np.ndarray, gradient: np.ndarray, t: int, lr: float
) -> None:
    m = BETA1 * m + (1 - BETA1) * gradient
    v = BETA2 * v + (1 - BETA2) * gradient**2
    w -= lr * (m / (1 - BETA1**t)) / (np.sqrt(v / (1 - BETA2**t)) + EPS)


def _one_rate_for_all(
    w: np.ndarray, m: np.ndarray, v: np.ndarray, gradient: np.ndarray, t: int, lr: float
) -> None:
    _averages(m, v, gradient)
    w -= lr * (m / (1 - BETA1**t)) / (np.linalg.norm(np.sqrt(v / (1 - BETA2**t))) + EPS)


ADAM_STEP = Exercise(
    name="adam_step",
    question="A step of Adam, in place: w, and the averages m and v.",
    reference=adam_step,
    key=adam,
    stub=_stub_adam,
    cases=[
        _adam_case([1.0], [[2.0]], 0.5),
        _adam_case([0.0], [[1.0], [1.0]], 0.1),
        _adam_case([0.0, 0.0], [[0.001, 5.0]], 0.1),
        _adam_case([1.0, -1.0], [[1.0, 0.0], [-2.0, 0.5], [1.0, 4.0]], 0.1),
    ],
    drawn=_drawn_adam,
    observe=_observe_adam,
    hints=[
        "Take t = 1 and m = 0. What is m after the first gradient g, and by what do you have to "
        "divide it to get g?",
        "After t steps the weights that m has given to gradients add up to 1 - 0.9**t, so divide "
        "by that; v by 1 - 0.999**t. m and v themselves stay as they are.",
        "m[...] = ... changes the array itself, m = ... makes another one.",
    ],
    mutants=[
        Mutant(_uncorrected, "not the expected answer"),
        Mutant(_corrected_for_good, "not the expected answer"),
        Mutant(_corrected_once, "not the expected answer"),
        Mutant(_a_step_late, "not the expected answer"),
        Mutant(_eps_in_the_root, "gradients, one after the other: [[0.001, 5.0]]"),
        Mutant(_no_root, "not the expected answer"),
        Mutant(_forgets, "not the expected answer"),
        Mutant(_one_rate_for_all, "not the expected answer"),
    ],
)
