"""A dashboard in a real browser, in a small notebook made here; screenshots are kept."""

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from browser import Dashboard, Notebook, opened, write_notebook
from playwright.sync_api import expect

from ddml_kit.cluster import Run, Snapshot
from ddml_kit.command.main import main
from ddml_kit.notebook.panel.opened import LARGEST

pytestmark = pytest.mark.browser

PROGRAM = '''
import numpy as np
from ddml_kit.cluster.simulated import Simulated
from ddml_kit.notebook import (
    Choice, Slider, Toggle, curves, dashboard, predict, source, timeline
)


class OneSlower:
    """The last worker takes three times as long, all vary a little."""

    def __init__(self, last):
        self.last = last

    def factor(self, rank, seconds, rng):
        return (3.0 if rank == self.last else 1.0) * rng.uniform(0.9, 1.2)


def descend(comm, waiting, staleness, rate, steps, broken):
    w = np.array([1.5, -1.0])
    noise = comm.stream("noise")
    for step in range(steps):
        comm.work(0.012)
        gradient = w + 0.2 * noise.standard_normal(2)
        if waiting == "every step" or (waiting == "now and then" and step % staleness == 0):
            gradient = comm.all_reduce(gradient, op="mean")
        w = w - rate * gradient
        comm.snapshot(w)
        if broken and step == 30 and comm.rank == 1:
            raise ValueError("krum needs n >= 2f + 3 gradients, got n=4 with f=1")
    return w


def launch(workers, stragglers, waiting, staleness, rate, steps, broken):
    slowdowns = [OneSlower(workers - 1)] if stragglers == "one 3× slower" else []
    cluster = Simulated(workers, slowdowns=slowdowns)
    return cluster.start(descend, waiting, staleness, rate, steps, broken)
'''
PANEL = """
panel = dashboard(
    launch,
    [
        Slider("workers", 1, 64, 8, log=True, group="Cluster"),
        Choice("stragglers", ["none", "one 3× slower"], "none", group="Cluster"),
        Choice("waiting", ["every step", "now and then", "never"], "every step", group="Training"),
        Slider("staleness", 1, 16, 3, label="staleness ≤", group="Training"),
        Slider("rate", 0.001, 1.0, 0.02, log=True, label="step size", group="Training"),
        Slider("steps", 100, 1_000_000, 200, log=True, step=10, group="Training"),
        Toggle("broken", False, group="Training"),
    ],
    curve=lambda w: float(w @ w),
    value="test loss",
    target=0.05,
    steps=lambda steps: steps,
    presets={
        "no waiting": {"waiting": "never"},
        "straggler": {"stragglers": "one 3× slower"},
        "crowd": {"workers": 64},
    },
)
panel
"""
FORESEEN = """
time = predict.Number("time", "How long?", low=0, high=10, unit="s")
loss = predict.Curve(
    *("loss", "Draw the loss."),
    **{"x": [0, 1, 2, 3], "low": 0, "high": 4, "x_title": "seconds", "y_title": "test loss"},
    axis="seconds",
)
time.say(0.9)
loss.say([3, 1, 0.5, 0.1])
foreseeing = dashboard(
    launch,
    panel._plan.knobs,
    curve=lambda w: float(w @ w),
    value="test loss",
    target=0.05,
    predicted=(time, loss),
)
foreseeing
"""
CELLS = [
    "# Play\nChoose how far the fast workers may run ahead, then press **Run**.",
    PROGRAM,
    PANEL,
    'run = panel.run(stragglers="one 3× slower")\nrun',
    "timeline(run)",
    "curves({label: kept.curve for label, kept in zip(panel.labels, panel.runs)}, target=0.05)",
    "source(timeline)",
    'dashboard(launch, panel._plan.knobs, curve=lambda w: float(w @ w), value="another")',
    FORESEEN,
]


FOCUSED = """() => {
    const node = document.activeElement;
    if (!node.closest('.ddml-dashboard')) return '';
    const label = node.getAttribute('aria-label') || node.labels?.[0]?.innerText;
    return (label || node.innerText).trim().split('\\n')[0];
}"""


@pytest.fixture(scope="module")
def notebook(chromium, tmp_path_factory):
    """The notebook in the browser, run from top to bottom."""
    made, scratch = tmp_path_factory.mktemp("made"), tmp_path_factory.mktemp("jupyter")
    write_notebook(made / "play.ipynb", CELLS)
    with opened(chromium, made, "play.ipynb", scratch) as notebook:
        notebook.run_all()
        yield notebook


@pytest.fixture
def panel(notebook) -> Dashboard:
    return notebook.dashboard()


def test_a_call_in_a_cell_is_on_the_dashboard(panel: Dashboard) -> None:
    assert panel.runs() == ["workers 8"]
    assert panel.answer("steps") == "200"
    expect(panel.place.locator(".badge")).to_have_text("simulated · 8 workers · seed 0")


def test_a_knob_changes_the_result(notebook: Notebook, panel: Dashboard) -> None:
    panel.move("stragglers", "none")
    panel.press("Run")
    panel.wait()
    before = panel.answers()
    panel.move("workers", "4")
    panel.move("waiting", "now and then")
    panel.press("Run")
    panel.wait()
    after = panel.answers()
    assert after["sent"] != before["sent"]
    assert after["test loss"] != before["test loss"]
    assert panel.runs() == [
        "workers 8, one 3× slower, every step",
        "workers 8, none, every step",
        "workers 4, none, now and then",
    ]
    panel.place.scroll_into_view_if_needed()
    notebook.screenshot("dashboard-1100", 1100, 900)


def test_a_run_can_be_stopped_and_the_page_stays_alive(panel: Dashboard, notebook) -> None:
    panel.move("steps", "1,000,000")
    panel.press("Run")
    panel.busy()
    panel.move("workers", "16")  # the page answers meanwhile
    panel.place.scroll_into_view_if_needed()
    notebook.screenshot("dashboard-running", 1100, 900)
    panel.press("Stop")
    panel.wait()
    assert panel.runs()[-1].endswith("(stopped)")
    panel.move("steps", "100")


def test_a_failure_is_a_sentence(panel: Dashboard, notebook) -> None:
    panel.move("broken", True)
    panel.press("Run")
    panel.wait()
    assert panel.alert().startswith("rank 1 failed at ")
    assert panel.alert().endswith("ValueError: krum needs n >= 2f + 3 gradients, got n=4 with f=1")
    details = panel.place.locator(".alert pre")
    expect(details).to_be_hidden()
    panel.place.get_by_text("where it happened").click()
    expect(details).to_contain_text("in descend")
    panel.place.scroll_into_view_if_needed()
    notebook.screenshot("dashboard-failed", 1100, 900)
    panel.move("broken", False)


def test_a_preset_moves_the_knobs_and_runs(panel: Dashboard, notebook) -> None:
    panel.press("crowd")
    panel.wait()
    expect(panel.place.locator('[data-knob="workers"] output')).to_have_text("64")
    assert "workers 64" in panel.runs()[-1]
    panel.place.scroll_into_view_if_needed()
    notebook.screenshot("dashboard-crowd", 1100, 1100)


def test_everything_can_be_reached_with_the_keyboard(panel: Dashboard) -> None:
    page, names = panel.place.page, []
    panel.place.locator('[data-knob="workers"] input').focus()
    for _ in range(40):
        names.append(page.evaluate(FOCUSED))
        page.keyboard.press("Tab")
    for name in ["workers", "stragglers", "waiting", "staleness ≤", "step size", "broken"]:
        assert name in names
    for name in ["▶ Run", "Clear", "no waiting", "Open …", "CSV", "seconds"]:
        assert name in names
    assert any(name.startswith("remove workers") for name in names)


def test_a_key_on_a_knob_is_no_shortcut_of_jupyterlab(panel: Dashboard, notebook) -> None:
    cells = notebook.page.locator(".jp-Notebook .jp-Cell").count()
    slider = panel.place.locator('[data-knob="staleness"] input')
    slider.press("Home")
    for key in ["a", "b", "d", "d", "ArrowRight"]:
        slider.press(key)
    expect(panel.place.locator('[data-knob="staleness"] output')).to_have_text("2")
    assert notebook.page.locator(".jp-Notebook .jp-Cell").count() == cells


def test_the_runs_are_saved_as_a_table(panel: Dashboard, tmp_path: Path) -> None:
    with panel.place.page.expect_download() as download:
        panel.press("CSV")
    assert download.value.suggested_filename == "runs.csv"
    download.value.save_as(tmp_path / "runs.csv")
    with open(tmp_path / "runs.csv", encoding="utf8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["label"] for row in rows} == set(panel.runs())


def test_a_former_run_is_looked_at_and_steps_are_shown(panel: Dashboard, notebook) -> None:
    panel.place.locator("button.kept").first.click()
    expect(panel.place.locator(".caption h4")).to_contain_text("one 3× slower")
    panel.place.locator(".bar").get_by_text("steps", exact=True).click()
    expect(panel.place.locator(".xtitle").first).to_have_text("steps")


def test_nothing_is_cut_off_where_the_window_is_narrow(panel: Dashboard, notebook) -> None:
    for width in (1100, 800):
        notebook.page.set_viewport_size({"width": width, "height": 1400})
        expect(panel.place.locator(".main-svg").first).to_be_visible()
        outer = panel.place.bounding_box()
        for part in (".plot .main-svg", "button", "output", "select", ".answers > div", ".badge"):
            for node in panel.place.locator(part).all():
                box = node.bounding_box()
                if box is not None:
                    assert box["x"] >= outer["x"] - 1, f"{part} at {width}"
                    right = outer["x"] + outer["width"]
                    assert box["x"] + box["width"] <= right + 1, f"{part} at {width}"
        panel.place.scroll_into_view_if_needed()
        notebook.screenshot(f"dashboard-{width}-high", width, 1400)


def test_a_second_dashboard_is_on_its_own(notebook: Notebook) -> None:
    other = notebook.dashboard(1)
    assert other.runs() == []
    other.press("Run")
    other.wait()
    assert other.runs() == ["workers 8"]
    assert len(notebook.dashboard(0).runs()) > 1


def test_each_dashboard_has_ids_of_its_own(notebook: Notebook) -> None:
    ids = [node.get_attribute("id") for node in notebook.page.locator(".ddml-dashboard [id]").all()]
    assert len(ids) == len(set(ids))
    groups = notebook.page.locator(".ddml-dashboard .bar input:checked")
    assert groups.count() == 3  # seconds or steps, on each of them


def choose(panel: Dashboard, path: Path) -> None:
    """Press Open with the keyboard and choose a file."""
    with panel.place.page.expect_file_chooser() as chooser:
        panel.place.get_by_role("button", name="Open …").press("Enter")
    chooser.value.set_files(path)


def test_a_saved_run_is_opened_from_the_page(notebook: Notebook, tmp_path: Path) -> None:
    panel = notebook.dashboard(1)
    names, before = panel.place.locator("li .name"), panel.runs()
    path = tmp_path / "ring.npz"
    words = "data_parallel --problem quadratic:2,30 --steps 15 --reducer ring --simulated 3"
    assert main(["run", *words.split(), f"--out={path}"]) == 0
    choose(panel, path)
    label = "ring: data_parallel, steps 15, reducer ring"
    expect(names).to_have_text([*before, label])
    panel.wait()
    expect(panel.place.locator(".badge")).to_have_text("simulated · 3 workers · seed 0")
    expect(panel.place.locator(".caption h4")).to_have_text(f"What the workers did: {label}")
    assert panel.answer("steps") == "16"
    large = tmp_path / "large.npz"  # as large as a page may send
    noise = np.random.default_rng(0).integers(256, size=LARGEST - 20_000, dtype=np.uint8)
    run = Run.load(path)
    replace(run, snapshots=[Snapshot(0, 1.0, 0, noise)], results=[None] * 3, about={}).save(large)
    assert 0.99 * LARGEST < large.stat().st_size <= LARGEST
    choose(panel, large)
    expect(names).to_have_text([*before, label, "large"])
    panel.wait()


def test_a_file_that_does_not_fit_gets_a_sentence(notebook: Notebook, tmp_path: Path) -> None:
    panel = notebook.dashboard(1)
    before = panel.runs()
    path = tmp_path / "odd.npz"
    path.write_text("not a run")
    choose(panel, path)
    alert = panel.place.locator(".alert p")
    expect(alert).to_contain_text("odd.npz is not a saved run: ")
    panel.wait()
    path.write_bytes(bytes(LARGEST + 1))
    choose(panel, path)
    expect(alert).to_contain_text("odd.npz has 9 MB, and a page sends 9 MB at most: put it beside")
    assert panel.runs() == before
    panel.press("Run")
    expect(panel.place.locator(".alert")).to_be_hidden()
    panel.wait()


def test_what_was_predicted_stands_beside_what_happened(notebook: Notebook) -> None:
    panel = notebook.dashboard(2)
    panel.press("Run")
    panel.wait()
    assert list(panel.answers())[:3] == ["time to 0.05", "you said", "test loss"]
    assert panel.answer("you said") == "0.9 s"
    dotted = panel.place.locator(".dotted")
    expect(dotted).to_have_text("your prediction")
    picture = panel.place.get_by_role("img", name="your prediction: from 3 at 0 seconds")
    assert picture.locator(".scatterlayer .trace").count() == 2
    panel.place.scroll_into_view_if_needed()
    notebook.screenshot("dashboard-predicted-1100", 1100, 900)
    notebook.screenshot("dashboard-predicted-800", 800, 1400)
    panel.place.locator(".bar").get_by_text("steps", exact=True).click()
    expect(dotted).to_be_hidden()


def test_the_focus_stays_in_the_list_of_runs(notebook: Notebook) -> None:
    panel = notebook.dashboard(2)
    for _ in range(2):
        panel.press("Run")
        panel.wait()
    item = panel.place.locator("li")
    for number, button in ((0, "kept"), (1, "kept")):
        item.nth(number).locator(f"button.{button}").press("Enter")
        expect(item.nth(number).locator("button.kept")).to_have_attribute("aria-pressed", "true")
        expect(item.nth(number).locator("button.kept")).to_be_focused()
    for left in (2, 1):  # the neighbour of the one that is gone, and in the end its own
        item.last.locator("button.remove").press("Enter")
        expect(item).to_have_count(left)
        expect(item.last.locator("button.remove")).to_be_focused()
    item.last.locator("button.remove").press("Enter")
    expect(panel.place.locator("button.main")).to_be_focused()


def test_a_run_under_way_is_not_read_out(notebook: Notebook) -> None:
    panel = notebook.dashboard(2)
    answers, status = panel.place.locator(".answers"), panel.place.locator(".status")
    panel.move("steps", "1,000,000")
    panel.press("Run")
    panel.busy()
    for place in (answers, status):
        expect(place).to_have_attribute("aria-live", "off")
    panel.press("Stop")
    panel.wait()
    for place in (answers, status):
        expect(place).to_have_attribute("aria-live", "polite")


def test_static_figures_are_pictures_with_words(notebook: Notebook) -> None:
    notebook.page.set_viewport_size({"width": 1100, "height": 900})
    figures = notebook.page.locator(".jp-RenderedPlotly, .jp-OutputArea-output .js-plotly-plot")
    assert figures.count() >= 2
    words = notebook.page.get_by_text("What 8 workers did", exact=False).first
    words.scroll_into_view_if_needed()
    notebook.screenshot("figures-1100", 1100, 900)


def test_a_cell_that_is_run_again_starts_afresh(notebook: Notebook) -> None:
    panel = notebook.dashboard()
    panel.move("steps", "1,000,000")
    panel.press("Run")
    panel.busy()
    notebook.run_cell(2)
    again = notebook.dashboard()
    assert again.runs() == []
    again.press("Run")  # the former run has been stopped, so this one has the kernel to itself
    again.wait()
    assert again.runs() == ["workers 8"]
