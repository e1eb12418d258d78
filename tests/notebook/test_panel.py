"""The dashboard without a page: runs, stop, failures, what is kept and what is shown."""

import base64
import csv
import json
import sys
import threading
from typing import Any

import numpy as np
import pytest

from ddml_kit.cluster.comm import Comm
from ddml_kit.cluster.errors import RankFailed
from ddml_kit.cluster.processes import Processes
from ddml_kit.cluster.run import Cluster, Curve, Run
from ddml_kit.cluster.simulated import Simulated
from ddml_kit.notebook import Choice, Panel, Slider, Toggle, dashboard
from ddml_kit.notebook.panel.follow import Outcome
from ddml_kit.notebook.panel.panel import Attempt


def descend(comm, steps: int, rate: float, broken: bool) -> float:
    w = np.array([1.0])
    for step in range(steps):
        comm.work(0.01)
        w = w - rate * comm.all_reduce(w, op="mean")
        comm.snapshot(w)
        if broken and step == 2 and comm.rank == 1:
            raise ValueError("the third step is broken")
    return float(w[0])


KNOBS = [
    Slider("workers", 1, 16, 2, log=True, group="Cluster"),
    Slider("rate", 0.01, 1.0, 0.1, log=True, group="Training"),
    Choice("steps", [10, 20], 10),
    Toggle("broken", False),
]


def launch(workers, rate, steps, broken):
    return Simulated(workers).start(descend, steps, rate, broken)


def loss(w: np.ndarray) -> float:
    return float(w[0] ** 2)


@pytest.fixture
def panel():
    before = set(threading.enumerate())
    panel = dashboard(
        launch,
        KNOBS,
        curve=loss,
        value="loss",
        target=0.2,
        steps=lambda steps: steps,
        presets={"fast": {"rate": 0.5}},
    )
    yield panel
    panel.close()
    assert set(threading.enumerate()) <= before


def press(panel: Panel, press: str, **more: Any) -> None:
    """What the page sends when a button is pressed."""
    settings = dict(panel.front.settings["values"])
    panel.front._handle_custom_msg({"press": press, "settings": settings, **more}, [])


def test_a_call_runs_and_returns_the_run(panel: Panel) -> None:
    run = panel.run(workers=4)
    assert isinstance(run, Run)
    assert (run.size, run.badge, len(run.snapshots)) == (4, "simulated", 40)
    [kept] = panel.runs
    assert kept.settings == {"workers": 4, "rate": 0.1, "steps": 10, "broken": False}
    np.testing.assert_array_equal(kept.curve.step, np.arange(10))
    np.testing.assert_allclose(kept.curve.value, 0.81 ** np.arange(1, 11))
    np.testing.assert_array_equal(kept.curve.seconds, run.curve(loss).seconds)
    assert len(kept.run.snapshots) == 0
    assert kept.run.trace == run.trace


def test_a_knob_changes_the_result(panel: Panel) -> None:
    slow, fast = panel.run(), panel.run(rate=0.5)
    assert fast.results[0] < slow.results[0]
    assert panel.run(workers=8).bytes > slow.bytes


def test_a_call_takes_the_first_values_of_the_other_knobs(panel: Panel) -> None:
    panel.run(workers=8)
    assert panel.run(rate=0.5).size == 2
    assert panel.front.settings["values"] == {
        "workers": 2,
        "rate": 0.5,
        "steps": 10,
        "broken": False,
    }


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"worker": 4}, "no knob is named 'worker'; there are workers, rate, steps, broken"),
        ({"workers": 17}, "workers must be from 1 to 16, got 17"),
    ],
)
def test_a_call_with_what_no_knob_takes_gets_a_sentence(panel, settings, sentence) -> None:
    with pytest.raises(ValueError, match=sentence):
        panel.run(**settings)
    assert panel.runs == ()


def test_pressing_run_is_the_same_as_a_call(panel: Panel) -> None:
    called = panel.run(workers=4)
    press(panel, "run", settings={**panel.front.settings["values"], "rate": 0.1})
    assert panel.front.state["busy"]
    panel.wait()
    assert not panel.front.state["busy"]
    assert panel.front.settings["turn"] == 1  # the page knows: its own knobs are left alone
    assert panel.runs[1].run.trace == called.trace
    np.testing.assert_array_equal(panel.runs[1].curve.value, panel.runs[0].curve.value)


def test_the_page_shows_answers_runs_and_figures(panel: Panel) -> None:
    panel.run()
    panel.run(rate=0.5)
    state = panel.front.state
    assert dict(state["answers"]) == {
        "time to 0.2": "20.2 ms",
        "loss": "9.54e-07",
        "steps": "10",
        "sent": "160 B",
    }
    assert state["badge"] == "simulated · 2 workers · seed 0"
    assert [kept["label"] for kept in state["runs"]] == ["rate 0.1", "rate 0.5"]
    assert [kept["answer"] for kept in state["runs"]] == ["80.8 ms", "20.2 ms"]
    figure = json.loads(panel.front.curve)
    assert [trace["name"] for trace in figure["data"]] == ["rate 0.1", "rate 0.5"]
    assert figure["layout"]["xaxis"]["title"]["text"] == "milliseconds (simulated)"
    assert "rate 0.5: loss from 0.25 to 9.54e-07 in 10 steps" in figure["words"]
    timeline = json.loads(panel.front.timeline)
    assert {trace["name"] for trace in timeline["data"]} >= {"compute", "communicate"}


def test_steps_instead_of_seconds(panel: Panel) -> None:
    panel.run()
    press(panel, "over", axis="steps")
    assert json.loads(panel.front.curve)["layout"]["xaxis"]["title"]["text"] == "steps"


def test_a_former_run_can_be_looked_at_and_removed(panel: Panel) -> None:
    panel.run(workers=4)
    panel.run(workers=8)
    press(panel, "show", number=0)
    assert panel.front.state["badge"].startswith("simulated · 4 workers")
    assert "What 4 workers did" in json.loads(panel.front.timeline)["words"]
    first = json.loads(panel.front.curve)["data"][0]["line"]["color"]
    press(panel, "remove", number=1)
    assert [kept.run.size for kept in panel.runs] == [4]
    panel.run(workers=2)
    colours = [trace["line"]["color"] for trace in json.loads(panel.front.curve)["data"]]
    assert colours[0] == first  # a run keeps its colour
    assert len(set(colours)) == 2
    press(panel, "clear")
    assert panel.runs == ()
    assert panel.front.timeline == "null"


def test_equal_runs_get_different_labels(panel: Panel) -> None:
    panel.run()
    panel.run()
    assert panel.labels == ["workers 2", "workers 2 (2)"]


def test_a_preset_sets_the_knobs_and_runs(panel: Panel) -> None:
    press(panel, "preset", name="fast")
    panel.wait()
    assert panel.runs[0].settings["rate"] == 0.5
    assert panel.front.settings == {"values": panel.runs[0].settings, "turn": 1}


SHORT = Curve(np.arange(2), np.array([0.01, 0.02]), np.array([2.0, 1.0]))


def endless(comm) -> None:
    w = np.ones(1)
    while True:
        comm.work(1.0)
        comm.snapshot(w)


def endless_panel(seen: threading.Event, cluster: Cluster) -> Panel:
    def look(w: np.ndarray) -> float:
        seen.set()
        return 1.0

    return dashboard(
        lambda k: cluster.start(endless), [Slider("k", 1, 2, 1)], curve=look, steps=lambda: 100
    )


def test_stop_ends_a_run_and_keeps_what_there_is() -> None:
    seen = threading.Event()
    panel = endless_panel(seen, Simulated(2))
    panel.start()
    assert seen.wait(60)
    press(panel, "stop")
    panel.wait()
    [kept] = panel.runs
    assert (kept.ended, kept.run.stopped, panel.labels) == ("stopped", True, ["k 1 (stopped)"])
    assert len(kept.curve.step) > 0
    assert dict(panel.front.state["answers"])["loss"] == "1"
    assert not panel.front.state["busy"]
    assert panel.front.live == {}
    panel.close()


def test_a_run_under_way_is_not_disturbed_by_the_page_but_stopped_by_a_call() -> None:
    seen = threading.Event()
    panel = endless_panel(seen, Simulated(1))
    panel.start()
    assert seen.wait(60)
    press(panel, "run")
    press(panel, "clear")
    assert panel.runs == ()
    seen.clear()
    panel.start(k=2)
    assert [kept.ended for kept in panel.runs] == ["stopped"]
    assert seen.wait(60)
    panel.close()
    assert [kept.settings["k"] for kept in panel.runs] == [1, 2]


def test_progress_is_shown_while_a_run_is_under_way() -> None:
    seen = threading.Event()
    panel = endless_panel(seen, Simulated(1))
    states: list[dict] = []
    panel.front.observe(lambda change: states.append(change["new"]), "state")
    panel.start()
    assert seen.wait(60)
    panel.close()
    under_way = [s for s in states if s["progress"] is not None]
    assert under_way
    assert all(s["busy"] and 0 < s["progress"] <= 1 for s in under_way)
    assert dict(under_way[0]["answers"])["loss"] == "1"


def test_a_run_that_is_stopped_before_it_began_ends_at_once() -> None:
    attempt = Attempt({})
    attempt.stop()
    running = Simulated(1).start(endless)
    attempt.began(running)
    assert running.result().stopped


def test_stop_ends_the_evaluation_of_a_run_that_is_over() -> None:
    """The run made 40 snapshots before anything was evaluated; each takes longer than a glimpse."""
    panel: Panel
    asked: list[float] = []

    def evaluate(w: np.ndarray) -> float:
        asked.append(w[0])
        if len(asked) == 3:
            press(panel, "stop")
        return float(w[0])

    def program(comm: Comm) -> None:
        for k in range(40):
            comm.snapshot(np.array([float(k)]))

    panel = dashboard(
        lambda k: Simulated(1).start(program),
        knobs=[Slider("k", 1, 9, 1)],
        curve=evaluate,
        value="loss",
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ddml_kit.notebook.panel.follow.INTERVAL", 0.0)
        patch.setattr("ddml_kit.notebook.panel.follow.SHARE", 1e-9)
        panel.run()
    [kept] = panel.runs
    assert len(asked) in (3, 4)
    assert kept.curve.value[-1] == 39, "the last model is evaluated first"
    assert kept.ended == ""


def test_a_failure_is_a_sentence_on_the_page_and_an_error_in_a_call(panel: Panel) -> None:
    with pytest.raises(RankFailed, match=r"^rank 1 failed at .* the third step is broken$"):
        panel.run(broken=True)
    alert = panel.front.state["alert"]
    assert alert["sentence"].startswith("rank 1 failed at ")
    assert "Traceback" not in alert["sentence"]
    assert "in descend" in alert["details"]
    [kept] = panel.runs
    assert (kept.ended, kept.answers, panel.labels) == ("failed", {}, ["workers 2 (failed)"])
    press(panel, "run", settings={**panel.front.settings["values"], "broken": True})
    panel.wait()
    assert panel.front.state["alert"] == alert
    panel.run()
    assert panel.front.state["alert"] is None


def test_what_goes_wrong_around_a_run_is_shown_as_well() -> None:
    def refuse(k):
        raise ValueError("k must be odd, got 1")

    panel = dashboard(refuse, [Slider("k", 1, 2, 1)], curve=loss)
    press(panel, "run")
    panel.wait()
    assert panel.front.state["alert"]["sentence"] == "k must be odd, got 1"
    assert "in refuse" in panel.front.state["alert"]["details"]
    assert panel.runs == ()
    panel.close()


def test_an_interrupted_call_ends_its_run() -> None:
    def interrupt(w):
        raise KeyboardInterrupt

    panel = dashboard(
        lambda k: Simulated(k).start(endless), [Slider("k", 1, 2, 1)], curve=interrupt
    )
    with pytest.raises(KeyboardInterrupt):
        panel.run()
    assert not panel.front.state["busy"]
    panel.close()


def test_answers_and_labels_of_a_lab_s_own() -> None:
    panel = dashboard(
        launch,
        KNOBS,
        curve=lambda w, rate: float(w[0]) / rate,
        answers=lambda run, curve, workers: {"per worker": f"{run.seconds / workers:.3f}"},
        label=lambda workers, **others: f"{workers} workers at {others['rate']}",
    )
    run = panel.run(rate=0.5)
    assert panel.runs[0].answers == {"per worker": f"{run.seconds / 2:.3f}"}
    assert panel.labels == ["2 workers at 0.5"]
    assert panel.runs[0].curve.value[0] == 1.0
    panel.close()


def test_the_runs_as_a_table(panel: Panel, tmp_path) -> None:
    panel.run(workers=4)
    panel.run(rate=0.5, steps=20)
    panel.to_csv(tmp_path / "runs.csv")
    with open(tmp_path / "runs.csv", encoding="utf8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 30
    settings = ["workers", "rate", "steps", "broken"]
    assert list(rows[0]) == ["run", "label", "cluster", *settings, "step", "seconds", "loss"]
    assert rows[-1]["label"] == "workers 2, rate 0.5, steps 20"
    assert [rows[0]["run"], rows[-1]["run"], rows[-1]["step"]] == ["1", "2", "19"]
    assert float(rows[0]["loss"]) == pytest.approx(0.81)
    sent: list[dict] = []
    panel.front.send = lambda message: sent.append(message)
    press(panel, "csv")
    assert sent[0]["csv"] == (tmp_path / "runs.csv").read_text(encoding="utf8")


def test_two_dashboards_do_not_meddle(panel: Panel) -> None:
    other = dashboard(launch, KNOBS, curve=loss)
    panel.start(workers=4)
    other.start(workers=8)
    panel.wait()
    other.wait()
    assert [kept.run.size for kept in panel.runs] == [4]
    assert [kept.run.size for kept in other.runs] == [8]
    other.close()


class Shell:
    """As much of IPython's shell as a dashboard asks for."""

    def __init__(self) -> None:
        self.execution_count, self.cell = 1, "a"

    def get_parent(self) -> dict:
        return {"metadata": {"cellId": self.cell}}


def test_a_cell_that_is_run_again_ends_its_former_dashboards(monkeypatch) -> None:
    shell = Shell()
    monkeypatch.setattr(sys.modules[dashboard.__module__], "get_ipython", lambda: shell)
    seen, seen_too = threading.Event(), threading.Event()
    first, second = (endless_panel(event, Simulated(1)) for event in (seen, seen_too))
    first.start()
    second.start()  # two in one cell live side by side
    assert seen.wait(60)
    assert seen_too.wait(60)
    shell.cell = "b"
    elsewhere = endless_panel(threading.Event(), Simulated(1))
    assert first.front.state["busy"]
    assert second.front.state["busy"]
    shell.cell, shell.execution_count = "a", 2
    again = endless_panel(threading.Event(), Simulated(1))
    assert [p.runs[0].ended for p in (first, second)] == ["stopped", "stopped"]
    assert "dashboard" not in [thread.name for thread in threading.enumerate()]
    assert first.front.comm is None or first.front.comm._closed
    for panel in (elsewhere, again):
        panel.close()


def test_the_saved_notebook_says_what_was_there(panel: Panel) -> None:
    words = (
        "Dashboard of loss with the knobs workers, rate, steps, broken. Run this cell to use it."
    )
    panel.run()
    bundle = panel._repr_mimebundle_()
    assert bundle["text/plain"] == repr(panel) == words
    assert words in bundle["text/html"]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"launch": lambda workers: None}, "launch has no parameter 'rate', so that knob"),
        ({"launch": lambda **all: None, "curve": lambda w, x: 0}, "curve needs 'x', but no knob"),
        ({"steps": lambda stepz: 1}, "steps needs 'stepz', but no knob is named so; there are"),
        ({"presets": {"big": {"workers": 99}}}, "preset 'big': workers must be from 1 to 16"),
        ({"knobs": []}, "a dashboard needs knobs with distinct names, got"),
        ({"knobs": [KNOBS[0], KNOBS[0]]}, "with distinct names, got .'workers', 'workers'"),
    ],
)
def test_a_wrong_declaration_gets_a_sentence(change: dict, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        dashboard(**{"launch": launch, "knobs": KNOBS, "curve": loss, **change})


def test_virtual_and_real_seconds_are_not_drawn_on_one_axis() -> None:
    clusters = {"simulated": Simulated(2), "processes": Processes(2)}
    panel = dashboard(
        lambda where: clusters[where].start(descend, 3, 0.1, False),
        [Choice("where", list(clusters), "simulated")],
        curve=loss,
    )
    virtual, real = panel.run(), panel.run(where="processes")
    assert panel.labels == ["simulated", "processes"]
    assert [kept["drawn"] for kept in panel.front.state["runs"]] == [False, True]
    [trace] = json.loads(panel.front.curve)["data"]
    assert trace["name"] == "processes"
    press(panel, "over", axis="steps")
    assert [kept["drawn"] for kept in panel.front.state["runs"]] == [True, True]
    assert len(json.loads(panel.front.curve)["data"]) == 2
    press(panel, "over", axis="seconds")
    press(panel, "show", number=0)
    assert [kept["drawn"] for kept in panel.front.state["runs"]] == [True, False]
    assert np.array_equal(virtual.results, real.results)
    panel.close()


def test_the_axis_changes_its_unit_with_the_run_under_way() -> None:
    seen = threading.Event()
    panel = endless_panel(seen, Simulated(1))  # its steps take a virtual second each
    panel._keep(Outcome(Simulated(1).run(descend, 3, 0.1, False), SHORT, None), {"k": 1})
    panel._draw()
    assert json.loads(panel.front.curve)["layout"]["xaxis"]["title"]["text"].startswith("milli")
    titles: list[str] = []
    panel.front.observe(lambda change: titles.append(change["new"]), "curve")
    panel.start()
    assert seen.wait(60)
    panel.close()
    under_way = json.loads(titles[0])
    assert under_way["layout"]["xaxis"]["title"]["text"] == "seconds (simulated)"
    x = under_way["data"][0]["x"]
    np.testing.assert_allclose(np.frombuffer(base64.b64decode(x["bdata"])), SHORT.seconds)


def test_real_workers_are_shown_and_stopped() -> None:
    seen = threading.Event()
    panel = endless_panel(seen, Processes(2))
    panel.start()
    assert seen.wait(60)
    press(panel, "stop")
    panel.wait()
    [kept] = panel.runs
    assert (kept.ended, kept.run.badge) == ("stopped", "measured")
    assert json.loads(panel.front.curve)["layout"]["xaxis"]["title"]["text"].endswith(
        "(measured on this machine)"
    )
    panel.close()
