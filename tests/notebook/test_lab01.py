"""Lab 01 without a page: other right answers, what its knobs change, and what is drawn."""

from __future__ import annotations

import json
import tracemalloc
from collections import deque

import numpy as np
import pytest

from ddml_kit.cluster import RankFailed
from ddml_kit.notebook import Panel, check
from ddml_kit.notebook.check.judge import judge
from ddml_kit.notebook.check.memory import with_memory
from ddml_kit.notebook.play import lab01, which_way_and_how_far

# ------------------------------------------------------------------------------ exercises


def test_other_right_answers_for_a_pass() -> None:
    def with_array_split(w, x, y, gradient, lr, batch_size):
        cuts = range(batch_size, len(x), batch_size)
        for xs, ys in zip(np.split(x, cuts), np.split(y, cuts), strict=True):
            w -= lr * gradient(w, xs, ys)
        return w

    def counting_on(w, x, y, gradient, lr, batch_size):
        k = 0
        while k < len(x):
            w = w - lr * gradient(w, x[k : k + batch_size], y[k : k + batch_size])
            k += batch_size
        return w

    for answer in (with_array_split, counting_on):
        assert repr(check.one_pass(answer)) == "✓ one_pass: right on 5 cases, at the right cost"


def test_other_right_answers_for_adam() -> None:
    def rates_corrected(w, m, v, gradient, t, lr):
        m *= 0.9
        m += 0.1 * gradient
        v *= 0.999
        v += 0.001 * gradient * gradient
        rate = lr * np.sqrt(1 - 0.999**t) / (1 - 0.9**t)
        w -= rate * m / (np.sqrt(v) + 1e-8 * np.sqrt(1 - 0.999**t))

    assert check.adam_step(rates_corrected)


def test_a_direction_may_use_any_containers_but_no_matrix() -> None:
    def direction(gradient, steps, changes):
        q, kept = gradient.astype(float), deque()
        for s, y in list(zip(steps, changes, strict=True))[::-1]:
            kept.appendleft((s, y, (s @ q) / (s @ y)))
            q = q - kept[0][2] * y
        if kept:
            q = q * (s_newest(kept) @ y_newest(kept)) / (y_newest(kept) @ y_newest(kept))
        for s, y, a in kept:
            q = q + (a - (y @ q) / (s @ y)) * s
        return q

    def s_newest(kept):
        return kept[-1][0]

    def y_newest(kept):
        return kept[-1][1]

    def in_blocks(gradient, steps, changes):
        """As the compact form has it: matrices of memory x dim and memory x memory."""
        if not steps:
            return gradient
        S, Y = np.array(steps), np.array(changes)
        scale = (S[-1] @ Y[-1]) / (Y[-1] @ Y[-1])
        R = np.triu(S @ Y.T)
        D = np.diag(np.diag(R))
        p = np.linalg.solve(R, S @ gradient)
        inner = np.linalg.solve(R.T, (D + scale * Y @ Y.T) @ p - scale * Y @ gradient)
        return scale * gradient + S.T @ inner - scale * Y.T @ p

    assert check.lbfgs_direction(direction)
    assert check.lbfgs_direction(in_blocks)


def test_memory_is_counted_whatever_else_is_traced() -> None:
    def answer():
        return np.ones((100, 1000)).sum()

    result, most = with_memory(answer)
    assert result == 100_000
    assert 800_000 <= most < 900_000
    assert not tracemalloc.is_tracing()
    tracemalloc.start()
    try:
        keep = np.ones(10**6)
        assert 800_000 <= with_memory(answer)[1] < 900_000
        assert tracemalloc.is_tracing()
        assert keep[0] == 1
        verdict = judge(check.lbfgs_direction.exercise, lambda g, s, y: g.copy())
        assert verdict.state == "wrong"
    finally:
        tracemalloc.stop()


# -------------------------------------------------------------------------------- the knobs


@pytest.fixture
def panel():
    panel = which_way_and_how_far()
    yield panel
    panel.close()


def end(panel: Panel, **settings) -> np.ndarray:
    result = panel.run(**settings).results[0]
    return getattr(result, "w", result)


NOISY = {"noise": 1.0, "batch_size": 4}
CHANGES = [
    ({}, {"ground": "Rosenbrock", "lr": 0.001}),
    ({}, {"condition": 100.0}),
    ({"method": "Adam"}, {"method": "Adam", "turned": True}),
    (NOISY, {**NOISY, "noise": 2.0}),
    (NOISY, {**NOISY, "batch_size": 64}),
    ({}, {"lr": 0.5}),
    ({}, {"steps": 32}),
    ({"method": "momentum"}, {"method": "momentum", "mu": 0.5}),
    ({"method": "Nesterov"}, {"method": "Nesterov", "mu": 0.5}),
    *(({}, {"method": method}) for method in [*lab01.RULES, *lab01.METHODS][1:]),
]


@pytest.mark.parametrize(("before", "after"), CHANGES, ids=str)
def test_a_knob_changes_where_it_ends(panel: Panel, before: dict, after: dict) -> None:
    assert np.abs(end(panel, **before) - end(panel, **after)).max() > 1e-9
    first, second = panel.runs
    assert first.answers != second.answers
    assert len(set(panel.labels)) == 2


def test_what_a_turn_does_to_those_that_see_coordinates_and_to_the_others(panel: Panel) -> None:
    for method in ("descent", "L-BFGS", "Adam", "AdaGrad"):
        straight, turned = (end(panel, method=method, turned=t) for t in (False, True))
        same = np.linalg.norm(straight) == pytest.approx(np.linalg.norm(turned), abs=1e-6)
        assert same == (method in ("descent", "L-BFGS"))


def test_every_cluster_ends_at_the_same_model(panel: Panel) -> None:
    ends = [end(panel, cluster=cluster, **NOISY) for cluster in ("simulated", "processes")]
    np.testing.assert_array_equal(*ends)
    assert [kept.run.badge for kept in panel.runs] == ["simulated", "measured"]
    assert "in passes" in panel.runs[0].answers


@pytest.mark.parametrize("ground", lab01.GROUNDS)
@pytest.mark.parametrize("method", ["momentum", "L-BFGS"])
def test_each_ground_is_descended_and_drawn(panel: Panel, ground: str, method: str) -> None:
    rate = {"Rosenbrock": 0.0005, "energy demand": 0.005, "saddle": 0.1}.get(ground, 0.05)
    panel.run(ground=ground, method=method, lr=rate, steps=16)
    [kept] = panel.runs
    assert kept.curve.value[-1] < kept.curve.value[0]
    figure = json.loads(panel.front.timeline)
    assert figure["words"]
    assert figure["data"]
    again = which_way_and_how_far()
    again.run(ground=ground, method=method, lr=rate, steps=16)
    assert again.runs[0].answers == kept.answers
    assert again.front.timeline == panel.front.timeline
    again.close()


def test_a_map_shows_the_runs_on_the_same_ground_and_no_others(panel: Panel) -> None:
    panel.run()
    panel.run(condition=100.0)
    panel.run(method="momentum")
    paths = [trace.get("name") for trace in json.loads(panel.front.timeline)["data"]]
    assert paths[1:] == ["descent 1, valley 20", "momentum 1 (keeps 0.9), valley 20", "minimum"]


def test_newton_stays_at_the_saddle_where_the_others_do_not(panel: Panel) -> None:
    for method in ("Newton", "damped Newton", "momentum"):
        panel.run(ground="saddle", method=method, lr=0.1, steps=256)
    away = [float(kept.answers["to the minimum"]) for kept in panel.runs]
    assert away[0] == pytest.approx(1.0)
    assert max(away[1:]) < 0.01


def test_a_matrix_that_is_too_large_is_refused_with_its_size(panel: Panel) -> None:
    with pytest.raises(ValueError, match=r"BFGS makes a matrix of 19,754 × 19,754 .*, 3.1 GB"):
        panel.run(ground="LeNet", method="BFGS")
    assert "L-BFGS" in panel.front.state["alert"]["sentence"]


def test_a_step_size_that_is_too_large_is_a_sentence(panel: Panel) -> None:
    with pytest.raises(RankFailed, match="the step size is too large"):
        panel.run(ground="Rosenbrock", lr=1.0)
    assert panel.runs[0].ended == "failed"
    assert panel.runs[0].curve.value.max() == lab01.MOST
    assert json.loads(panel.front.timeline)["data"]


def test_neurons_see_what_their_layer_says() -> None:
    problem = lab01._plane(lab01.LAYOUTS["rings"]).problem
    w = problem.initial()
    answer, layers = lab01.seen_by(problem, w)
    assert answer.shape == (lab01.GRID, lab01.GRID)
    assert [layer.shape[0] for layer in layers] == [8, 8]
    first = next(problem.module(w).children())
    weight, bias = (p.detach().numpy() for p in first.parameters())
    corner = np.tanh(weight @ [1.1, -1.1] + bias)  # the last column of the first row
    np.testing.assert_allclose(layers[0][:, 0, -1], corner, rtol=1e-5)
