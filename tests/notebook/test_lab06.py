"""The dashboard of lab 06: every knob changes what happens, and no codec only the picture."""

from __future__ import annotations

import numpy as np
import pytest
from torch import nn

from ddml_kit.cluster.run import human_bytes
from ddml_kit.notebook.play import what_need_not_be_sent
from ddml_kit.notebook.play.lab06 import MOST, STEPS, WAYS
from ddml_kit.problems import TorchModule, digits


@pytest.fixture(scope="module")
def panel():
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
    made = what_need_not_be_sent(
        *(
            TorchModule(network, nn.functional.cross_entropy, data)
            for data in digits().split(test=0.2, seed=0)
        )
    )
    yield made
    made.close()


@pytest.mark.parametrize(
    ("codec", "knob", "value"),
    [
        ("top", "share", 10.0),
        ("random", "share", 10.0),
        ("random, shared", "share", 10.0),
        ("QSGD", "bits", 1),
        ("mantissa", "bits", 1),
        ("PowerSGD", "rank", 2),
        ("signs", "workers", 4),
        ("signs", "feedback", True),
        ("PowerSGD", "feedback", True),
        ("random, shared", "feedback", True),
    ],
)
def test_a_knob_changes_the_model(panel, codec: str, knob: str, value: object) -> None:
    settings = {"workers": 2, "codec": codec}
    before, after = panel.run(**settings), panel.run(**(settings | {knob: value}))
    assert not np.array_equal(before.results[0], after.results[0])
    assert panel.runs[-1].answers != panel.runs[-2].answers
    assert panel.labels[-1] != panel.labels[-2]


def test_every_codec_makes_a_model_and_bytes_of_its_own(panel) -> None:
    runs = [panel.run(workers=2, codec=codec) for codec in WAYS]
    for run in runs:
        np.testing.assert_array_equal(run.results[0], run.results[1])
    assert len({run.results[0].tobytes() for run in runs}) == len(WAYS)
    assert len({run.bytes for run in runs}) == len(WAYS)


def test_a_link_changes_the_time_and_not_the_model(panel) -> None:
    slow, fast = (panel.run(workers=2, codec="signs", bandwidth=b) for b in (1.0, 1000.0))
    np.testing.assert_array_equal(slow.results[0], fast.results[0])
    assert slow.seconds > fast.seconds


def test_everything_is_all_bytes_whatever_is_remembered(panel) -> None:
    panel.clear()
    plain, remembered = (panel.run(workers=2, feedback=feedback) for feedback in (False, True))
    np.testing.assert_array_equal(plain.results[0], remembered.results[0])
    assert panel.runs[-1].answers["of all bytes"] == "100 %"
    assert panel.labels[0] == "everything, 2 workers"


def test_what_is_told_of_a_run(panel) -> None:
    panel.clear()
    run = panel.run(workers=4, codec="signs", bandwidth=1.0)
    answers = panel.runs[-1].answers
    d = len(run.results[0])
    sent = 3 * (4 + (d + 7) // 8)  # to three others: the scale, and a bit an entry
    assert run.bytes == STEPS * 4 * sent
    assert answers["each sends a step"] == human_bytes(sent)
    assert answers["of all bytes"] == f"{100 * sent / (2 * 3 / 4 * 4 * d):.3g} %"
    assert panel.labels[-1] == "signs, 4 workers, 1 MB/s"
    panel.run(workers=2, codec="top", share=10.0, feedback=True)
    assert panel.labels[-1] == "top 10 % + memory, 2 workers"


def test_what_is_lost_is_drawn_on_the_axis_of_the_others(panel) -> None:
    panel.run(workers=2, codec="QSGD", bits=1, feedback=True)
    kept = panel.runs[-1]
    assert kept.curve.value.max() == MOST
    assert kept.answers["in the end"] == "lost"
