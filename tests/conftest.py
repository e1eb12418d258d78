"""What all tests share: hygiene (no process, thread or shared segment is left behind), and
hypothesis, which draws the same examples each time and takes its time.
"""

import os
import sys
import threading
import time
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile(
    "kit", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("kit")

PATIENCE = 5.0  # seconds that what is on its way out may take


@pytest.fixture(autouse=True)
def nothing_left_behind() -> Iterator[None]:
    """Fails a test after which something of it is still there, and names it."""
    before = inventory()
    yield
    deadline = time.monotonic() + PATIENCE
    while (left := inventory() - before) and time.monotonic() < deadline:
        time.sleep(0.005)
    assert not left, f"left behind: {', '.join(sorted(left))}"


def inventory() -> set[str]:
    """The processes below this one, its threads, and the named segments, as texts.

    Without the fork server and Python's resource tracker, which stay until this process ends, and
    without a browser's segments.
    """
    things = {f"thread {thread.name!r} ({thread.ident})" for thread in threading.enumerate()}
    things |= {f"process {pid}: {command(pid)}" for pid in descendants(os.getpid())}
    if os.path.isdir("/dev/shm"):
        segments = os.listdir("/dev/shm")
        things |= {f"/dev/shm/{name}" for name in segments if "chromium" not in name}
    return {thing for thing in things if "resource_tracker" not in thing}


def descendants(pid: int) -> list[int]:
    """The processes that this one started, and they, and so on; Linux only."""
    found = []
    for child in children(pid):
        if child != fork_server():
            found.append(child)
        found += descendants(child)
    return found


def children(pid: int) -> list[int]:
    found = []
    try:
        for task in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{task}/children") as file:
                found += [int(child) for child in file.read().split()]
    except OSError:  # it has just ended; or this is no Linux
        pass
    return found


def command(pid: int) -> str:
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return file.read().replace(b"\0", b" ").decode(errors="replace")[:120] or "ended"
    except OSError:
        return "ended"


def fork_server() -> int | None:
    forked = sys.modules.get("ddml_kit.cluster.local.forked")
    server = forked and forked.ForkServer._one
    return server.process.pid if server else None
