"""The dashboard of lab 04: every knob changes what happens, and every way leads to one model."""

from __future__ import annotations

import numpy as np
import pytest

from ddml_kit.cluster import Network
from ddml_kit.collectives import cost
from ddml_kit.notebook.play import which_way_round
from ddml_kit.notebook.play.lab04 import STEPS, SWITCH, WAYS
from ddml_kit.notebook.units import seconds_text


@pytest.fixture(scope="module")
def panel():
    made = which_way_round()
    yield made
    made.close()


def test_every_way_makes_the_same_steps_in_its_own_time(panel) -> None:
    runs = {way: panel.run(algorithm=way, workers=6, size=16) for way in [*WAYS, SWITCH]}
    w = runs["master-worker"].results[0]
    for run in runs.values():
        np.testing.assert_allclose(run.results[0], w, atol=1e-6)
    assert len({round(run.seconds, 9) for run in runs.values()}) == 5  # one rack is a ring
    assert runs["hierarchical"].seconds == runs["ring"].seconds
    curves = [kept.curve for kept in panel.runs[-6:]]
    assert all(len(curve.step) == STEPS + 1 for curve in curves)
    np.testing.assert_allclose([curve.value for curve in curves[1:]], [curves[0].value] * 5, 1e-5)


@pytest.mark.parametrize(
    ("knob", "value"),
    [
        ("workers", 9),
        ("latency", 500.0),
        ("bandwidth", 100.0),
        ("racks", 2),
        ("algorithm", "tree"),
        ("size", 256),
    ],
)
def test_a_knob_changes_the_result(panel, knob: str, value: object) -> None:
    before = panel.run(size=64)
    after = panel.run(**{"size": 64, knob: value})
    assert after.seconds != before.seconds
    first, second = panel.runs[-2:]
    assert first.answers["an all-reduce"] != second.answers["an all-reduce"]


def test_slow_uplinks_are_felt_between_racks_only(panel) -> None:
    def seconds(**settings: object) -> float:
        return panel.run(size=64, **settings).seconds

    assert seconds(racks=2, uplink=20) > seconds(racks=2, uplink=1)
    assert seconds(uplink=20) == seconds(uplink=1)
    assert seconds(algorithm=SWITCH, racks=2) == seconds(algorithm=SWITCH)


def test_what_is_told_of_a_run(panel) -> None:
    panel.run(size=64)
    assert panel.runs[-1].answers == {
        "an all-reduce": "812 µs",  # 14 (50 µs + 8 kB / 1 GB/s)
        "on paper": "812 µs",
        "messages in a row": "14",
        "the busiest sends": "112 kB",
    }
    panel.run(algorithm=SWITCH, size=64, workers=4)
    told = panel.runs[-1].answers
    paper = cost.switch_seconds(16_000, Network(switch=True), 250, 64)
    assert told["an all-reduce"] == told["on paper"] == seconds_text(paper)
    assert (told["messages in a row"], told["the busiest sends"]) == ("2", "64 kB")


def test_runs_are_named_by_their_way_and_by_what_is_unusual(panel) -> None:
    panel.clear()
    panel.run(size=4)
    panel.run(workers=2, size=4, racks=8, uplink=5, latency=100.0, algorithm="tree")
    assert list(panel.labels) == [
        "ring, 8 × 4 kB",
        "tree, 2 × 4 kB, 100 µs, 2 racks, uplinks 5 ×",
    ]


@pytest.mark.parametrize("algorithm", ["ring", SWITCH])
def test_real_workers_come_to_the_same_model(panel, algorithm: str) -> None:
    virtual = panel.run(workers=2, size=4, algorithm=algorithm)
    real = panel.run(workers=2, size=4, algorithm=algorithm, cluster="processes")
    assert real.badge == "paced"
    assert np.array_equal(real.results[0], virtual.results[0])
    assert real.messages == virtual.messages
    assert "on paper" not in panel.runs[-1].answers
