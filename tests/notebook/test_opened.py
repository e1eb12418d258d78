"""A saved run: on a dashboard beside those kept, from a call and from the page; and by itself."""

import csv
import dataclasses
import json
import pickle
import threading
from typing import Any

import numpy as np
import plotly.graph_objects as go
import pytest

from ddml_kit.cluster import RankFailed, Run, Trace
from ddml_kit.cluster.simulated import Simulated
from ddml_kit.command.main import main
from ddml_kit.notebook import Choice, Figure, Panel, Slider, Toggle, dashboard, show_run
from ddml_kit.notebook.panel.opened import LARGEST, title
from ddml_kit.problems import Quadratic


def descend(comm, rate: float, dim: int) -> np.ndarray:
    w = np.ones(dim)
    for _ in range(10):
        comm.work(0.01)
        w = w - rate * comm.all_reduce(w, op="mean")
        comm.snapshot(w)
    return w


def launch(workers, rate, data, fast):
    return Simulated(workers).start(descend, rate, 2)


DATA = {"plain": Quadratic(np.eye(2), np.zeros(2)), "steep": Quadratic(9 * np.eye(2), np.zeros(2))}


def loss(w: np.ndarray, data: str) -> float:
    return DATA[data].loss(w)


def answers(run: Run, curve, workers: int) -> dict[str, str]:
    return {"each": f"{run.seconds / workers:.4f}", "last": f"{run.results[0][0]:.4f}"}


KNOBS = [
    Slider("workers", 1, 16, 2, log=True),
    Slider("rate", 0.01, 1.0, 0.1, log=True),
    Choice("data", list(DATA), "plain"),
    Toggle("fast", False),
]


@pytest.fixture
def panel():
    before = set(threading.enumerate())
    panel = dashboard(launch, KNOBS, curve=loss, target=0.2, answers=answers)
    yield panel
    panel.close()
    assert set(threading.enumerate()) <= before


@pytest.fixture
def elsewhere(tmp_path):
    """A run of the command line, of as many numbers as this dashboard's models have."""
    path = tmp_path / "ring.npz"
    words = ("--problem", "quadratic:2,30", "--steps", 15, "--lr", "0.05", "--reducer", "ring")
    status = main(["run", "data_parallel", *map(str, words), "--simulated=3", f"--out={path}"])
    assert status == 0
    return path


def send(panel: Panel, name: str, content: bytes | None, size: int | None = None) -> None:
    """What the page sends when a file has been chosen."""
    size = len(content or b"") if size is None else size
    message = {"press": "open", "name": name, "size": size}
    panel.front._handle_custom_msg(message, [] if content is None else [memoryview(content)])
    panel.wait()


def test_a_run_from_elsewhere_is_put_beside_those_kept(panel: Panel, elsewhere) -> None:
    panel.run()
    run = panel.open(elsewhere)
    assert run.about["program"] == "data_parallel"
    assert panel.labels == ["workers 2", "ring: data_parallel, lr 0.05, steps 15, reducer ring"]
    own, kept = panel.runs
    np.testing.assert_array_equal(kept.curve.step, np.arange(16))
    np.testing.assert_array_equal(kept.curve.value, run.curve(DATA["plain"].loss).value)
    assert kept.run.trace == run.trace
    assert len(kept.run.snapshots) == 0
    state = panel.front.state
    assert [one["label"] for one in state["runs"]] == list(panel.labels)
    assert state["shown"] == 1
    assert state["badge"] == "simulated · 3 workers · seed 0"
    told = dict(state["answers"])
    assert list(told) == ["time to 0.2", "loss", "steps", "sent"]  # what any run has
    assert told["loss"] == f"{kept.curve.value[-1]:.3g}"
    figure = json.loads(panel.front.curve)
    assert [trace["name"] for trace in figure["data"]] == list(panel.labels)
    assert "What 3 workers did" in json.loads(panel.front.timeline)["words"]
    assert panel.front.settings["values"] == own.settings  # no knob has moved


def test_it_is_judged_by_the_knobs_as_they_stand_or_as_is_asked(panel: Panel, elsewhere) -> None:
    panel.open(elsewhere)
    panel.open(elsewhere, data="steep")
    values = dict(panel.front.settings["values"], data="steep")
    panel.front.settings = {**panel.front.settings, "values": values}
    panel.open(elsewhere)
    plain, asked, stands = (kept.curve.value for kept in panel.runs)
    np.testing.assert_allclose(asked, 9 * plain)
    np.testing.assert_array_equal(stands, asked)
    with pytest.raises(ValueError, match="no knob is named 'date'; there are workers, rate"):
        panel.open(elsewhere, date="steep")


def test_a_run_of_a_dashboard_brings_its_settings_and_answers(panel: Panel, tmp_path) -> None:
    panel.run(workers=4, data="steep").save(tmp_path / "run.npz")
    other = dashboard(launch, KNOBS, curve=loss, target=0.2, answers=answers)
    other.run()
    other.open(tmp_path / "run.npz")
    [kept] = panel.runs
    opened = other.runs[1]
    assert opened.settings == kept.settings
    assert opened.answers == kept.answers
    assert other.labels == ["workers 2, plain", "workers 4, steep"]
    np.testing.assert_array_equal(opened.curve.value, kept.curve.value)
    fewer = dashboard(
        lambda workers: launch(workers, 0.1, "plain", False),
        KNOBS[:1],
        curve=lambda w: DATA["plain"].loss(w),
    )
    fewer.open(tmp_path / "run.npz")  # to one with other knobs it is from elsewhere
    assert fewer.labels == ["run"]
    fewer.run().save(tmp_path / "few.npz")
    other.open(tmp_path / "few.npz")
    assert other.labels[-1] == "few"
    other.close()
    fewer.close()


def test_a_run_that_was_cut_short_is_marked(panel: Panel, elsewhere, tmp_path) -> None:
    run, path = Run.load(elsewhere), tmp_path / "cut.npz"
    dataclasses.replace(run, stopped=True, about={}).save(path)
    panel.open(path)
    failures = {1: RankFailed(1, "no", 0.5)}
    dataclasses.replace(run, failures=failures, about={}, results=[None] * 3).save(path)
    panel.open(path)
    dataclasses.replace(run, failures=failures, about={}).save(path)  # the others went on
    panel.open(path)
    assert panel.labels == ["cut (stopped)", "cut (failed)", "cut"]
    assert [bool(kept.answers) for kept in panel.runs] == [False, False, True]
    assert all(len(kept.curve.step) == 16 for kept in panel.runs)


def test_a_run_without_snapshots_has_a_timeline(panel: Panel, tmp_path) -> None:
    Simulated(3).run(lambda comm: comm.barrier()).save(tmp_path / "bare.npz")
    panel.open(tmp_path / "bare.npz")
    assert dict(panel.front.state["answers"]) == {"time to 0.2": "not reached", "sent": "0 B"}
    assert panel.front.timeline != "null"


def test_the_table_has_no_settings_of_a_run_from_elsewhere(panel: Panel, elsewhere) -> None:
    panel.open(elsewhere)
    panel.run()
    lines = list(csv.DictReader(panel._csv().splitlines()))
    assert lines[0]["label"].startswith("ring: data_parallel")
    assert (lines[0]["workers"], lines[0]["data"], lines[0]["step"]) == ("", "", "0")
    assert lines[-1]["workers"] == "2"


def test_nothing_was_predicted_of_a_run_from_elsewhere(panel: Panel, elsewhere) -> None:
    panel._plan.__dict__["predicted"] = [Said()]
    panel.open(elsewhere)
    assert "you said" not in dict(panel.front.state["answers"])
    panel.run()
    assert dict(panel.front.state["answers"])["you said"] == "7"


class Said:
    """A question that was answered."""

    axis = None

    def in_words(self) -> str:
        return "7"

    def line(self, over: str) -> None:
        return None


# -------------------------------------------------------------------------- what does not fit


def of_another_problem(path) -> None:
    Simulated(2).run(descend, 0.1, 5).save(path)


def of_odd_events(path) -> None:
    run = Simulated(2).run(descend, 0.1, 2)
    events = run.trace.events.copy()
    events["rank"] = 99
    dataclasses.replace(run, trace=Trace(events)).save(path)


def of_odd_words(path) -> None:
    about = {"program": "x", "given": ["lr"]}
    dataclasses.replace(Simulated(2).run(descend, 0.1, 2), about=about).save(path)


class Trap:
    def __reduce__(self):
        return pytest.fail, ("a saved run was unpickled",)


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (
            lambda path: path.write_text("not a run"),
            "odd.npz is not a saved run: a saved run is an .npz file, and this is none",
        ),
        (lambda path: path.write_bytes(b""), "odd.npz is not a saved run: "),
        (lambda path: path.write_bytes(pickle.dumps(Trap())), "odd.npz is not a saved run: "),
        (
            of_another_problem,
            "odd.npz, whose model has 5 numbers, does not fit this dashboard: ValueError: matmul",
        ),
        (of_odd_events, "odd.npz, whose model has 2 numbers, does not fit this dashboard: "),
        (of_odd_words, "odd.npz, whose model has 2 numbers, does not fit this dashboard: "),
    ],
)
def test_what_does_not_fit_gets_a_sentence_and_nothing_is_lost(
    panel: Panel, tmp_path, make: Any, sentence: str
) -> None:
    panel.run()
    before = {**panel.front.state, "alert": None}
    figures = panel.front.curve, panel.front.timeline
    path = tmp_path / "odd.npz"
    make(path)
    with pytest.raises(ValueError, match=sentence):
        panel.open(path)
    alert = panel.front.state["alert"]
    assert sentence in alert["sentence"]
    assert "\n" not in alert["sentence"]
    assert {**panel.front.state, "alert": None} == before
    assert (panel.front.curve, panel.front.timeline) == figures
    send(panel, "odd.npz", path.read_bytes())
    assert sentence in panel.front.state["alert"]["sentence"]
    assert {**panel.front.state, "alert": None} == before
    assert len(panel.runs) == 1
    panel.run()
    assert panel.front.state["alert"] is None


def test_a_missing_file_gets_a_sentence(panel: Panel, tmp_path) -> None:
    with pytest.raises(FileNotFoundError):
        panel.open(tmp_path / "nothing.npz")
    assert panel.front.state["alert"]["sentence"].endswith("nothing.npz: No such file or directory")


def test_a_picture_that_was_not_made_for_such_a_run_loses_nothing(elsewhere) -> None:
    def picture(looks, shown) -> Figure:
        if len(shown.models) == 16:
            raise KeyError("a surface of its own")
        return Figure(go.Figure(), "a picture")

    panel = dashboard(launch, KNOBS, curve=loss, picture=picture)
    panel.run()
    before = panel.front.timeline
    with pytest.raises(ValueError, match=r"ring.npz, .* not fit this dashboard: KeyError: 'a surf"):
        panel.open(elsewhere)
    assert panel.front.timeline == before
    assert len(panel.runs) == 1
    panel.run()
    assert [kept.number for kept in panel.runs] == [0, 1]
    panel.close()


# ------------------------------------------------------------------------------ from the page


def test_a_file_that_the_page_sends_is_opened(panel: Panel, elsewhere) -> None:
    states: list[dict] = []
    panel.front.observe(lambda change: states.append(change["new"]), "state")
    send(panel, "my ring.npz", elsewhere.read_bytes())
    assert panel.labels == ["my ring: data_parallel, lr 0.05, steps 15, reducer ring"]
    assert states[0]["busy"]
    assert not panel.front.state["busy"]
    assert panel.front.live == {}


def test_a_file_that_is_too_large_for_the_page_gets_a_way_out(panel: Panel) -> None:
    assert panel.front.spec["largest"] == LARGEST
    send(panel, "long.npz", None, size=12_345_678)
    assert panel.front.state["alert"]["sentence"] == (
        "long.npz has 12.3 MB, and a page sends 9 MB at most: put it beside the notebook and call "
        'open("long.npz") of this dashboard in a cell'
    )
    assert not panel.front.state["busy"]


def test_a_run_under_way_goes_on_while_another_is_opened(elsewhere) -> None:
    seen, go_on = threading.Event(), threading.Event()

    def look(w: np.ndarray) -> float:
        if threading.current_thread() is not threading.main_thread():
            seen.set()
            assert go_on.wait(60)
        return float(w[0])

    panel = dashboard(launch, KNOBS, curve=look)
    panel.start()
    assert seen.wait(60)
    panel.open(elsewhere)
    assert panel.front.state["busy"]
    send_now = {"press": "open", "name": "x", "size": 1}
    panel.front._handle_custom_msg(send_now, [memoryview(b"x")])  # the page's waits its turn
    go_on.set()
    panel.wait()
    assert [kept.name != "" for kept in panel.runs] == [True, False]
    assert panel.front.state["alert"] is None
    panel.close()


def test_the_title_of_a_run() -> None:
    run = Simulated(1).run(lambda comm: None)
    assert title("a/b.npz", run) == "b"
    about = {"program": "p", "given": {"lr": "0.5", "waiting": "ssp:2"}}
    assert title("b", dataclasses.replace(run, about=about)) == "b: p, lr 0.5, waiting ssp:2"
    bare = {"program": "p", "given": {}}
    assert title("b.npz", dataclasses.replace(run, about=bare)) == "b: p"


# --------------------------------------------------------------------------------- by itself


def test_a_run_of_the_command_line_is_shown_by_itself(elsewhere, capsys) -> None:
    capsys.readouterr()
    shown = show_run(elsewhere)
    assert shown.rows["program"].startswith("data_parallel on quadratic:dim=2")
    assert shown.rows["steps"] == "15"
    assert "loss above the least from" in shown.curve.words
    assert "What 3 workers did" in shown.timeline.words
    assert repr(shown) == "\n\n".join(
        [
            "\n".join(f"{name:<20}  {text}" for name, text in shown.rows.items()),
            repr(shown.curve),
            repr(shown.timeline),
        ]
    )


def test_a_run_of_one_s_own_is_shown_with_a_judge(tmp_path) -> None:
    Simulated(2).run(descend, 0.1, 2).save(tmp_path / "own.npz")
    bare = show_run(tmp_path / "own.npz")
    assert bare.curve is None
    assert "program" not in bare.rows
    shown = show_run(tmp_path / "own.npz", judge=DATA["plain"].loss, value="energy")
    assert "own: energy from 0.81 to" in repr(shown.curve)
    assert shown.rows["energy"] == f"{DATA['plain'].loss(np.full(2, 0.9**10)):.4g}"


def test_what_cannot_be_shown_gets_a_sentence(elsewhere, tmp_path) -> None:
    (tmp_path / "odd").write_text("no")
    with pytest.raises(ValueError, match="odd is not a saved run"):
        show_run(tmp_path / "odd")
    run = Run.load(elsewhere)
    about = {**run.about, "problem": f"libsvm:{tmp_path}/gone"}
    dataclasses.replace(run, about=about).save(tmp_path / "far.npz")
    with pytest.raises(ValueError, match=r"far.npz can't be shown: .*gone: No such file or dir"):
        show_run(tmp_path / "far.npz")
    wide = Quadratic(np.eye(5), np.zeros(5))
    with pytest.raises(ValueError, match=r"ring.npz can't be shown: matmul"):
        show_run(elsewhere, judge=wide.loss)


def test_it_is_displayed_as_a_table_and_two_figures(elsewhere, monkeypatch) -> None:
    import ddml_kit.notebook.figures.figure as figure
    import ddml_kit.notebook.saved as saved

    said: list[dict] = []
    for module in (figure, saved):
        monkeypatch.setattr(module, "display", lambda data, raw: said.append(data))
    show_run(elsewhere)._ipython_display_()
    assert ">program</th>" in said[0]["text/html"]
    assert ">data_parallel on quadratic" in said[0]["text/html"]
    assert [figure.MIME in data for data in said] == [False, True, False, True, False]
