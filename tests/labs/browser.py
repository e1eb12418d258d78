"""A notebook in a real browser: JupyterLab on a copy of some files, Chromium, a dashboard's knobs.

Used by tests and by whoever wants to look: screenshots go to screenshots/, which git ignores.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import nbformat
import psutil
from playwright.sync_api import Browser, Locator, Page, expect, sync_playwright

SCREENSHOTS = Path(__file__).parent.parent.parent / "screenshots"
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
SETTINGS = {  # no question about news over the page; every cell in the page, not only those in view
    "apputils-extension/notification": '{"fetchNews": "false", "checkForUpdates": false}',
    "notebook-extension/tracker": '{"windowingMode": "none"}',
}
PATIENCE = 60_000  # milliseconds until something that should have happened counts as missing


def chromium() -> str | None:
    """The path of a Chromium that is installed, or None."""
    found = (shutil.which(name) for name in ("chromium", "chromium-browser", "google-chrome"))
    return next((path for path in found if path), None)


@contextmanager
def jupyterlab(files: Path, scratch: Path) -> Iterator[str]:
    """JupyterLab's address, serving a copy of `files`; all that it writes goes to `scratch`."""
    shutil.copytree(files, scratch / "files")
    for name, text in SETTINGS.items():
        file = scratch / "settings" / "@jupyterlab" / f"{name}.jupyterlab-settings"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf8")
    folders = {
        "JUPYTER_CONFIG_DIR": "config",
        "JUPYTER_DATA_DIR": "data",
        "JUPYTER_RUNTIME_DIR": "runtime",
        "JUPYTERLAB_SETTINGS_DIR": "settings",
        "JUPYTERLAB_WORKSPACES_DIR": "workspaces",
        "IPYTHONDIR": "ipython",
    }
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    token = secrets.token_hex(8)
    server = subprocess.Popen(
        [
            *(sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root"),
            *("--ip=127.0.0.1", f"--port={port}", "--ServerApp.port_retries=0"),
            f"--IdentityProvider.token={token}",
            f"--ServerApp.root_dir={scratch / 'files'}",
            "--LabApp.expose_app_in_browser=True",
        ],
        env={**os.environ, **{name: str(scratch / folder) for name, folder in folders.items()}},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    said = _Listener(server)
    try:
        said.wait_for("is running at")
        yield f"http://127.0.0.1:{port}/lab/tree/{{}}?token={token}"
    finally:
        below = psutil.Process(server.pid).children(recursive=True)
        server.terminate()  # it ends its kernels first
        server.wait()
        said.join()
    _, left = psutil.wait_procs(below, timeout=PATIENCE / 1000)
    assert not left, f"kernels left these behind: {left}"


class _Listener(threading.Thread):
    """Reads what a server says, which a full pipe would stop, and waits for a word of it."""

    def __init__(self, server: subprocess.Popen) -> None:
        super().__init__()
        self._server, self._lines, self._news = server, [], threading.Condition()
        self._ended = False
        self.start()

    def run(self) -> None:
        with self._server.stderr as said:
            for line in said:
                with self._news:
                    self._lines.append(line.decode(errors="replace"))
                    self._news.notify()
        with self._news:
            self._ended = True
            self._news.notify()

    def wait_for(self, word: str) -> None:
        with self._news:
            self._news.wait_for(lambda: self._ended or any(word in line for line in self._lines))
            assert not self._ended, "JupyterLab did not start:\n" + "".join(self._lines)


@contextmanager
def browser(executable: str) -> Iterator[Browser]:
    """A Chromium without a window."""
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=executable, args=list(FLAGS))
        yield chromium
        chromium.close()


@contextmanager
def opened(chromium: Browser, files: Path, name: str, scratch: Path) -> Iterator[Notebook]:
    """The notebook `name` of a copy of `files`, open in a page of its own, with a new kernel.

    Fails if the page met an error meanwhile.
    """
    with jupyterlab(files, scratch) as address:
        page = chromium.new_page(viewport={"width": 1100, "height": 900})
        notebook = Notebook(page, address.format(name))
        notebook.hide_files()
        yield notebook
        page.close()
    assert notebook.problems == []


def write_notebook(path: Path, cells: Sequence[str]) -> None:
    """A notebook of code cells; those that begin with # and a space are text."""
    book = nbformat.v4.new_notebook()
    book.metadata["kernelspec"] = {"display_name": "Python 3", "name": "python3"}
    for cell in cells:
        text, code = nbformat.v4.new_markdown_cell, nbformat.v4.new_code_cell
        book.cells.append((text if cell.startswith("# ") else code)(cell.strip()))
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(book, path)


class Notebook:
    """A notebook that is open in a page."""

    def __init__(self, page: Page, address: str) -> None:
        self.page = page
        self.problems: list[str] = []
        page.set_default_timeout(PATIENCE)
        page.on("pageerror", lambda error: self.problems.append(str(error.stack)))
        page.goto(address)
        page.locator(".jp-Notebook .jp-Cell").first.wait_for()
        # Running cells before there is a kernel would ask which one is wanted.
        page.wait_for_function("window.jupyterapp?.shell.currentWidget?.sessionContext?.isReady")

    def hide_files(self) -> None:
        """Close the list of files on the left, which leaves more room for the notebook."""
        self._command("application:toggle-left-area")

    def run_all(self) -> None:
        """Run all cells and wait until they have ended; raises if one of them failed."""
        self._command("notebook:run-all-cells")
        failed = self.page.locator('[data-mime-type="application/vnd.jupyter.error"]')
        assert failed.count() == 0, failed.first.inner_text()

    def run_cell(self, index: int) -> None:
        """Run one cell and wait until it has ended."""
        self.page.locator(".jp-Notebook .jp-Cell").nth(index).click(position={"x": 5, "y": 5})
        self._command("notebook:run-cell")

    def dashboard(self, index: int = 0) -> Dashboard:
        """The index-th dashboard of the notebook, once its figures have been drawn."""
        return Dashboard(self.page.locator(".ddml-dashboard").nth(index))

    def screenshot(self, name: str, width: int, height: int) -> Path:
        """A picture of the page in a window of this size, in pixels."""
        self.page.set_viewport_size({"width": width, "height": height})
        SCREENSHOTS.mkdir(exist_ok=True)
        path = SCREENSHOTS / f"{name}.png"
        self.page.screenshot(path=path)
        return path

    def _command(self, name: str) -> None:
        self.page.evaluate(
            "name => { window.ended = false;"
            " jupyterapp.commands.execute(name).then(() => { window.ended = true; }); }",
            name,
        )
        self.page.wait_for_function("window.ended", timeout=5 * PATIENCE)


class Dashboard:
    """A dashboard in a page, used as a learner does: with keys and buttons."""

    def __init__(self, place: Locator) -> None:
        self.place = place
        place.locator(".plot .main-svg").first.wait_for()

    def move(self, knob: str, to: str | bool) -> None:
        """Set a knob: a slider with the arrow keys, until it shows `to`; others by choosing."""
        row = self.place.locator(f'[data-knob="{knob}"]')
        slider, select = row.locator("input[type=range]"), row.locator("select")
        if isinstance(to, bool):
            row.locator("input[type=checkbox]").set_checked(to)
        elif select.count():
            select.select_option(label=to)
        elif slider.count():
            slider.press("Home")
            for _ in range(int(slider.get_attribute("max") or 0)):
                if row.locator("output").inner_text() == to:
                    break
                slider.press("ArrowRight")
            expect(row.locator("output")).to_have_text(to)
        else:
            row.get_by_text(to, exact=True).click()

    def press(self, button: str) -> None:
        """Press a button by what is written on it, but for its sign."""
        name = re.compile(rf"(^|\s){re.escape(button)}$")
        self.place.get_by_role("button", name=name).click()

    def run_and_stop(self) -> None:
        """Press Run, and Stop the moment that it can be pressed, which no slow machine misses."""
        self.press("Run")
        stop = self.place.get_by_role("button", name="■ Stop")
        stop.evaluate(
            "stop => new Promise(resolve => { const look = () => stop.disabled"
            " ? requestAnimationFrame(look) : (stop.click(), resolve()); look(); })"
        )
        self.wait()

    def wait(self) -> None:
        """Wait until no run is under way."""
        expect(self.place.locator("button.main")).to_be_enabled(timeout=2 * PATIENCE)

    def busy(self) -> None:
        """Wait until a run is under way and has shown a first point."""
        expect(self.place.locator(".status")).to_contain_text("step", timeout=PATIENCE)

    def answers(self) -> dict[str, str]:
        """The large figures, by name."""
        names = self.place.locator("dt").all_inner_texts()
        return dict(zip(names, self.place.locator("dd").all_inner_texts(), strict=True))

    def answer(self, name: str) -> str:
        return self.answers()[name]

    def runs(self) -> list[str]:
        """The labels of the runs kept."""
        return self.place.locator("li .name").all_inner_texts()

    def alert(self) -> str:
        """The sentence that is shown when something went wrong."""
        return self.place.locator(".alert p").inner_text()
