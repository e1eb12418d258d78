"""Times and counts as text."""

import numpy as np
import pytest

from ddml_kit.cluster.run import Curve
from ddml_kit.notebook.units import count_text, number_text, seconds_text, seconds_to, unit_for


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (1.3111, "1.31 s"),
        (0.82, "820 ms"),
        (0.9999, "1 s"),
        (14e-6, "14 µs"),
        (2140.4, "2,140 s"),
        (0.0, "0 s"),
        (float("nan"), "–"),
    ],
)
def test_a_time_is_a_number_that_can_be_said(seconds: float, text: str) -> None:
    assert seconds_text(seconds) == text


def test_counts_have_separators() -> None:
    assert count_text(2140) == "2,140"


@pytest.mark.parametrize(
    ("x", "text"),
    [
        (0.01234, "0.0123"),
        (12.34, "12.3"),
        (0, "0"),
        (1000, "1,000"),
        (12_345, "12,300"),
        (-4e6, "-4,000,000"),
        (1.234e9, "1.23e+09"),
    ],
)
def test_a_number_has_three_digits_and_separators(x: float, text: str) -> None:
    assert number_text(x) == text


def test_the_unit_fits_the_whole() -> None:
    assert [unit_for(x).sign for x in (3e-5, 0.02, 5.0, 4000.0, 0.0)] == ["µs", "ms", "s", "s", "s"]


def test_when_a_curve_reaches_a_level() -> None:
    curve = Curve(np.arange(3), np.array([0.0, 0.5, 1.5]), np.array([3.0, 1.0, 0.5]))
    assert seconds_to(curve, 1.0) == "500 ms"
    assert seconds_to(curve, 0.1) == "not reached"
