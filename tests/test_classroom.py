"""The page for instructors: what it tells to type works."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from ddml_kit.notebook.predict import store

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "classroom.md").read_text(encoding="utf8")


def test_its_python_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write, pool, seed = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    (question,) = re.findall(r'pool\(.*, "(.*)"\)', pool)
    monkeypatch.chdir(tmp_path)
    store.write(question, {"x": [0.1, 1.0], "y": [8.0, 2.0]})
    exec(write, {})
    (tmp_path / "collected").mkdir()
    (tmp_path / "ada.csv").rename(tmp_path / "collected" / "ada.csv")

    *before, last = pool.strip().splitlines()
    names: dict = {}
    exec("\n".join(before), names)
    figure = eval(last, names)
    assert repr(figure).startswith(f"{question}: the curves of 1 learner.")

    exec(seed, names)
    assert names["cluster"].run(lambda comm: comm.rank).results == list(range(8))


def test_the_question_that_it_pools_is_asked_in_a_lab() -> None:
    (question,) = re.findall(r'pool\(.*, "(.*)"\)', PAGE)
    labs = "".join(lab.read_text(encoding="utf8") for lab in (ROOT / "labs").glob("*.ipynb"))
    assert question in labs


def test_what_it_tells_to_make_can_be_made() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf8")
    for target in re.findall(r"^make (\w+)", PAGE, re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE)
    assert "PIP_ARGS ?=" in makefile
