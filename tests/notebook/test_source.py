"""The library's own code in a lab."""

import functools

import pytest

from ddml_kit.cluster.run import Run
from ddml_kit.notebook.source import source
from ddml_kit.notebook.units import seconds_text


def test_source_is_the_library_s_text_with_its_place() -> None:
    shown = source(seconds_text)
    assert shown.text.startswith("def seconds_text(seconds: float) -> str:")
    assert shown.text.rstrip().endswith('{unit.sign}"')
    assert shown.place == "ddml_kit/notebook/units.py"
    assert repr(shown) == f"# {shown.place}\n{shown.text}"


def test_the_highlighted_text_is_the_same_each_time_and_needs_no_style_sheet() -> None:
    html = source(Run)._repr_html_()
    assert html == source(Run)._repr_html_()
    assert "ddml_kit/cluster/run.py" in html
    assert "<span style=" in html
    assert "class=" not in html


def test_a_wrapped_function_shows_what_is_wrapped() -> None:
    @functools.wraps(seconds_text)
    def wrapper(*args):
        return seconds_text(*args)

    assert source(wrapper) == source(seconds_text)


def test_what_has_no_source_gets_a_sentence() -> None:
    with pytest.raises(ValueError, match="source needs a function with a Python file, got len"):
        source(len)
