"""What is said of this machine, and the limits of control groups, read from made-up ones."""

from __future__ import annotations

import math
import os
from pathlib import Path

import pytest

from ddml_kit.notebook import machine as machine_of
from ddml_kit.notebook.machine import Fact, Facts, cgroup_limits, usable_cores


def files(root: Path, texts: dict[str, str]) -> Path:
    for name, text in texts.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n", encoding="utf8")
    return root


def limits(root: Path) -> tuple[float, float, float]:
    return cgroup_limits(root, root / "membership")


def test_the_table_has_what_the_labs_need() -> None:
    facts = machine_of()
    named = [row.what for row in facts.rows]
    assert named[:2] == ["cores", "memory"]
    assert {"processor", "Python", "NumPy", "torch"} <= set(named)
    assert all(row.value and row.meaning for row in facts.rows)
    assert repr(facts).count("\n") == len(facts.rows) - 1


def test_cores_are_at_least_one_and_at_most_those_there_are() -> None:
    assert 1 <= usable_cores() <= (os.cpu_count() or 1)


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no affinity here")
def test_cores_that_this_process_may_not_use_do_not_count() -> None:
    allowed = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(allowed)})
        assert usable_cores() == 1
        cores = machine_of().rows[0]
        assert cores.meaning.startswith("workers take turns")
        if (os.cpu_count() or 1) > 1:
            assert cores.value == f"1 of {os.cpu_count()}"
    finally:
        os.sched_setaffinity(0, allowed)


def test_no_control_groups_no_limits(tmp_path: Path) -> None:
    assert limits(tmp_path) == (math.inf, math.inf, 0)


def test_a_container_sees_its_limits_at_the_root(tmp_path: Path) -> None:
    files(
        tmp_path,
        {"cpu.max": "150000 100000", "memory.max": "2147483648", "memory.current": "1000"},
    )
    assert limits(tmp_path) == (1.5, 2**31, 1000)


def test_no_limit_is_called_max(tmp_path: Path) -> None:
    files(tmp_path, {"cpu.max": "max 100000", "memory.max": "max", "memory.current": "5"})
    assert limits(tmp_path) == (math.inf, math.inf, 0)


@pytest.mark.parametrize(("tight", "loose"), [("users", "users/ada"), ("users/ada", "users")])
def test_the_tightest_of_the_groups_around_counts(tmp_path: Path, tight: str, loose: str) -> None:
    files(
        tmp_path,
        {
            "membership": "0::/users/ada",
            f"{tight}/cpu.max": "100000 100000",
            f"{tight}/memory.max": "4000000",
            f"{tight}/memory.current": "70",
            f"{loose}/cpu.max": "200000 100000",
            f"{loose}/memory.max": "9000000",
            f"{loose}/memory.current": "7",
        },
    )
    assert limits(tmp_path) == (1, 4_000_000, 70)


def test_version_1_has_a_folder_a_controller_and_a_number_that_means_none(tmp_path: Path) -> None:
    files(
        tmp_path,
        {
            "membership": "4:memory:/docker/x\n3:cpu,cpuacct:/docker/x",
            "cpu,cpuacct/docker/x/cpu.cfs_quota_us": "50000",
            "cpu,cpuacct/docker/x/cpu.cfs_period_us": "100000",
            "memory/docker/x/memory.limit_in_bytes": "1000000000",
            "memory/docker/x/memory.usage_in_bytes": "400000000",
            "memory/memory.limit_in_bytes": "9223372036854771712",
            "cpu/cpu.cfs_quota_us": "-1",
            "cpu/cpu.cfs_period_us": "100000",
        },
    )
    assert limits(tmp_path) == (0.5, 1e9, 4e8)


def test_version_1_without_a_limit(tmp_path: Path) -> None:
    files(tmp_path, {"memory/memory.limit_in_bytes": "9223372036854771712"})
    assert limits(tmp_path) == (math.inf, math.inf, 0)


@pytest.mark.parametrize("text", ["", "nonsense", "1 2 3", "0 100000"])
def test_what_is_no_limit_is_passed_over(tmp_path: Path, text: str) -> None:
    files(tmp_path, {"cpu.max": text, "memory.max": text})
    assert limits(tmp_path)[0] == math.inf


def test_html_is_escaped() -> None:
    assert "<b>2 &lt; 3</b>" in Facts((Fact("x", "2 < 3", "y"),))._repr_html_()
