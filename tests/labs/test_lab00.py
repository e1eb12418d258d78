"""Lab 00 in a real browser: all cells, a prediction, the dashboard."""

from pathlib import Path

import pytest
from browser import Notebook, opened

pytestmark = pytest.mark.browser

LABS = Path(__file__).parent.parent.parent / "labs"


@pytest.fixture(scope="module")
def notebook(chromium, tmp_path_factory):
    """The lab, run from top to bottom."""
    with opened(chromium, LABS, "00_start.ipynb", tmp_path_factory.mktemp("jupyter")) as notebook:
        notebook.run_all()
        yield notebook


def test_all_figures_are_drawn(notebook: Notebook) -> None:
    figures = notebook.page.locator(".jp-RenderedPlotly .main-svg:first-child")
    figures.nth(5).wait_for()
    assert figures.count() == 6


def test_knobs_change_time_and_prices_change_the_bill(notebook: Notebook) -> None:
    panel = notebook.dashboard()
    panel.press("Clear")
    panel.move("cores", "16")
    panel.press("Run")
    panel.wait()
    first = panel.answers()
    panel.move("core", "0.1")
    panel.press("Run")
    panel.wait()
    dearer = panel.answers()
    assert dearer["time"] == first["time"]
    assert float(dearer["dollars"]) > float(first["dollars"])
    panel.move("cores", "64")
    panel.press("Run")
    panel.wait()
    assert panel.answer("time") != first["time"]
    assert panel.runs()[-1] == "4 × 64 cores, 32 GB"
    panel.place.scroll_into_view_if_needed()
    notebook.screenshot("up-or-out-1100", 1100, 900)


def test_a_prediction_is_kept_and_laid_over_what_happened(notebook: Notebook) -> None:
    cells = notebook.page.locator(".jp-Notebook .jp-Cell")
    asked = cells.filter(has_text="All 8 workers are to have the value").first
    asked.locator("input").fill("7")
    asked.get_by_role("button", name="Commit").click()
    asked.get_by_text("Kept.").wait_for()
    compared = cells.filter(has_text="eight.compare(rounds)")
    notebook.run_cell([c.inner_text() for c in cells.all()].index(compared.inner_text()))
    compared.get_by_text("You said 7 messages; it was 3 messages").wait_for()
