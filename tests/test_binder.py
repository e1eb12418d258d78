"""What mybinder.org builds from, as far as that can be checked without building it."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
import yaml
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
BINDER = ROOT / "binder"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf8"))
CONDA_NAMES = {"torch": "pytorch-cpu"}  # where conda-forge calls it otherwise
NOT_PACKAGES_OF_OURS = {"python", "pip"}


def bounds(lines: list[str]) -> dict[str, str]:
    """The version specifier of each requirement, by its name in conda-forge."""
    requirements = [Requirement(line.replace("python=3", "python==3")) for line in lines]
    return {CONDA_NAMES.get(r.name, r.name): str(r.specifier) for r in requirements}


@pytest.fixture
def environment() -> dict[str, str]:
    text = (BINDER / "environment.yml").read_text(encoding="utf8")
    declared = yaml.safe_load(text)
    assert declared["channels"] == ["conda-forge"]
    return bounds(declared["dependencies"])


@pytest.fixture
def prepare() -> ModuleType:
    spec = importlib.util.spec_from_file_location("prepare", BINDER / "prepare.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_environment_has_our_dependencies_with_our_bounds(environment: dict[str, str]) -> None:
    project = PROJECT["project"]
    ours = bounds(
        project["dependencies"]
        + project["optional-dependencies"]["labs"]
        + PROJECT["build-system"]["requires"]
    )
    listed = {n: bound for n, bound in environment.items() if n not in NOT_PACKAGES_OF_OURS}
    assert listed == ours
    assert "pip" in environment


def test_the_environment_has_a_python_that_we_allow(environment: dict[str, str]) -> None:
    version = environment["python"].removeprefix("==")
    assert re.fullmatch(r"3\.\d+", version), "repo2docker reads major and minor from python=3.N"
    allowed = Requirement(f"python{PROJECT['project']['requires-python']}").specifier
    assert allowed.contains(version)


def test_post_build_is_an_executable_script() -> None:
    script = BINDER / "postBuild"
    assert os.access(script, os.X_OK)
    subprocess.run(["bash", "-n", script], check=True, timeout=60)
    lines = script.read_text(encoding="utf8").splitlines()
    assert lines[0] == "#!/bin/bash"
    assert "set -euo pipefail" in lines, "a step that fails must end the build"
    for file in re.findall(r"binder/\S+", "\n".join(lines)):
        assert (ROOT / file).exists()
    (install,) = [line for line in lines if "pip install" in line]
    assert "--no-deps" in install


def test_preparing_an_image_turns_the_news_off_and_compiles(tmp_path: Path) -> None:
    elsewhere = {"JUPYTERLAB_DIR": str(tmp_path), "NUMBA_CACHE_DIR": str(tmp_path / "numba")}
    command = [sys.executable, str(BINDER / "prepare.py")]
    subprocess.run(command, cwd=tmp_path, env=os.environ | elsewhere, check=True, timeout=300)
    settings = json.loads((tmp_path / "settings" / "overrides.json").read_text(encoding="utf8"))
    assert settings["@jupyterlab/apputils-extension:notification"]["fetchNews"] == "false"
    compiled = {file.name.split("-")[0] for file in tmp_path.rglob("*.nbi")}
    assert {"logistic.sgd", "logistic.sgd_written_back"} <= compiled
    assert {"columns", "packing", "rounding"} <= {name.partition(".")[0] for name in compiled}


def test_what_is_installed_is_whole() -> None:
    """Binder and Docker install a copy; whatever is no Python must be named as package data."""
    package = ROOT / "ddml_kit"
    patterns = PROJECT["tool"]["setuptools"]["package-data"]["ddml_kit"]
    shipped = {file for pattern in patterns for file in package.glob(pattern)}
    for file in package.rglob("*"):
        if file.is_file() and file.suffix != ".py" and "__pycache__" not in file.parts:
            assert file in shipped, f"{file.name} is left out of the installed kit"


@pytest.mark.parametrize(
    ("installed", "sentence"),
    [
        (lambda name: "2.0" if name == "torch" else "99", "kit needs torch>=2.6, got 2.0"),
        (lambda name: "2.6.0+cpu" if name == "torch" else "99", None),
        (lambda name: None if name == "plotly" else "99", "kit needs plotly>=6, which is not"),
        (lambda name: None if name == "mpi4py" else "99", None),
    ],
)
def test_an_image_that_lacks_a_requirement_is_refused(
    prepare: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    installed: Callable[[str], str | None],
    sentence: str | None,
) -> None:
    def version(name: str) -> str:
        found = installed(name)
        if found is None:
            raise prepare.metadata.PackageNotFoundError(name)
        return found

    needs = ["numpy>=2", "torch>=2.6", 'plotly>=6; extra == "labs"', 'mpi4py>=4; extra == "bench"']
    monkeypatch.setattr(prepare.metadata, "requires", lambda package: needs)
    monkeypatch.setattr(prepare.metadata, "version", version)
    sentences = prepare.unmet("kit", "labs")
    if sentence is None:
        assert sentences == []
    else:
        (said,) = sentences
        assert said.startswith(sentence)


def test_jupyterlab_opens_on_a_page_that_is_there() -> None:
    texts = [ROOT / "README.md", ROOT / "Dockerfile", *(ROOT / "docs").glob("*.md")]
    pages = [
        page
        for text in texts
        if text.exists()
        for page in re.findall(r"lab/tree/([\w/.-]+\.ipynb)", text.read_text(encoding="utf8"))
    ]
    assert pages
    for page in pages:
        assert (ROOT / page).exists(), page
