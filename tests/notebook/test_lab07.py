"""The dashboard of lab 07: every knob changes what comes out, and the network is drawn."""

from __future__ import annotations

import json
import math

import networkx as nx
import numpy as np
import pytest

from ddml_kit.cluster.run import Curve
from ddml_kit.compression import Sign
from ddml_kit.compression.shrunk import bits
from ddml_kit.notebook.play import nobody_in_the_middle
from ddml_kit.notebook.play.lab07 import (
    CHOCO,
    CODECS,
    DIGITS,
    LEAST,
    LINKS,
    NAIVE,
    TOPOLOGIES,
    beginnings,
    left_by_a_step,
    places,
)
from ddml_kit.topologies import metropolis

TRAINED = {"task": DIGITS, "workers": 5, "steps": 25}


@pytest.fixture(scope="module")
def panel():
    made = nobody_in_the_middle()
    yield made
    made.close()


def end(run) -> np.ndarray:
    return np.array(run.results)


@pytest.mark.parametrize(
    ("start", "knob", "value"),
    [
        ({}, "workers", 9),
        ({}, "topology", "star"),
        ({}, "method", CHOCO),
        ({}, "gamma", 0.5),
        ({}, "steps", 50),
        ({"method": CHOCO}, "method", NAIVE),
        ({"method": CHOCO}, "codec", "sign"),
        ({"method": CHOCO}, "gamma", 0.5),
        (TRAINED, "labels", "sorted"),
        (TRAINED, "decay", True),
        (TRAINED, "method", CHOCO),
        (TRAINED, "topology", "complete"),
        ({**TRAINED, "method": CHOCO}, "codec", "top 10 %"),
        ({**TRAINED, "method": CHOCO}, "gamma", 0.3),
    ],
)
def test_a_knob_changes_the_result(panel, start: dict, knob: str, value: object) -> None:
    small = {"workers": 8, "steps": 25, **start}
    before = panel.run(**small)
    after = panel.run(**{**small, knob: value})
    first, second = panel.runs[-2:]
    assert end(before).shape != end(after).shape or not np.allclose(end(before), end(after))
    assert first.curve.value[-1] != second.curve.value[-1]
    assert panel.labels[-1] != panel.labels[-2] or knob == "steps"


def test_a_slow_link_takes_longer_and_changes_nothing_else(panel) -> None:
    before, after = (panel.run(workers=6, steps=25, link=link) for link in LINKS)
    assert after.seconds > 10 * before.seconds
    assert np.array_equal(end(before), end(after))


@pytest.mark.parametrize("topology", [name for name in TOPOLOGIES if name != "social network"])
def test_exact_gossip_leaves_as_much_as_the_spectral_gap_says(panel, topology: str) -> None:
    panel.run(workers=12, topology=topology, steps=50)
    told = panel.runs[-1].answers
    if topology == "complete":
        assert (told["a step leaves"], told["δ"], told["squared error"]) == ("–", "1", "1e-20")
    else:
        left, paper = (float(told[name][:-1]) for name in ("a step leaves", "(1 − δ)²"))
        assert left == pytest.approx(paper, abs=0.3)


def test_the_curve_is_that_of_all_workers(panel) -> None:
    panel.run(workers=6, steps=25)
    x, W = beginnings(6), metropolis(TOPOLOGIES["ring"](6))
    errors = []
    for _ in range(26):
        errors.append(np.mean(np.sum((x - x.mean(axis=0)) ** 2, axis=1)))
        x = W @ x
    np.testing.assert_allclose(panel.runs[-1].curve.value, errors)


def test_naive_messages_stall_and_choco_s_do_not(panel) -> None:
    ends = {}
    for method in (NAIVE, CHOCO):
        panel.run(workers=8, method=method, steps=100)
        ends[method] = panel.runs[-1].curve.value
    assert ends[NAIVE][-1] > ends[NAIVE][50] / 2
    assert ends[CHOCO][-1] < 1e-6 * ends[NAIVE][-1]


def test_what_is_told_of_training(panel) -> None:
    run = panel.run(**TRAINED, labels="sorted", topology="complete")
    told = panel.runs[-1].answers
    assert told["accuracy, own models"] == told["their mean model"]  # all agree
    assert list(told) == [
        "accuracy, own models",
        "the worst",
        "their mean model",
        "δ",
        "the busiest sends",
        "time",
    ]
    assert told["the busiest sends"] == "256 kB"  # 25 steps, 4 neighbours, 640 numbers of 4 bytes
    assert run.size == 5


def test_naive_training_is_refused_in_a_sentence(panel) -> None:
    with pytest.raises(ValueError, match="take exact, which is D-SGD, or CHOCO"):
        panel.run(task=DIGITS, method=NAIVE)


def test_the_network_is_drawn_with_each_worker_s_distance(panel) -> None:
    run = panel.run(workers=9, topology="torus", steps=25)
    figure = json.loads(panel.front.timeline)
    nodes = figure["data"][1]
    assert len(nodes["x"]) == 9
    apart = np.linalg.norm(end(run) - end(run).mean(axis=0), axis=1)
    worst = int(np.argmax(apart))
    assert figure["words"].startswith("torus of 9, exact: 9 nodes, 18 links. ")
    assert figure["words"].endswith(f"at node {worst}.")


def test_models_are_compared_with_the_length_of_their_mean(panel) -> None:
    run = panel.run(**TRAINED, labels="sorted")
    middle = end(run).mean(axis=0)
    apart = np.linalg.norm(end(run) - middle, axis=1) / np.linalg.norm(middle)
    figure = json.loads(panel.front.timeline)
    np.testing.assert_allclose(
        figure["data"][1]["marker"]["color"], np.log10(np.clip(apart, 1e-2, 1) / 1e-2), atol=0.01
    )


@pytest.mark.parametrize("topology", TOPOLOGIES)
@pytest.mark.parametrize("n", [4, 7, 12])
def test_no_two_nodes_lie_on_each_other(topology: str, n: int) -> None:
    graph = TOPOLOGIES[topology](n)
    assert nx.is_connected(graph)
    assert len(graph) == (32 if topology == "social network" else n)
    at = np.array([places(topology, graph)[i] for i in range(len(graph))])
    away = np.linalg.norm(at[:, None] - at[None], axis=2) + 9 * np.eye(len(at))
    assert away.min() > 0.1


def test_runs_are_named_by_what_matters(panel) -> None:
    panel.clear()
    panel.run(workers=4, steps=25, codec="sign", labels="sorted", decay=True)
    panel.run(workers=4, steps=25, method=CHOCO, gamma=0.4, link="20 Mbit/s, 1 ms")
    panel.run(**TRAINED, gamma=0.5, decay=True)
    assert list(panel.labels) == [
        "ring of 4, exact",
        "ring of 4, CHOCO 4 bits, γ 0.4, 20 Mbit/s, 1 ms",
        "ring of 5, exact, digits mixed, rate falls",
    ]


def test_what_a_step_leaves_is_read_where_there_is_something_left() -> None:
    steps = np.arange(10)
    curve = Curve(steps, steps * 1.0, np.maximum(0.01**steps, LEAST))
    assert left_by_a_step(curve) == pytest.approx(0.01)
    assert math.isnan(left_by_a_step(Curve(steps, steps, np.full(10, LEAST))))


def test_codecs_take_the_bytes_that_they_are_named_after() -> None:
    x = np.random.default_rng(0).normal(size=640)
    sizes = {
        name: codec(640).encode(x, np.random.default_rng(0)).nbytes
        for name, codec in CODECS.items()
    }
    assert sizes == {"8 bits": 644, "4 bits": 324, "sign": 84, "top 10 %": 336, "top 1 %": 32}
    assert bits(4, 640).tau > 1
    assert CODECS["sign"](1) == Sign()


def test_real_workers_come_to_the_same_models(panel) -> None:
    settings = {"workers": 4, "steps": 25, "method": CHOCO}
    virtual, real = (panel.run(cluster=c, **settings) for c in ("simulated", "processes"))
    assert real.badge == "paced"
    assert np.array_equal(end(real), end(virtual))
    assert real.messages == virtual.messages
    assert panel.runs[-1].answers["squared error"] == panel.runs[-2].answers["squared error"]
