"""What was predicted, on a dashboard: a number among the answers, a curve over the curves."""

import base64
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ddml_kit.cluster.simulated import Simulated
from ddml_kit.notebook import Panel, Slider, dashboard, predict


def descend(comm, rate: float) -> None:
    w = np.array([1.0])
    for _ in range(10):
        comm.work(0.01)
        w = w - rate * comm.all_reduce(w, op="mean")
        comm.snapshot(w)


def launch(rate):
    return Simulated(2).start(descend, rate)


def loss(w: np.ndarray) -> float:
    return float(w[0] ** 2)


KNOBS = [Slider("rate", 0.01, 1.0, 0.1, log=True)]


def number(file: Path) -> predict.Number:
    return predict.Number("time", "How long?", low=0, high=100, unit="ms", file=file)


def drawn(file: Path, **more: Any) -> predict.Curve:
    return predict.Curve(
        *("loss", "Draw the loss."),
        **{"x": [0, 0.05, 0.2], "low": 0, "high": 4, "x_title": "seconds", "y_title": "loss"},
        **more,
        file=file,
    )


def foreseeing(predicted) -> Panel:
    return dashboard(launch, KNOBS, curve=loss, target=0.2, predicted=predicted)


def show_steps(panel: Panel) -> None:
    panel.front._handle_custom_msg({"press": "over", "axis": "steps"}, [])


def test_a_number_that_was_said_stands_after_the_first_answer(tmp_path) -> None:
    question = number(tmp_path / "predictions.json")
    panel = foreseeing(question)
    assert panel.front.state["answers"] == []
    panel.run()
    assert "you said" not in dict(panel.front.state["answers"])
    question.say(30)  # after the dashboard was made: shown at the next run
    states: list[dict] = []
    panel.front.observe(lambda change: states.append(change["new"]), "state")
    panel.run(rate=0.5)
    assert [name for name, _ in panel.front.state["answers"]][:3] == [
        "time to 0.2",
        "you said",
        "loss",
    ]
    assert dict(panel.front.state["answers"])["you said"] == "30 ms"
    assert all(s["answers"][1][0] == "you said" for s in states if s["answers"])
    assert panel.runs[1].answers.keys() == panel.runs[0].answers.keys()  # it is none of the run's
    panel.close()


def test_a_curve_that_was_drawn_is_dotted_on_its_axis(tmp_path) -> None:
    question = drawn(tmp_path / "predictions.json", axis="seconds")
    panel = foreseeing((number(tmp_path / "predictions.json"), question))
    panel.run()
    assert len(json.loads(panel.front.curve)["data"]) == 1
    assert panel.front.state["dotted"] is None
    question.say([3, 0.5, 0.1])
    panel.run(rate=0.5)
    figure = json.loads(panel.front.curve)
    *runs, line = figure["data"]
    assert [run["name"] for run in runs] == ["rate 0.1", "rate 0.5"]
    assert (line["name"], line["line"]["dash"]) == ("your prediction", "dot")
    x = np.frombuffer(base64.b64decode(line["x"]["bdata"]))
    np.testing.assert_allclose(x, [0, 50, 200])  # as the axis: milliseconds
    assert figure["layout"]["xaxis"]["range"][1] > 200
    assert figure["layout"]["yaxis"]["range"][1] > np.log10(3)
    words = "your prediction: from 3 at 0 seconds to 0.1 at 0.2 seconds."
    assert figure["words"].endswith(words)
    assert panel.front.state["dotted"]["label"] == "your prediction"
    show_steps(panel)
    assert len(json.loads(panel.front.curve)["data"]) == 2
    assert panel.front.state["dotted"] is None
    panel.close()


def test_a_curve_over_steps_is_drawn_before_the_first_run(tmp_path) -> None:
    question = drawn(tmp_path / "predictions.json", axis="steps")
    question.say([1, 0.5, 0])
    panel = foreseeing(question)
    assert json.loads(panel.front.curve)["data"] == []
    show_steps(panel)
    [line] = json.loads(panel.front.curve)["data"]
    assert line["name"] == "your prediction"
    panel.close()


def test_a_damaged_file_of_predictions_ends_no_run(tmp_path) -> None:
    file = tmp_path / "predictions.json"
    file.write_text("[1, 2")
    panel = foreseeing((number(file), drawn(file, axis="seconds")))
    panel.run()
    assert "you said" not in dict(panel.front.state["answers"])
    panel.close()


def test_a_curve_without_an_axis_cannot_be_drawn_on_a_dashboard(tmp_path) -> None:
    with pytest.raises(ValueError, match="the curve 'loss' needs an axis to be drawn on"):
        foreseeing(drawn(tmp_path / "predictions.json"))


def test_what_was_said_of_some_settings_stands_beside_those_alone(tmp_path) -> None:
    question = number(tmp_path / "predictions.json")
    question.say(30)
    panel = dashboard(launch, KNOBS, curve=loss, predicted=question, about={"rate": 1.0})
    panel.run()
    assert "you said" not in dict(panel.front.state["answers"])
    panel.run(rate=1.0)
    assert dict(panel.front.state["answers"])["you said"] == "30 ms"
    panel.close()
    with pytest.raises(ValueError, match="nonsense"):
        dashboard(launch, KNOBS, curve=loss, predicted=question, about={"nonsense": 1})
