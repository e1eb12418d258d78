"""The labs in a real browser, as a learner uses them."""

from pathlib import Path

import pytest
from browser import opened

pytestmark = pytest.mark.browser

LABS = Path(__file__).parent.parent.parent / "labs"


def test_hogwild(chromium, tmp_path: Path) -> None:
    with opened(chromium, LABS, "02_hogwild.ipynb", tmp_path) as notebook:
        notebook.run_all()
        panel = notebook.dashboard()
        panel.press("Clear")
        panel.move("data", "library text")
        panel.press("Run")
        panel.wait()
        before = panel.answers()
        panel.move("workers", "16")
        panel.press("Run")
        panel.wait()
        after = panel.answers()
        for name in ("test loss", "mean staleness"):
            assert after[name] != before[name]
        panel.move("cluster", "processes")
        panel.move("workers", "2")
        panel.run_and_stop()
        assert panel.runs()[-1].endswith("(stopped)")
        panel.place.scroll_into_view_if_needed()
        notebook.screenshot("hogwild-1100", 1100, 900)
        notebook.screenshot("hogwild-800", 800, 1500)


def test_parameter_server(chromium, tmp_path: Path) -> None:
    with opened(chromium, LABS, "03_parameter_server.ipynb", tmp_path) as notebook:
        notebook.run_all()
        panel = notebook.dashboard()
        panel.press("Clear")
        seen = {}
        for waiting in ("BSP", "SSP", "ASP"):
            panel.move("waiting", waiting)
            panel.press("Run")
            panel.wait()
            seen[waiting] = panel.answers()
        panel.place.scroll_into_view_if_needed()
        notebook.screenshot("parameter-server-1100", 1100, 1000)
        notebook.screenshot("parameter-server-800", 800, 1500)
        for name in ("time to 0.3", "mean staleness"):
            assert len({answers[name] for answers in seen.values()}) == 3
        panel.move("cluster", "processes")
        panel.move("workers", "2")
        panel.run_and_stop()
        assert panel.runs()[-1].endswith("(stopped)")
