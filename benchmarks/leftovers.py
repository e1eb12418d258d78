"""What a process has beside itself: other processes, threads, named segments, descriptors.

Taken before and after something, the difference is what that has left behind.
"""

from __future__ import annotations

import os
import sys
import threading
import time


def inventory() -> set[str]:
    """The processes below this one, its threads, and the named segments, as texts.

    Without the fork server and Python's resource tracker, which stay until this process ends, and
    without a browser's segments.
    """
    things = {f"thread {thread.name!r} ({thread.ident})" for thread in threading.enumerate()}
    things |= {f"process {pid}: {_command(pid)}" for pid in descendants(os.getpid())}
    if os.path.isdir("/dev/shm"):
        segments = os.listdir("/dev/shm")
        things |= {f"/dev/shm/{name}" for name in segments if "chromium" not in name}
    return {thing for thing in things if "resource_tracker" not in thing}


def left_since(before: set[str], patience: float) -> set[str]:
    """What is there and was not before; what is on its way out gets `patience` seconds."""
    deadline = time.monotonic() + patience
    while (left := inventory() - before) and time.monotonic() < deadline:
        time.sleep(0.005)
    return left


def descendants(pid: int) -> list[int]:
    """The processes that this one started, and they, and so on; Linux only."""
    found = []
    for child in _children(pid):
        if child != _fork_server():
            found.append(child)
        found += descendants(child)
    return found


def _children(pid: int) -> list[int]:
    found = []
    try:
        for task in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{task}/children") as file:
                found += [int(child) for child in file.read().split()]
    except OSError:  # it has just ended; or this is no Linux
        pass
    return found


def _command(pid: int) -> str:
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return file.read().replace(b"\0", b" ").decode(errors="replace")[:120] or "ended"
    except OSError:
        return "ended"


def _fork_server() -> int | None:
    forked = sys.modules.get("ddml_kit.cluster.local.forked")
    server = forked and forked.ForkServer._one
    return server.process.pid if server else None
