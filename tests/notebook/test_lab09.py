"""The dashboards of lab 09: every knob changes what happens; and the figures of liars."""

from __future__ import annotations

import json

import numpy as np
import pytest

from ddml_kit.notebook import crowd, heat
from ddml_kit.notebook.play import drag_the_liars, what_if_they_lie
from ddml_kit.notebook.play.lab09 import ATTACKS, RULES, placed, projected

AMONG_LIARS = {"workers": 7, "attackers": 1, "attack": "turned round", "rule": "median", "f": 1}


@pytest.fixture(scope="module")
def panel():
    made = what_if_they_lie(steps=24)
    yield made
    made.close()


@pytest.fixture(scope="module")
def live():
    made = drag_the_liars()
    yield made
    made.close()


@pytest.mark.parametrize(
    ("knob", "value"),
    [
        ("workers", 9),
        ("batch_size", 4),
        ("labels", "sorted"),
        ("labels", "uneven"),
        ("attackers", 2),
        ("rule", "Krum"),
        *[("attack", attack) for attack in ATTACKS if attack != "turned round"],
    ],
)
def test_a_knob_changes_the_model(panel, knob: str, value: object) -> None:
    before, after = panel.run(**AMONG_LIARS), panel.run(**(AMONG_LIARS | {knob: value}))
    assert not np.array_equal(before.results[0], after.results[0])
    assert panel.labels[-1] != panel.labels[-2]


def test_the_f_that_is_assumed_changes_the_model_of_a_rule_that_uses_it(panel) -> None:
    settings = AMONG_LIARS | {"rule": "trimmed mean"}
    before, after = panel.run(**settings), panel.run(**(settings | {"f": 2}))
    assert not np.array_equal(before.results[0], after.results[0])


def test_without_attackers_an_attack_changes_nothing(panel) -> None:
    honest = [panel.run(workers=4, attack=attack) for attack in ("noise", "flipped labels")]
    np.testing.assert_array_equal(*(run.results[0] for run in honest))


def test_a_rule_that_has_too_few_workers_says_so(panel) -> None:
    with pytest.raises(Exception, match=r"krum needs n >= 2f \+ 3 gradients, got n=7 with f=3"):
        panel.run(workers=7, rule="Krum", f=3)


@pytest.mark.parametrize("rule", RULES)
def test_every_rule_runs_and_its_gradients_are_drawn(panel, rule: str) -> None:
    panel.run(workers=7, attackers=1, rule=rule, f=1)
    words = json.loads(panel.front.timeline)["words"]
    assert "6 honest gradients, 1 lie" in words
    assert f"{rule}: at (" in words
    assert panel.runs[-1].answers["lies among"] == "1 of 7"


def test_the_picture_is_of_the_run_that_is_looked_at(panel) -> None:
    panel.clear()
    panel.run(**AMONG_LIARS)
    first = json.loads(panel.front.timeline)
    panel.run(**(AMONG_LIARS | {"attack": "zeros"}))
    assert json.loads(panel.front.timeline) != first
    panel.front._handle_custom_msg(
        {"press": "show", "settings": {}, "number": panel.runs[0].number}, []
    )
    assert json.loads(panel.front.timeline) == first


# ------------------------------------------------------------------------------ live


@pytest.mark.parametrize(
    ("knob", "value"),
    [("attackers", 3), ("distance", 20.0), ("angle", 90), ("rule", "mean"), ("f", 4)],
)
def test_a_slider_changes_what_comes_out(live, knob: str, value: object) -> None:
    settings = {"attackers": 2, "distance": 3.0, "angle": 180, "rule": "trimmed mean", "f": 2}
    before, after = live.show(**settings), live.show(**(settings | {knob: value}))
    assert before.answers != after.answers


def test_krum_takes_a_lie_that_is_near_and_none_that_is_far(live) -> None:
    """As the lab says of its presets."""
    settings = {"attackers": 4, "rule": "Krum", "f": 4}
    near, far = (live.show(**settings, distance=distance) for distance in (1.0, 30.0))
    assert near.answers["it takes"] == "a lie"
    assert far.answers["it takes"] == "an honest one"
    assert float(near.answers["mean is off by"]) < 0.5 * float(near.answers["Krum is off by"])
    assert float(far.answers["mean is off by"]) > 10 * float(far.answers["Krum is off by"])


def test_one_liar_far_away_spoils_the_mean(live) -> None:
    honest, ruined = live.show(), live.show(distance=30.0)
    assert float(honest.answers["loss left after 40 steps"].rstrip("%")) < 1
    assert float(ruined.answers["loss left after 40 steps"].rstrip("%")) > 100


def test_what_no_rule_can_do_is_a_sentence_on_the_page(live) -> None:
    values = {"attackers": 1, "distance": 0.0, "angle": 180, "rule": "Krum", "f": 5}
    live.front._handle_custom_msg({"settings": values, "sent": 1}, [])
    assert "krum needs n >= 2f + 3" in live.front.state["alert"]


def test_liars_stand_where_they_are_put() -> None:
    honest = np.array([[1.0, 1.0], [3.0, 1.0]])  # their mean is (2, 1), each is 1 away
    lies = placed(honest, 2, np.random.default_rng(0), distance=2.0, angle=0.0)
    np.testing.assert_allclose(lies, 2 * [np.array([2, 1]) * (1 + 2 / 5**0.5)])
    against = placed(honest, 1, np.random.default_rng(0), distance=5**0.5, angle=180.0)
    np.testing.assert_allclose(against, [[0, 0]], atol=1e-12)


def test_in_the_plane_nothing_is_lost_and_with_more_numbers_distances_shrink() -> None:
    rng = np.random.default_rng(0)
    for d in (2, 50):
        honest, lies = rng.normal(size=(6, d)) + 1, rng.normal(size=(3, d))
        points, [others] = projected(honest, [lies])
        assert points.mean(axis=0)[0] == pytest.approx(np.linalg.norm(honest.mean(axis=0)))
        assert points.mean(axis=0)[1] == pytest.approx(0, abs=1e-9)
        true = np.linalg.norm(honest[:, None] - lies, axis=2)
        drawn = np.linalg.norm(points[:, None] - others, axis=2)
        assert (drawn <= true + 1e-9).all()
        assert np.allclose(drawn, true) == (d == 2)


# --------------------------------------------------------------------------- figures


def test_a_crowd_has_the_honest_the_liars_and_what_is_made_of_them() -> None:
    honest = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    figure = crowd(honest, np.array([[9.0, 0.0], [9.0, 0.0]]), {"median": (1.0, 0.5)})
    true, lies, chosen = figure.plot.data
    assert (true.name, lies.name, chosen.name) == ("honest", "lie", "median")
    assert lies.text == ("2 ×",)
    assert chosen.marker.symbol == ("circle-open",)  # a ring
    assert lies.marker.symbol == ("diamond-open",)  # on the edge of the frame
    assert abs(lies.x[0]) < figure.plot.layout.xaxis.range[1]
    assert repr(figure) == (
        "3 honest gradients, 2 lies, 2 of them beyond the frame. "
        "median: at (1, 0.5), 0.373 from the honest mean."
    )


def test_lies_that_are_no_numbers_and_no_lies_at_all() -> None:
    figure = crowd(np.ones((2, 2)), np.full((1, 2), np.nan), {"mean": (1, 1)})
    assert np.isfinite(figure.plot.data[1].x).all()
    figure = crowd(np.ones((2, 2)), np.empty((0, 2)), {"mean": (1, 1)})
    assert len(figure.plot.data) == 2
    assert "no lies" in repr(figure)
    with pytest.raises(ValueError, match="an honest gradient or more"):
        crowd(np.empty((0, 2)), np.ones((1, 2)), {"mean": (1, 1)})


def test_a_heat_map_says_in_words_and_crosses_what_it_says_in_colours() -> None:
    values = np.array([[0.01, 2.0], [0.35, 3e7]])
    figure = heat(
        values, ["mean", "krum"], ["none", "noise"], figure="left", middle=0.35, crossed=values > 1
    )
    [cells] = figure.plot.data
    np.testing.assert_allclose(np.sign(cells.z), [[-1, 1], [0, 1]])
    assert repr(figure) == ("left. mean: ✗ noise 2, else 0.01. krum: ✗ noise 10⁷, else 0.35.")
    with pytest.raises(ValueError, match="each of 1 rows and 2 columns"):
        heat(values, ["mean"], ["none", "noise"], figure="left", middle=1)
