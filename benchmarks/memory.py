"""What JupyterLab, a kernel and 8 workers take in memory: does a learner fit into Binder's 2 GB?

A JupyterLab is started as Binder does, and two kernels in it: that of the index, which has run its
cell, and that of a lab, which imports what labs import and then trains with 8 workers twice: the
compiled Hogwild! on text, and a torch module on images. Meanwhile the memory of all processes is
read again and again; the reading with the largest sum counts.

PSS: a page is divided by the number of processes that have it, so that a sum counts it once. A
process elsewhere that has loaded the same files takes its share as well, so such are counted and
told of; without them the sum is what a machine needs that is the learner's alone. Linux only.
"""

from __future__ import annotations

import json
import os
import queue
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import psutil
from jupyter_client.blocking import BlockingKernelClient

from benchmarks.common import report

MB = 1e6
BINDER = 2e9  # bytes that a session may take there; half of them are guaranteed
PAUSE = 0.1  # seconds between readings
PATIENCE = 120.0  # seconds until something counts as stuck

INDEX = """
from ddml_kit.cluster import Processes, Simulated
def add_up(comm):
    return comm.all_reduce(comm.rank)
Simulated(4).run(add_up)
Processes(4).run(add_up)
"""
IMPORTS = """
import ddml_kit.notebook
from ddml_kit.cluster.processes import Processes
from ddml_kit.problems import Logistic, TorchModule, digits, library_text
from ddml_kit.training.hogwild import hogwild
from ddml_kit.training.hogwild_compiled import hogwild_compiled
cluster = Processes(8)
text, images = library_text(), digits()
"""
COMPILED = """
problem = Logistic(text.x, text.y % 2)
run = cluster.run(hogwild_compiled, problem, passes=300, lr=0.3)
"""
TORCH = """
import torch
from torch.nn import Flatten, Linear, ReLU, Sequential
module = Sequential(Flatten(), Linear(64, 128), ReLU(), Linear(128, 10))
problem = TorchModule(module, torch.nn.functional.cross_entropy, images)
run = cluster.run(hogwild, problem, steps=300, lr=0.05)
"""


class Reading(NamedTuple):
    """Bytes: of the server, its kernels, their servers of workers, each worker, and others.

    files: how much of all that are files, libraries mostly, which other learners of the same
    machine share.
    """

    server: int
    kernels: int
    fork_servers: int
    workers: list[int]
    others: int
    files: int

    @property
    def total(self) -> int:
        return self.server + self.kernels + self.fork_servers + sum(self.workers) + self.others


@contextmanager
def jupyterlab(directory: Path) -> Iterator[tuple[psutil.Process, Callable[..., Any]]]:
    """A JupyterLab of its own, and what asks it: ask(path, body) -> the answer, from JSON.

    All that it writes lies in `directory`. At the end it and all that it started are gone.
    """
    places = {f"JUPYTER_{name}_DIR": str(directory / name) for name in ("CONFIG", "DATA")}
    places |= {"JUPYTER_RUNTIME_DIR": str(directory), "IPYTHONDIR": str(directory / "ipython")}
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "jupyter", "lab", "--no-browser", "--allow-root"]
    command += ["--ip=127.0.0.1", f"--port={port}", f"--ServerApp.root_dir={directory}"]
    with open(directory / "log", "w", encoding="utf8") as log:
        process = psutil.Popen(
            command, env=os.environ | places, stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )
    try:
        address = directory / f"jpserver-{process.pid}.json"
        _wait(lambda: address.exists() or process.poll() is not None, "JupyterLab")
        if not address.exists():
            raise RuntimeError(f"JupyterLab did not start:\n{(directory / 'log').read_text()}")
        told = json.loads(address.read_text(encoding="utf8"))

        def ask(path: str, body: dict | None = None) -> Any:
            data = None if body is None else json.dumps(body).encode()
            token = {"Authorization": f"token {told['token']}"}
            request = urllib.request.Request(told["url"] + path, data, token)
            with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
                return json.loads(answer.read())

        yield process, ask
    finally:
        started = process.children(recursive=True) if process.poll() is None else []
        process.terminate()  # it ends its kernels first
        _, stuck = psutil.wait_procs([process, *started], timeout=20)
        for left in stuck:
            left.kill()


@contextmanager
def kernel(ask: Callable[..., Any], directory: Path) -> Iterator[BlockingKernelClient]:
    """A kernel that the server started; what it is asked waits until it is ready."""
    name = ask("api/kernels", {"name": "python3"})["id"]
    client = BlockingKernelClient(connection_file=str(directory / f"kernel-{name}.json"))
    client.load_connection_file()
    client.start_channels(iopub=False, stdin=False, hb=False)
    try:
        yield client
    finally:
        client.stop_channels()


def run_cell(client: BlockingKernelClient, code: str, server: psutil.Process) -> Reading:
    """Run a cell; the largest of the readings that were taken meanwhile."""
    client.execute(code)
    largest, deadline = read(server), time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        try:
            said = client.get_shell_msg(timeout=PAUSE)["content"]
        except queue.Empty:
            largest = max(largest, read(server), key=lambda reading: reading.total)
            continue
        if said["status"] != "ok":
            raise RuntimeError("\n".join(said["traceback"]))
        return largest
    raise TimeoutError(f"a cell was not done after {PATIENCE:.0f} s:\n{code}")


def read(server: psutil.Process) -> Reading:
    """What the server and all that it started have now."""
    own, files = pss(server.pid)
    parts: dict[str, list[int]] = {"kernels": [], "servers": [], "workers": [], "others": []}
    fork_servers = set()
    for process in server.children(recursive=True):  # parents before their children
        try:
            command, size = " ".join(process.cmdline()), pss(process.pid)
            if process.ppid() in fork_servers:
                part = "workers"
            elif "forkserver" in command:
                part = "servers"
                fork_servers.add(process.pid)
            else:
                part = "kernels" if "ipykernel" in command else "others"
        except (psutil.Error, OSError):  # it has just ended
            continue
        parts[part].append(size[0])
        files += size[1]
    return Reading(
        server=own,
        kernels=sum(parts["kernels"]),
        fork_servers=sum(parts["servers"]),
        workers=parts["workers"],
        others=sum(parts["others"]),
        files=files,
    )


def pss(pid: int) -> tuple[int, int]:
    """The proportional set size of a process, and how much of it are files, in bytes."""
    text = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii")
    sizes = dict(line.split(":") for line in text.splitlines()[1:])
    whole, files = (1024 * int(sizes[name].split()[0]) for name in ("Pss", "Pss_File"))
    return whole, files


def outsiders(server: psutil.Process) -> int:
    """How many processes elsewhere have loaded files of this environment."""
    ours = {process.pid for process in (psutil.Process(), server, *server.children(recursive=True))}
    count = 0
    for process in psutil.process_iter():
        try:
            count += process.pid not in ours and sys.prefix in Path(
                f"/proc/{process.pid}/maps"
            ).read_text(encoding="utf8", errors="replace")
        except OSError:
            continue
    return count


def main() -> None:
    if sys.platform != "linux":
        raise SystemExit(f"benchmarks.memory reads Linux's /proc, this is {sys.platform}")
    with (
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as place,
        jupyterlab(Path(place)) as (server, ask),
    ):
        ask("lab/api/settings")  # what a page asks for when it opens
        with kernel(ask, Path(place)) as index, kernel(ask, Path(place)) as client:
            run_cell(index, INDEX, server)
            run_cell(client, IMPORTS, server)
            columns = [run_cell(client, code, server) for code in (COMPILED, TORCH)]
            _wait(lambda: not read(server).workers, "the end of the workers")
            columns.insert(0, read(server))
        others = outsiders(server)
    largest = max(columns, key=lambda reading: reading.total)
    notes = [
        f"All together at most {largest.total / MB:.0f} MB. Binder grants 2,000 MB, 1,000 for sure."
    ]
    if others:
        notes.append(
            f"{others} processes elsewhere share files of this environment, so this is too low: "
            "measure where nothing else of it runs."
        )
    report(
        "memory",
        {"binder_2GB": BINDER / largest.total},
        head=["MB (PSS)", "no run", "8 workers, compiled Hogwild!", "8 workers, a torch module"],
        rows=[
            ["JupyterLab", *(mb(c.server) for c in columns)],
            ["2 kernels: index, lab", *(mb(c.kernels) for c in columns)],
            ["their 2 fork servers", *(mb(c.fork_servers) for c in columns)],
            ["workers, together", *(mb(sum(c.workers)) for c in columns)],
            ["workers, the largest", *(mb(max(c.workers, default=0)) for c in columns)],
            ["others", *(mb(c.others) for c in columns)],
            ["all", *(mb(c.total) for c in columns)],
            ["of it files", *(mb(c.files) for c in columns)],
        ],
        packages=("jupyterlab", "numba", "numpy", "plotly", "torch"),
        notes=notes,
    )


def mb(size: int) -> str:
    """Bytes as MB; a dash for none."""
    return f"{size / MB:.0f}" if size else "–"


def _wait(until: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not until():
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {PATIENCE:.0f} s for {what}")
        time.sleep(PAUSE)


if __name__ == "__main__":
    main()
