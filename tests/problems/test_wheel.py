"""A plain wheel carries the data."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from importlib.metadata import version
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BUILD = "import setuptools.build_meta as b, sys; b.build_wheel(sys.argv[1])"


@pytest.mark.skipif(
    int(version("setuptools").split(".")[0]) < 77, reason="the build needs setuptools 77"
)
def test_a_wheel_has_the_data_the_licences_and_the_scripts(tmp_path: Path) -> None:
    source, out = tmp_path / "source", tmp_path / "out"
    source.mkdir()
    out.mkdir()
    for name in ("pyproject.toml", "LICENSE"):
        shutil.copy(ROOT / name, source)
    (source / "README.md").write_text("")
    shutil.copytree(
        ROOT / "ddml_kit", source / "ddml_kit", ignore=shutil.ignore_patterns("__pycache__")
    )
    command = [sys.executable, "-c", BUILD, str(out)]
    subprocess.run(command, cwd=source, check=True, capture_output=True, timeout=100)
    (wheel,) = out.glob("*.whl")
    kept = {f.relative_to(ROOT).as_posix() for f in (ROOT / "ddml_kit/datasets").iterdir()}
    kept.discard("ddml_kit/datasets/__pycache__")
    assert len(kept) == 10
    assert kept < set(zipfile.ZipFile(wheel).namelist())
    unpacked = tmp_path / "unpacked"
    zipfile.ZipFile(wheel).extractall(unpacked)
    program = (
        "import ddml_kit.problems as p; print(len(p.digits()), len(p.library_text()), p.__file__)"
    )
    command = [sys.executable, "-P", "-c", program]
    env = {"PYTHONPATH": str(unpacked)}
    answer = subprocess.run(command, env=env, check=True, capture_output=True, timeout=100)
    assert answer.stdout.decode().startswith(f"1797 10040 {unpacked}")
