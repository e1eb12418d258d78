"""Every exercise in the page: empty, wrong, right, and a hint."""

from __future__ import annotations

from pathlib import Path

import pytest
from browser import Notebook, opened

pytestmark = pytest.mark.browser

LABS = Path(__file__).parent.parent.parent / "labs"

# By lab and exercise: a wrong answer, words of what the check says of it, and a right one.
ANSWERS = {
    "00_start.ipynb": {
        "latency_and_bandwidth(my_fit)": (
            "def my_fit(sizes, seconds):\n    return seconds[0], sizes[1] / seconds[1]",
            "not the expected answer",
            "def my_fit(sizes, seconds):\n"
            "    slope = (seconds[1] - seconds[0]) / (sizes[1] - sizes[0])\n"
            "    return seconds[0] - sizes[0] * slope, 1 / slope",
        ),
        "total(my_total)": (
            "def my_total(comm, x):\n    return comm.all_reduce(x)",
            "use send and recv alone",
            "def my_total(comm, x):\n"
            "    if comm.rank == 0:\n"
            "        for _ in range(comm.size - 1):\n"
            "            x += comm.recv().value\n"
            "        for other in range(1, comm.size):\n"
            "            comm.send(x, other)\n"
            "        return x\n"
            "    comm.send(x, 0)\n"
            "    return comm.recv(0).value",
        ),
    },
    "02_hogwild.ipynb": {
        "sparse_update(my_update)": (
            "def my_update(w, gradient, lr):\n    w -= lr * gradient.dense(len(w))",
            "coordinates written",
            "def my_update(w, gradient, lr):\n    w[gradient.indices] -= lr * gradient.values",
        ),
        "staleness(my_staleness)": (
            "def my_staleness(before, after, rank):\n    return sum(after) - sum(before)",
            "not the expected answer",
            "def my_staleness(before, after, rank):\n"
            "    return sum(after) - sum(before) - (after[rank] - before[rank])",
        ),
    },
    "03_parameter_server.ipynb": {
        "ssp_condition(my_condition)": (
            "def my_condition(clock, clocks, staleness):\n"
            "    return clock - min(clocks) < staleness",
            "not the expected answer",
            "def my_condition(clock, clocks, staleness):\n"
            "    return all(clock <= other + staleness for other in clocks)",
        ),
        "push_with_momentum(my_push)": (
            "def my_push(w, velocity, gradient, lr, momentum):\n"
            "    velocity = momentum * velocity + gradient\n"
            "    w -= lr * velocity",
            "not the expected answer",
            "def my_push(w, velocity, gradient, lr, momentum):\n"
            "    velocity *= momentum\n"
            "    velocity += gradient\n"
            "    w -= lr * velocity",
        ),
        "backup_workers(my_backup)": (
            "def my_backup(times, overhead):\n    return 1",
            "not the expected answer",
            "import numpy as np\n\n\n"
            "def my_backup(times, overhead):\n"
            "    rounds, n = times.shape\n"
            "    ends = [np.sort(times)[:, n - b - 1].mean() for b in range(n)]\n"
            "    return min(range(n), key=lambda b: (overhead + ends[b]) / (n - b))",
        ),
    },
}


@pytest.mark.parametrize("lab", ANSWERS)
def test_exercises_are_answered_in_the_page(chromium, tmp_path: Path, lab: str) -> None:
    with opened(chromium, LABS, lab, tmp_path) as notebook:
        notebook.run_all()
        for call, (wrong, told, right) in ANSWERS[lab].items():
            cell = notebook.page.locator(".jp-Notebook .jp-Cell").filter(has_text=f"check.{call}")
            cell.get_by_text("not attempted yet").wait_for()
            rewrite(notebook, cell, f"{wrong}\n\n\ncheck.{call}")
            cell.get_by_text(told).first.wait_for()
            cell.scroll_into_view_if_needed()
            name = call.partition("(")[0]
            notebook.screenshot(f"exercise-{name}-wrong", 1100, 900)
            rewrite(notebook, cell, f"{right}\n\n\ncheck.{call}")
            cell.get_by_text("right on").wait_for()
            rewrite(notebook, cell, f"{right}\n\n\ncheck.{call}\ncheck.{name}.hint()")
            cell.get_by_text("Hint 1 of").wait_for()


def rewrite(notebook: Notebook, cell, code: str) -> None:
    """Put other code into a cell, as by hand, and run it."""
    cell.locator(".cm-content").click()
    notebook.page.keyboard.press("Control+A")
    notebook.page.keyboard.insert_text(code)
    notebook.page.keyboard.press("Control+Enter")
