"""What this machine is, as far as the labs are concerned: cores, memory, versions."""

from __future__ import annotations

import html
import math
import os
import platform
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

from ddml_kit.cluster.run import human_bytes

WORKER = 40e6  # bytes that a worker takes at most in the labs, benchmarks.memory
CGROUP = Path("/sys/fs/cgroup")


class Fact(NamedTuple):
    """Something of the machine, and what it means for the labs."""

    what: str
    value: str
    meaning: str


@dataclass(frozen=True)
class Facts:
    """A small table; as text in its repr."""

    rows: tuple[Fact, ...]

    def __repr__(self) -> str:
        widths = [max(len(row[k]) for row in self.rows) for k in (0, 1)]
        return "\n".join(
            f"{row.what:<{widths[0]}}  {row.value:<{widths[1]}}  {row.meaning}" for row in self.rows
        )

    def _repr_html_(self) -> str:
        left = 'style="text-align:left"'
        rows = "".join(
            f"<tr><th {left} scope=row>{html.escape(row.what)}</th>"
            f"<td {left}><b>{html.escape(row.value)}</b></td>"
            f"<td {left}>{html.escape(row.meaning)}</td></tr>"
            for row in self.rows
        )
        return f"<table>{rows}</table>"


def machine() -> Facts:
    """This machine, as a table: cores and memory that may be used, /dev/shm, versions."""
    quota, limit, used = cgroup_limits(CGROUP, Path("/proc/self/cgroup"))
    rows = [
        _cores(quota),
        _memory(limit, used),
        *_shared_memory(),
        Fact("processor", _processor(), f"{platform.system()}, {platform.machine()}"),
        Fact("Python", platform.python_version(), "the language of the programs"),
        Fact("NumPy", metadata.version("numpy"), "arrays: vectors, data"),
        Fact("torch", metadata.version("torch"), "neural networks, in later labs"),
    ]
    return Facts(tuple(rows))


def usable_cores() -> int:
    """How many cores this process may use, whatever the machine has; a part of one counts as 1."""
    quota, _, _ = cgroup_limits(CGROUP, Path("/proc/self/cgroup"))
    return max(1, math.ceil(min(_allowed_cores(), quota)))


def cgroup_limits(root: Path, membership: Path) -> tuple[float, float, float]:
    """Cores, bytes of memory, and bytes in use of the control groups that a process is in.

    Infinite where there is no limit, and 0 in use. Containers are limited so, such as Binder's.
    root: where control groups are mounted; version 2, or version 1 with its controllers below.
    membership: /proc/self/cgroup.
    """
    cores = memory = math.inf
    used = 0.0
    for folder in _groups(root, membership):
        quota = _text(folder / "cpu.max").split() or [
            _text(folder / "cpu.cfs_quota_us"),
            _text(folder / "cpu.cfs_period_us"),
        ]
        if len(quota) == 2 and _number(quota[0]) > 0 and _number(quota[1]) > 0:
            cores = min(cores, _number(quota[0]) / _number(quota[1]))
        for limit, current in (
            ("memory.max", "memory.current"),
            ("memory.limit_in_bytes", "memory.usage_in_bytes"),
        ):
            most = _number(_text(folder / limit))
            if 0 < most < min(memory, 2**60):  # version 1 says 2^63 where it means none
                memory, used = most, max(0.0, _number(_text(folder / current)))
    return cores, memory, used


def _groups(root: Path, membership: Path) -> Iterator[Path]:
    """The folders of a process's control groups, and of those around them."""
    yield from (root, root / "cpu", root / "memory")  # a container sees its own as the root
    for line in _text(membership).splitlines():
        _, controllers, path = line.split(":", 2)
        top = root / controllers if controllers else root
        folder = top / path.lstrip("/")
        while folder != top and top in folder.parents:
            yield folder
            folder = folder.parent


def _cores(quota: float) -> Fact:
    there, allowed = os.cpu_count() or 1, _allowed_cores()
    cores = usable_cores()
    value = f"{cores}" if cores == there else f"{cores} of {there}"
    if quota < allowed and quota != int(quota):
        value += f" ({quota:.2g} of its time)"
    if cores == 1:
        return Fact("cores", value, "workers take turns: more of them are not faster here")
    return Fact("cores", value, f"up to {cores} workers compute at once, more take turns")


def _memory(limit: float, used: float) -> Fact:
    there, free = _physical()
    if limit < there:
        there, free = limit, min(free, limit - used)
    if not there:
        return Fact("memory", "unknown", f"a worker takes some {human_bytes(WORKER)}")
    room = max(0, int(free / WORKER))
    many = "hundreds of workers" if room >= 200 else f"about {room} workers"
    return Fact("memory", f"{human_bytes(free)} free of {human_bytes(there)}", f"room for {many}")


def _physical() -> tuple[float, float]:
    """Bytes of memory, and those free; 0 where that can't be told."""
    there = free = 0.0
    if "SC_PHYS_PAGES" in getattr(os, "sysconf_names", {}):
        there = free = float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    for line in _text(Path("/proc/meminfo")).splitlines():
        if line.startswith("MemAvailable:"):
            free = float(line.split()[1]) * 1024
    return there, free


def _shared_memory() -> list[Fact]:
    place = "/dev/shm"
    if not os.path.isdir(place):
        return []
    size = human_bytes(shutil.disk_usage(place).total)
    return [Fact(place, size, "named shared memory: the kit does without it, so it may be small")]


def _allowed_cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _processor() -> str:
    for line in _text(Path("/proc/cpuinfo")).splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def _text(path: Path) -> str:
    """What a small file holds; nothing where it is not there or may not be read."""
    try:
        return path.read_text(encoding="utf8").strip()
    except (OSError, ValueError):
        return ""


def _number(text: str) -> float:
    """The number in a text; -1 for another text, such as max."""
    try:
        return float(text)
    except ValueError:
        return -1.0
