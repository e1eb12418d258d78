"""Predictions: kept, refused, compared in words, pooled over a class."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import plotly.graph_objects as go
import pytest

from ddml_kit.notebook import Figure, predict
from ddml_kit.notebook.predict import store
from ddml_kit.notebook.predict.words import choice_in_words, curve_in_words, number_in_words


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "predictions.json"


def number(file: Path) -> predict.Number:
    return predict.Number("speedup", "How much faster?", low=0, high=8, unit="×", file=file)


def curve(file: Path) -> predict.Curve:
    return predict.Curve(
        "by density",
        "Draw it.",
        x=[0.1, 0.5, 1.0],
        low=0,
        high=4,
        x_title="density",
        y_title="speed-up",
        file=file,
    )


def test_a_prediction_is_kept_until_the_next_session(file: Path) -> None:
    number(file).say(2)
    assert number(file).said == 2.0
    assert number(file).compare(1.0).sentence.endswith("too high by a factor of 2.")


def test_without_a_prediction_the_comparison_says_so(file: Path) -> None:
    comparison = number(file).compare(1.3)
    assert not comparison
    assert "no prediction" in repr(comparison)


def test_what_was_said_before_survives_a_bad_value(file: Path) -> None:
    question = number(file)
    question.say(2)
    with pytest.raises(ValueError, match="from 0 to 8, got 9"):
        question.say(9)
    assert question.said == 2.0


def test_a_file_that_holds_something_else_is_named(file: Path) -> None:
    file.write_text("[1, 2")
    with pytest.raises(ValueError, match="does not hold predictions"):
        number(file).say(1)
    assert file.read_text() == "[1, 2"


def test_a_choice_and_a_curve_check_what_is_said(file: Path) -> None:
    choice = predict.Choice("who", "Who wins?", ["lock", "no lock"], file=file)
    with pytest.raises(ValueError, match="choose one of lock, no lock"):
        choice.say("nobody")
    with pytest.raises(ValueError, match="3 points, got 2"):
        curve(file).say([1, 2])
    with pytest.raises(ValueError, match="from 0 to 4"):
        curve(file).say([1, 2, 5])


def test_the_curve_is_laid_dotted_over_a_figure(file: Path) -> None:
    question = curve(file)
    figure = Figure(go.Figure(), "Words.")
    assert question.over(figure) is figure
    question.say([2, 1.5, 1])
    [line] = question.over(figure).plot.data
    assert list(line.y) == [2, 1.5, 1]
    assert line.line.dash == "dot"


@pytest.mark.parametrize(
    ("said", "measured", "words"),
    [
        (1.3, 1.3, "exactly."),
        (1.32, 1.3, "within 5 %."),
        (1.5, 1.2, "25 % too high."),
        (4, 1, "too high by a factor of 4."),
        (1, 4, "too low by a factor of 4."),
        (0, 2, "2 too low."),
        (-1, 2, "3 too low."),
    ],
)
def test_the_distance_of_numbers_in_words(said: float, measured: float, words: str) -> None:
    assert number_in_words(said, measured).endswith(words)


def test_the_distance_of_choices_and_curves_in_words() -> None:
    assert choice_in_words("a", "b") == "You said a; it was b."
    x = np.array([1.0, 2.0, 3.0])
    said, measured = np.array([1.0, 1.0, 3.0]), np.array([1.0, 1.0, 1.0])
    assert "furthest at 3, where you said 3 and it was 1: too high" in curve_in_words(
        x, said, measured
    )
    assert "everywhere" in curve_in_words(x, measured, measured)


def test_a_class_is_pooled_into_one_histogram(tmp_path: Path, file: Path) -> None:
    paths = []
    for learner, value in [("ada", 1), ("bob", 2), ("eve", 2)]:
        number(file).say(value)
        curve(file).say([value, value, 1])
        paths.append(tmp_path / f"{learner}.csv")
        assert store.to_csv(paths[-1], learner=learner, path=file) == 4
    figure = predict.pool(paths, "speedup", measured=1.3)
    assert sorted(figure.plot.data[0].x) == [1.0, 2.0, 2.0]
    assert figure.plot.layout.yaxis.title.text == "learners, of 3"
    assert len(predict.pool(paths, "by density").plot.data[0].y) == 9
    with pytest.raises(ValueError, match="none of the files answers"):
        predict.pool(paths, "something else")


def test_a_csv_of_something_else_is_named(tmp_path: Path) -> None:
    path = tmp_path / "other.csv"
    path.write_text("a,b\n1,2\n")
    with pytest.raises(ValueError, match=r"other.csv needs the columns learner, .*; got a, b"):
        predict.pool([path], "speedup")
