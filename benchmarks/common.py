"""What every benchmark shares: the machine in words, alternating measurement, table, JSON line."""

from __future__ import annotations

import json
import os
import platform
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib import metadata


def machine() -> str:
    """This machine in words: processor, cores that may be used, memory, system, Python."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    parts = [_processor(), f"{cores} cores"]
    if "SC_PHYS_PAGES" in getattr(os, "sysconf_names", {}):
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        parts.append(f"{memory / 2**30:.0f} GiB")
    parts += [f"{platform.system()} {platform.release()}", f"Python {platform.python_version()}"]
    return ", ".join(parts)


def versions(*packages: str) -> dict[str, str]:
    """The installed version of each package, "missing" where it is not installed."""
    found = {}
    for package in packages:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = "missing"
    return found


def alternate(
    contenders: Mapping[str, Callable[[], float]], rounds: int = 5
) -> dict[str, list[float]]:
    """What each contender returned (seconds, say), a list of `rounds` for each name.

    They take turns, and the order turns round every time, so that a machine that others use as
    well slows all of them alike.
    """
    taken: dict[str, list[float]] = {name: [] for name in contenders}
    names = list(contenders)
    for turn in range(rounds):
        for name in names if turn % 2 == 0 else reversed(names):
            taken[name].append(contenders[name]())
    return taken


def medians(taken: Mapping[str, Iterable[float]]) -> dict[str, float]:
    """The median of each list."""
    return {name: statistics.median(values) for name, values in taken.items()}


def duration(seconds: float | None) -> str:
    """Seconds with a unit that fits: 11.3 µs, 2.9 ms, 1.4 s; a dash for None."""
    if seconds is None:
        return "–"
    for unit, scale in (("µs", 1e-6), ("ms", 1e-3)):
        if seconds < 999.5 * scale:
            return f"{seconds / scale:.3g} {unit}"
    return f"{seconds:.3g} s"


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A Markdown table of these columns and rows."""
    cells = [[str(cell) for cell in row] for row in (head, *rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = ["| " + " | ".join(map(str.ljust, row, widths)) + " |" for row in cells]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines)


def report(
    benchmark: str,
    ratios: Mapping[str, float],
    *,
    head: Sequence[str] = (),
    rows: Sequence[Sequence[object]] = (),
    packages: Sequence[str] = ("numpy", "torch"),
    notes: Sequence[str] = (),
) -> None:
    """Print the table, the notes, and last one line of JSON for machines.

    ratios: how many times as fast as the peer we are, by the name of peer and size.
    packages: whose versions matter. notes: what both sides ran, and which peer is missing.
    """
    if rows:
        print(table(head, rows))
    for note in notes:
        print(note)
    line = {
        "benchmark": benchmark,
        "machine": machine(),
        "versions": versions("ddml_kit", *packages),
        "ratios": {name: float(f"{ratio:.3g}") for name, ratio in ratios.items()},
    }
    print(json.dumps(line, ensure_ascii=False), flush=True)


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf8") as file:
            for line in file:
                if line.startswith("model name"):
                    return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
