"""The labs in a real browser, as a learner uses them."""

from pathlib import Path

import pytest
from browser import opened

pytestmark = pytest.mark.browser

LABS = Path(__file__).parent.parent.parent / "labs"


def test_one_machine(chromium, tmp_path: Path) -> None:
    with opened(chromium, LABS, "01_one_machine.ipynb", tmp_path) as notebook:
        notebook.run_all()
        panel = notebook.dashboard()
        panel.press("Clear")
        panel.move("ground", "valley")
        ends = {}
        for method in ("descent", "momentum", "Adam", "L-BFGS"):
            panel.move("method", method)
            panel.press("Run")
            panel.wait()
            ends[method] = panel.answer("to the minimum")
        assert len(set(ends.values())) == 4
        panel.place.scroll_into_view_if_needed()
        notebook.screenshot("one-machine-1100", 1100, 1100)
        notebook.screenshot("one-machine-800", 800, 1700)
        panel.press("spirals")
        panel.wait()
        assert panel.answer("accuracy") == "100.0%"
        notebook.screenshot("one-machine-spirals-1100", 1100, 1100)
        panel.move("steps", "1,024")
        panel.move("ground", "LeNet")
        panel.press("Run")
        panel.place.get_by_text("Where it went: the run under way").wait_for()
        panel.press("Stop")
        panel.wait()
        panel.place.get_by_text("Where it went: momentum 0.1").wait_for()
        assert panel.runs()[-1].endswith("(stopped)")
        panel.move("method", "BFGS")
        panel.press("Run")
        panel.wait()
        assert "19,754 × 19,754" in panel.alert()


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


def test_all_reduce(chromium, tmp_path: Path) -> None:
    with opened(chromium, LABS, "04_all_reduce.ipynb", tmp_path) as notebook:
        notebook.run_all()
        figures = notebook.page.locator(".jp-RenderedPlotly .main-svg:first-child")
        figures.nth(7).wait_for()
        assert figures.count() == 8
        panel = notebook.dashboard()
        panel.press("Clear")
        panel.move("workers", "8")
        seen = {}
        for algorithm in ("ring", "halving-doubling", "switch"):
            panel.move("algorithm", algorithm)
            panel.press("Run")
            panel.wait()
            seen[algorithm] = panel.answers()
        for name in ("an all-reduce", "on paper", "messages in a row"):
            assert len({answers[name] for answers in seen.values()}) == 3
        panel.move("algorithm", "ring")
        panel.move("size", "4 kB")
        panel.press("Run")
        panel.wait()
        assert panel.answer("an all-reduce") == "707 µs"
        assert panel.runs()[-1] == "ring, 8 × 4 kB"
        panel.press("one worker more")
        panel.wait()
        assert panel.answer("an all-reduce") == "4.24 ms"
        panel.place.scroll_into_view_if_needed()
        notebook.screenshot("all-reduce-1100", 1100, 1000)
        notebook.screenshot("all-reduce-800", 800, 1500)
        panel.move("cluster", "processes")
        panel.move("workers", "2")
        panel.run_and_stop()
        assert panel.runs()[-1].endswith("(stopped)")


def test_batch_size(chromium, tmp_path: Path) -> None:
    with opened(chromium, LABS, "05_batch_size.ipynb", tmp_path) as notebook:
        notebook.run_all()
        panel = notebook.dashboard()
        panel.press("Clear")
        seen = {}
        for scaled in (False, True):
            panel.move("workers", "8")
            panel.move("scaled", scaled)
            panel.press("Run")
            panel.wait()
            seen[scaled] = panel.answers()
        for name in ("time to 0.2", "steps to it", "in the end"):
            assert seen[False][name] != seen[True][name]
        panel.press("32, warmed up")
        panel.wait()
        panel.place.scroll_into_view_if_needed()
        notebook.screenshot("batch-size-1100", 1100, 1000)
        notebook.screenshot("batch-size-800", 800, 1500)
        panel.move("cluster", "processes")
        panel.move("workers", "2")
        panel.run_and_stop()
        assert panel.runs()[-1].endswith("(stopped)")


def test_compression(chromium, tmp_path: Path) -> None:
    with opened(chromium, LABS, "06_compression.ipynb", tmp_path) as notebook:
        notebook.run_all()
        figures = notebook.page.locator(".jp-RenderedPlotly .main-svg:first-child")
        figures.nth(7).wait_for()
        assert figures.count() == 8
        panel = notebook.dashboard()
        panel.press("Clear")
        panel.move("workers", "4")
        seen = {}
        for codec in ("everything", "signs", "top"):
            panel.move("codec", codec)
            panel.move("feedback", True)
            panel.press("Run")
            panel.wait()
            seen[codec] = panel.answers()
        for name in ("a step takes", "each sends a step", "of all bytes"):
            assert len({answers[name] for answers in seen.values()}) == 3
        assert panel.runs()[-1] == "top 1 % + memory, 4 workers"
        panel.press("13 of 32 bits")
        panel.wait()
        assert panel.answer("a step takes") == "26 ms"
        panel.press("signs")
        panel.wait()
        panel.press("signs, remembered")
        panel.wait()
        panel.place.scroll_into_view_if_needed()
        notebook.screenshot("compression-1100", 1100, 1000)
        notebook.screenshot("compression-800", 800, 1500)
        panel.press("QSGD 2, remembered")
        panel.wait()
        notebook.screenshot("compression-lost-1100", 1100, 1000)
        panel.move("cluster", "processes")
        panel.move("workers", "2")
        panel.run_and_stop()
        assert panel.runs()[-1].endswith("(stopped)")


def test_decentralised(chromium, tmp_path: Path) -> None:
    with opened(chromium, LABS, "07_decentralised.ipynb", tmp_path) as notebook:
        notebook.run_all()
        figures = notebook.page.locator(".jp-RenderedPlotly .main-svg:first-child")
        figures.nth(8).wait_for()
        assert figures.count() == 9
        panel = notebook.dashboard()
        panel.press("Clear")
        seen = {}
        for topology in ("ring", "star", "torus"):
            panel.move("task", "agree on a mean")
            panel.move("topology", topology)
            panel.move("method", "exact")
            panel.press("Run")
            panel.wait()
            seen[topology] = panel.answers()
        for name in ("squared error", "a step leaves", "δ"):
            assert len({answers[name] for answers in seen.values()}) == 3
        panel.press("CHOCO")
        panel.wait()
        panel.place.scroll_into_view_if_needed()
        notebook.screenshot("decentralised-1100", 1100, 1100)
        notebook.screenshot("decentralised-800", 800, 1700)
        panel.press("one digit each")
        panel.wait()
        assert panel.answer("accuracy, own models") == "79.2%"
        notebook.screenshot("decentralised-digits-1100", 1100, 1100)
        panel.press("a social network")
        panel.place.get_by_text(
            "How far each worker is from the mean: the run under way"
        ).wait_for()
        panel.wait()
        notebook.screenshot("decentralised-social-1100", 1100, 1100)
        panel.move("method", "naive")
        panel.move("task", "learn digits")
        panel.press("Run")
        panel.wait()
        assert "take exact, which is D-SGD" in panel.alert()
        panel.move("task", "agree on a mean")
        panel.move("topology", "ring")
        panel.move("cluster", "processes")
        panel.move("workers", "4")
        panel.move("steps", "800")
        panel.run_and_stop()
        assert panel.runs()[-1].endswith("(stopped)")


def test_byzantine_workers(chromium, tmp_path: Path) -> None:
    with opened(chromium, LABS, "09_byzantine.ipynb", tmp_path) as notebook:
        notebook.run_all()
        live, panel = (notebook.dashboard(k) for k in range(2))
        live.press("Krum, four near")
        live.place.get_by_text("a lie", exact=True).wait_for()
        live.place.scroll_into_view_if_needed()
        notebook.screenshot("liars-near-1100", 1100, 900)
        notebook.screenshot("liars-near-800", 800, 1300)
        live.press("Krum, four far")
        live.place.get_by_text("an honest one", exact=True).wait_for()
        notebook.screenshot("liars-far-1100", 1100, 900)
        panel.press("Clear")
        panel.move("labels", "mixed")
        panel.move("attackers", "4")
        panel.move("f", "4")
        seen = {}
        for rule in ("mean", "median", "Krum"):
            panel.move("rule", rule)
            panel.press("Run")
            panel.wait()
            seen[rule] = panel.answers()
        for name in ("in the end", "accuracy"):
            assert len({answers[name] for answers in seen.values()}) == 3
        assert panel.runs()[-1] == "Krum, f = 4, 4 of 11: noise"
        panel.press("a little is enough")
        panel.wait()
        panel.place.scroll_into_view_if_needed()
        notebook.screenshot("byzantine-1100", 1100, 1100)
        notebook.screenshot("byzantine-800", 800, 1700)
        panel.move("rule", "Krum")
        panel.move("f", "5")
        panel.press("Run")
        panel.wait()
        assert "krum needs n >= 2f + 3 gradients, got n=11 with f=5" in panel.alert()
        panel.move("f", "0")
        panel.move("attackers", "1")
        panel.move("cluster", "processes")
        panel.move("workers", "4")
        panel.run_and_stop()
        assert panel.runs()[-1].endswith("(stopped)")


def test_adversarial_examples(chromium, tmp_path: Path) -> None:
    with opened(chromium, LABS, "10_adversarial_examples.ipynb", tmp_path) as notebook:
        notebook.run_all()
        push, live, panel = (notebook.dashboard(k) for k in range(3))

        def told(place, text: str) -> None:
            place.place.get_by_text(text, exact=True).wait_for()

        push.move("eps", "0")
        told(push, "2 → 2")
        push.move("eps", "0.2")
        told(push, "2 → 1")
        push.place.scroll_into_view_if_needed()
        notebook.screenshot("small-push-1100", 1100, 900)
        live.press("masked")
        told(live, "2 → 2")
        live.move("climbs", "margin")
        told(live, "2 → 1")
        live.press("robust")
        told(live, "43%")
        live.place.scroll_into_view_if_needed()
        notebook.screenshot("adversarial-1100", 1100, 900)
        notebook.screenshot("adversarial-800", 800, 1200)
        panel.press("Clear")
        seen = {}
        for attack in ("0 steps", "2 steps"):
            panel.move("attack", attack)
            panel.move("eps", "0.2")
            panel.move("workers", "2")
            panel.press("Run")
            panel.wait()
            seen[attack] = panel.answers()
        for name in ("time", "gradients a step", "computing"):
            assert len({answers[name] for answers in seen.values()}) == 2
        panel.place.scroll_into_view_if_needed()
        notebook.screenshot("robustness-1100", 1100, 1000)
        notebook.screenshot("robustness-800", 800, 1500)
        panel.move("cluster", "processes")
        panel.run_and_stop()
        assert panel.runs()[-1].endswith("(stopped)")
