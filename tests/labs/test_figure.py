"""A figure in a real browser: it stays where the window changes its size."""

from pathlib import Path

import nbformat
import pytest
from browser import Notebook, jupyterlab

pytestmark = pytest.mark.browser

CELL = "from ddml_kit.notebook import lines\nlines({'a': ([1, 2], [3, 4])}, x='x', y='y')"
SIZES = ((1100, 900), (1100, 700), (900, 700), (1200, 800), (1200, 900))
SIZE = "e => [e.clientWidth, e.clientHeight]"
DRAWN = "e => { window.drawn = false; e.once('plotly_relayout', () => { window.drawn = true; }); }"


def test_a_figure_keeps_its_height_and_follows_the_width(chromium, tmp_path: Path) -> None:
    book = nbformat.v4.new_notebook(
        metadata={
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}
        }
    )
    book.cells = [nbformat.v4.new_code_cell(CELL)]
    (tmp_path / "made").mkdir()
    nbformat.write(book, tmp_path / "made" / "figure.ipynb")
    with jupyterlab(tmp_path / "made", tmp_path / "scratch") as address:
        page = chromium.new_page(viewport={"width": 1100, "height": 800})
        notebook = Notebook(page, address.format("figure.ipynb"))
        notebook.hide_files()
        notebook.run_all()
        figure = page.locator(".jp-RenderedPlotly")
        figure.locator(".main-svg").first.wait_for()
        widths = set()
        for width, height in SIZES:
            figure.evaluate(DRAWN)
            page.set_viewport_size({"width": width, "height": height})
            page.wait_for_function("window.drawn")
            shown = figure.evaluate(SIZE)
            assert shown[1] == 320, (width, height)
            widths.add(shown[0])
        page.close()
    assert len(widths) == 3
