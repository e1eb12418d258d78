"""The repository as it is committed: notebooks executed and small, imports one way."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LABS = sorted((ROOT / "labs").glob("*.ipynb"))
MODULES = sorted((ROOT / "ddml_kit").rglob("*.py"))

PURE = ("collectives", "topologies", "compression", "aggregation", "attacks", "adversarial")

# What a room may import. cluster knows nothing of what runs on it; only notebook shows anything.
BELOW = {
    "cluster": set(),
    "problems": {"cluster"},
    "collectives": {"cluster"},
    "topologies": set(),
    "compression": {"cluster"},
    "aggregation": set(),
    "attacks": set(),
    "adversarial": {"problems"},
    "training": {"cluster", "problems", *PURE},
    "experiment": {"cluster"},
    "command": {"cluster", "problems", *PURE, "training"},
    "__main__": {"command"},
    "notebook": {"cluster", "problems", *PURE, "training", "experiment", "command"},
    "datasets": {"problems"},
}


def imported(path: Path) -> set[str]:
    """The modules that a file imports, wherever in it."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            names.add(node.module or "")
    return names


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_run_one_way(path: Path) -> None:
    room = path.relative_to(ROOT / "ddml_kit").parts[0].removesuffix(".py")
    if room not in BELOW:  # ddml_kit/__init__.py and the like import nothing of the kit
        room, below = "", set()
    else:
        below = BELOW[room]
    for name in imported(path):
        top, _, rest = name.partition(".")
        if top == "ddml_kit":
            assert rest.split(".")[0] in below | {room, ""}, f"{path} imports {name}"
        if top in ("plotly", "ipywidgets", "IPython", "anywidget"):
            assert room == "notebook", f"{path} imports {name}"


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(ROOT)))
def test_a_module_is_a_page_or_a_few(path: Path) -> None:
    lines = path.read_text(encoding="utf8").count("\n")
    assert lines <= 400, f"{path} has {lines} lines: split it"


@pytest.mark.parametrize("path", LABS, ids=lambda p: p.name)
def test_a_lab_is_committed_executed_small_and_without_widget_state(path: Path) -> None:
    text = path.read_text(encoding="utf8")
    book = json.loads(text)
    assert len(text) < 500_000
    assert "widgets" not in book["metadata"]
    assert book["metadata"]["kernelspec"]["name"] == "python3"
    for cell in book["cells"]:
        if cell["cell_type"] == "code" and "".join(cell["source"]).strip():
            assert cell["execution_count"] is not None, "nbval compares nothing of such a cell"
            assert not [o for o in cell["outputs"] if o["output_type"] == "error"]


def test_links_in_labs_and_texts_lead_somewhere() -> None:
    for path in [*LABS, *ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]:
        text = path.read_text(encoding="utf8")
        if path.suffix == ".ipynb":
            cells = json.loads(text)["cells"]
            text = "\n".join("".join(c["source"]) for c in cells if c["cell_type"] == "markdown")
        for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", text):
            if "://" not in target and not target.startswith("mailto:"):
                assert (path.parent / target).exists(), f"{path.name} links to {target}"
