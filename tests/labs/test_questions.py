"""Questions in a real browser, answered by keyboard alone, in a small notebook made here."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from browser import Notebook, opened, write_notebook
from playwright.sync_api import Locator, expect

pytestmark = pytest.mark.browser

SETUP = "from ddml_kit.notebook import lines, predict"
NUMBER = """
eight = predict.Number(
    "eight",
    "Until all 8 workers have the value takes as long as how many messages in a row?",
    low=1,
    high=8,
    unit="messages",
    whole=True,
)
eight
"""
CHOICE = """
who = predict.Choice(
    "who",
    "A message of 1,000,000 bytes, compared with one of 8 bytes, takes",
    ["about as long", "some 10 times", "some 1,000 times", "some 100,000 times"],
)
who
"""
CURVE = """
workers = [1, 2, 4, 8, 16, 32, 64, 128, 256]
curve = predict.Curve(
    "curve",
    "100 ms of adding: how many times as fast as 1 worker?",
    x=workers,
    low=0,
    high=64,
    log_x=True,
    x_title="workers",
    y_title="times as fast as 1 worker",
)
curve
"""
CELLS = [
    "# Predict\nCommit to an answer before you run.",
    SETUP,
    NUMBER,
    CHOICE,
    CURVE,
    "eight.compare(3)",
    'curve.over(lines({"total": (workers, [1, 2, 4, 8, 15, 22, 20, 12, 6])}, x="workers", y="y"))',
]


class Asked:
    """A question in a page, answered with keys alone."""

    def __init__(self, place: Locator) -> None:
        self.place, self.keys = place, place.page.keyboard
        self.note = place.locator(".note")

    def enter(self) -> None:
        """Put the focus just before the question, then go on with Tab into its first field."""
        self.place.evaluate(
            "node => { const start = document.createElement('span'); start.tabIndex = -1;"
            " node.prepend(start); start.focus(); }"
        )
        self.press("Tab")

    def press(self, *keys: str) -> None:
        for key in keys:
            self.keys.press(key)

    def says(self, text: str) -> None:
        expect(self.note).to_have_text(text)


class Predictions:
    """The notebook, its questions, and the file in which the answers are kept."""

    def __init__(self, notebook: Notebook, file: Path) -> None:
        self.notebook, self._file = notebook, file

    def asked(self, kind: str) -> Asked:
        return Asked(self.notebook.page.locator(f".ddml-question.{kind}"))

    @property
    def kept(self) -> dict[str, Any]:
        return json.loads(self._file.read_text("utf8")) if self._file.exists() else {}

    def result(self, index: int) -> Locator:
        """What a cell shows after it has been run again."""
        self.notebook.run_cell(index)
        return self.notebook.page.locator(".jp-Notebook .jp-Cell").nth(index)


@pytest.fixture(scope="module")
def page(chromium, tmp_path_factory):
    """The notebook in the browser, run from top to bottom."""
    made, scratch = tmp_path_factory.mktemp("made"), tmp_path_factory.mktemp("jupyter")
    write_notebook(made / "ask.ipynb", CELLS)
    with opened(chromium, made, "ask.ipynb", scratch) as notebook:
        notebook.run_all()
        notebook.page.locator(".ddml-question.curve svg").wait_for()
        yield Predictions(notebook, scratch / "files" / "predictions.json")


def test_commit_without_an_answer_keeps_nothing(page: Predictions) -> None:
    for kind, tabs, words in (
        ("number", 1, "Type a number first."),
        ("choice", 1, "Choose first."),
        ("curve", 9, "Move a point first."),
    ):
        asked = page.asked(kind)
        asked.enter()
        asked.press(*["Tab"] * tabs, "Space")
        asked.says(words)
    assert page.kept == {}
    page.notebook.page.mouse.move(0, 0)
    page.notebook.screenshot("predict-empty-1100", 1100, 1500)


def test_a_number_is_typed(page: Predictions) -> None:
    asked = page.asked("number")
    asked.enter()
    for typed, words in (
        ("9", "Not kept: a prediction lies from 1 to 8, got 9."),
        ("2.5", "Not kept: a prediction is a whole number here, got 2.5."),
        ("two", "Not kept: a prediction is a number such as 20 or 0.5, got 'two'."),
    ):
        asked.press("Control+A", *typed, "Enter")
        asked.says(words)
    assert page.kept == {}
    page.notebook.screenshot("predict-wrong-1100", 1100, 900)
    asked.press("Control+A", "1")
    asked.says("")
    asked.press("Enter")
    asked.says("Kept.")
    assert page.kept == {"eight": 1}
    compared = page.result(5)
    compared.get_by_text("You said 1 message; it was 3 messages").wait_for()


def test_an_option_is_chosen(page: Predictions) -> None:
    asked = page.asked("choice")
    cells = page.notebook.page.locator(".jp-Notebook .jp-Cell").count()
    asked.enter()
    asked.press("Space", "ArrowDown", "ArrowDown", "ArrowUp", "Tab", "Space")
    asked.says("Kept.")
    assert page.kept["who"] == "some 10 times"
    asked.press("Shift+Tab", "ArrowDown", "Enter")
    asked.says("Kept.")
    assert page.kept["who"] == "some 1,000 times"
    assert page.notebook.page.locator(".jp-Notebook .jp-Cell").count() == cells


def test_a_curve_is_drawn(page: Predictions) -> None:
    asked = page.asked("curve")
    slider = asked.place.get_by_role("slider")
    expect(slider.first).to_have_accessible_name("times as fast as 1 worker, workers 1")
    asked.enter()
    asked.press("Home", "ArrowUp", "Tab", "PageDown", "ArrowRight", "ArrowLeft", "Tab", "End")
    asked.press("Enter")
    asked.says("Kept.")
    assert page.kept["curve"]["y"][:4] == [1, 27, 64, 32]
    expect(slider.nth(1)).to_have_attribute("aria-valuetext", "27")
    asked.press(*["Tab"] * 7, "Space")
    asked.says("Kept.")
    page.notebook.screenshot("predict-curve-1100", 1100, 900)
    over = page.result(6)
    over.get_by_text("your prediction: from 1 at 1 to 32 at 256", exact=False).first.wait_for()


def test_a_curve_is_drawn_in_one_stroke(page: Predictions) -> None:
    asked = page.asked("curve")
    asked.place.scroll_into_view_if_needed()
    box = asked.place.locator("svg").bounding_box()
    mouse = page.notebook.page.mouse
    mouse.move(box["x"] + 0.12 * box["width"], box["y"] + 0.7 * box["height"])
    mouse.down()
    mouse.move(box["x"] + 0.95 * box["width"], box["y"] + 0.2 * box["height"])
    mouse.up()
    heights = [
        float(point.get_attribute("aria-valuenow")) for point in asked.place.locator("circle").all()
    ]
    assert heights == sorted(heights)
    assert heights[-1] - heights[0] > 20
    asked.says("")  # what stands there is no longer what is kept
    asked.place.get_by_role("button", name="Commit").click()
    asked.says("Kept.")
    assert page.kept["curve"]["y"][-1] == pytest.approx(heights[-1], abs=0.1)


def test_what_was_kept_is_there_when_a_cell_is_run_again(page: Predictions) -> None:
    page.notebook.run_cell(2)
    asked = page.asked("number")
    asked.says("Kept from before.")
    expect(asked.place.locator("input")).to_have_value("1")


def test_nothing_is_cut_off_where_the_window_is_narrow(page: Predictions) -> None:
    for width in (1100, 800):
        page.notebook.page.set_viewport_size({"width": width, "height": 1500})
        for kind in ("number", "choice", "curve"):
            place = page.asked(kind).place
            outer = place.bounding_box()
            for node in place.locator("input, label, button, svg, circle, .note, .range").all():
                box = node.bounding_box()
                assert box["x"] >= outer["x"] - 1, f"{kind} at {width}"
                assert box["x"] + box["width"] <= outer["x"] + outer["width"] + 1, f"{kind} {width}"
        page.notebook.screenshot(f"predict-{width}-high", width, 1500)
