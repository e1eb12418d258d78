"""Predictions: kept, refused, compared in words, pooled over a class."""

from __future__ import annotations

import json
import re
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import plotly.graph_objects as go
import pytest
from asking import choice, curve, number

from ddml_kit.notebook import Figure, predict
from ddml_kit.notebook.predict import store
from ddml_kit.notebook.predict.words import (
    choice_in_words,
    curve_in_words,
    number_in_words,
    with_unit,
)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "predictions.json"


def messages(file: Path) -> predict.Number:
    return predict.Number(
        "rounds", "How many?", low=1, high=8, unit="messages", whole=True, file=file
    )


KINDS = [number, choice, curve, messages]


def shown(question: predict.Question) -> dict[str, Any]:
    """What a notebook gets of a question that is the last line of a cell."""
    return question._repr_mimebundle_()


def commit(question: predict.Question, answer: Any) -> dict[str, Any]:
    """Press Commit on the page where this answer stands; the note beside the button."""
    shown(question)
    question._face._handle_custom_msg({"answer": answer}, [])
    return question._face.note


def test_a_prediction_is_kept_until_the_next_session(file: Path) -> None:
    number(file).say(2)
    assert number(file).said == 2.0
    assert number(file).compare(1.0).sentence.endswith("too high by a factor of 2.")


def test_without_a_prediction_the_comparison_says_so(file: Path) -> None:
    for question, measured, was in (
        (number(file), 1.3, "It was 1.3 ×."),
        (messages(file), 3, "It was 3 messages."),
        (choice(file), "lock", "It was lock."),
        (curve(file), [2, 1, 1.5], "It went from 2 at 0.1 to 1.5 at 1, and was lowest with 1 at "),
        (number(file), float("nan"), "It could not be measured."),
    ):
        comparison = question.compare(measured)
        assert not comparison
        assert repr(comparison).startswith(was)
        assert repr(comparison).endswith("You made no prediction; next time, commit to one first.")


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
        (4000, 2, "You said 4,000; it was 2: too high by a factor of 2,000."),
        (4, float("inf"), "You said 4; it was infinite."),
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


@pytest.mark.parametrize("make", KINDS)
def test_a_saved_notebook_has_words_instead_of_the_widget(make, file: Path) -> None:
    question = make(file)
    bundle = shown(question)
    assert bundle["text/plain"] == repr(question)
    assert repr(question).startswith(f"Predict: {question.text}")
    assert repr(question).endswith(" Run this cell to answer, or call say(...).")
    assert bundle["text/html"].startswith("<p>Predict: ")


def test_the_words_say_what_can_be_answered_and_are_escaped(file: Path) -> None:
    assert repr(messages(file)).startswith("Predict: How many? A whole number from 1 to 8 messages")
    assert repr(choice(file)).startswith("Predict: Faster is: lock; no lock. Run")
    less = predict.Choice("less", "Is 1 < 2?", ["yes", "no"], file=file)
    assert "1 &lt; 2" in shown(less)["text/html"]


@pytest.mark.parametrize(
    ("make", "nothing", "words"),
    [
        (number, "", "Type a number first."),
        (number, "  ", "Type a number first."),
        (choice, None, "Choose first."),
        (curve, None, "Move a point first."),
    ],
)
def test_commit_without_an_answer_keeps_nothing(make, nothing, words, file: Path) -> None:
    question = make(file)
    note = commit(question, nothing)
    assert (note["text"], note["wrong"]) == (words, True)
    assert question._face.answer is None
    assert not file.exists()


@pytest.mark.parametrize(
    ("make", "answer", "kept", "again"),
    [
        (number, "2.5", 2.5, "2.5"),
        (messages, "3", 3, "3"),
        (choice, "lock", "lock", "lock"),
        (curve, [1, 2, 3], {"x": [0.1, 0.5, 1.0], "y": [1.0, 2.0, 3.0]}, [1.0, 2.0, 3.0]),
    ],
)
def test_commit_keeps_what_stands_there(make, answer, kept, again, file: Path) -> None:
    question = make(file)
    note = commit(question, answer)
    assert (note["text"], note["wrong"]) == ("Kept.", False)
    assert json.loads(file.read_text()) == {question.name: kept}
    later = make(file)
    shown(later)
    assert (later._face.note["text"], later._face.answer) == ("Kept from before.", again)
    later.say(later.said)
    assert make(file).said == kept


@pytest.mark.parametrize(
    ("make", "answer", "words"),
    [
        (number, "9", "Not kept: a prediction lies from 0 to 8, got 9."),
        (number, "2,5", "Not kept: a prediction is a number such as 20 or 0.5, got '2,5'."),
        (messages, "2.5", "Not kept: a prediction is a whole number here, got 2.5."),
    ],
)
def test_what_is_no_answer_gets_a_sentence_beside_the_button(make, answer, words, file) -> None:
    note = commit(make(file), answer)
    assert (note["text"], note["wrong"]) == (words, True)
    assert not file.exists()


def test_a_number_may_be_typed_with_separators(file: Path) -> None:
    question = predict.Number("n", "How many?", low=0, high=10_000, file=file)
    commit(question, "1,500")
    assert question.said == 1500.0


def test_a_damaged_file_ends_no_cell_and_is_told_everywhere(file: Path) -> None:
    file.write_text("[1, 2")
    question = curve(file)
    sentence = f"{file} does not hold predictions: "
    assert question.said is None
    assert sentence in repr(question.compare([1, 2, 3]))
    assert "It went from 1" in repr(question.compare([1, 2, 3]))
    figure = Figure(go.Figure(), "Words.")
    assert question.over(figure) is figure
    shown(question)
    assert sentence in question._face.note["text"]
    assert commit(question, [1, 2, 3])["text"].startswith(f"Not kept: {sentence}")
    assert file.read_text() == "[1, 2"


def test_what_is_kept_for_another_question_of_the_name_is_no_answer(file: Path) -> None:
    store.write("who", "nobody", file)
    store.write("by density", {"x": [1.0], "y": [2.0]}, file)
    for question in (choice(file), curve(file)):
        assert question.said is None
        shown(question)
        assert "does not answer this question" in question._face.note["text"]


def test_a_file_that_cannot_be_written_is_told_beside_the_button(tmp_path: Path) -> None:
    nowhere = tmp_path / "missing" / "predictions.json"
    note = commit(number(nowhere), "2")
    assert note["text"] == f"Not kept: {nowhere} can't be written (No such file or directory)."
    (tmp_path / "predictions.json").mkdir()
    question = number(tmp_path / "predictions.json")
    assert "can't be read (Is a directory)" in repr(question.compare(1))


def test_say_is_shown_on_the_page(file: Path) -> None:
    question = messages(file)
    shown(question)
    question.say(3)
    assert (question._face.answer, question._face.note["text"]) == ("3", "Kept.")


@pytest.mark.parametrize(
    ("value", "unit", "words"),
    [
        (1, "messages", "1 message"),
        (3, "messages", "3 messages"),
        (1, "messages in a row", "1 message in a row"),
        (1, "copies", "1 copy"),
        (1, "batches", "1 batch"),
        (1, "ms", "1 ms"),
        (1, "bytes/s", "1 bytes/s"),
        (1, "loss", "1 loss"),
        (1500, "", "1,500"),
    ],
)
def test_one_is_singular(value: float, unit: str, words: str) -> None:
    assert with_unit(value, unit) == words


def test_a_whole_number_is_said_as_one(file: Path) -> None:
    question = messages(file)
    question.say(1.0)
    assert question.compare(3.0).sentence.startswith("You said 1 message; it was 3 messages: ")
    assert question.in_words() == "1 message"
    with pytest.raises(ValueError, match=r"whole number here, got 2\.5"):
        question.say(2.5)


def test_the_words_of_a_figure_tell_the_prediction(file: Path) -> None:
    question = curve(file)
    question.say([2, 1.5, 1])
    words = repr(question.over(Figure(go.Figure(), "Words.")))
    assert words == "Words. your prediction: from 2 at 0.1 to 1 at 1."


def test_a_curve_has_a_line_on_its_own_axis_only(file: Path) -> None:
    question = predict.Curve(
        *("c", "Draw."),
        **{"x": [1, 2], "low": 0, "high": 1, "x_title": "s", "y_title": "loss"},
        axis="seconds",
        file=file,
    )
    assert question.line("seconds") is None
    question.say([1, 0.5])
    assert question.line("seconds") == ([1.0, 2.0], [1.0, 0.5])
    assert question.line("steps") is None
    assert question.in_words() == ""


def test_a_comparison_with_another_number_of_points_gets_a_sentence(file: Path) -> None:
    with pytest.raises(ValueError, match="the curve has 3 points, measured are 2"):
        curve(file).compare([1, 2])


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: predict.Number("n", "?", low=1, high=1), "low must be below high, got 1, 1"),
        (lambda: predict.Choice("c", "?", ["a", "a"]), "two or more distinct options, got"),
        (lambda: drawn_at([2, 1]), r"two or more rising x, got \[2, 1\]"),
        (lambda: drawn_at([0, 1], log_x=True), r"all above 0, got \[0, 1\]"),
        (lambda: drawn_at([0, 1], axis="hours"), "axis must be .*, got 'hours'"),
    ],
)
def test_a_wrong_declaration_gets_a_sentence(make, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        make()


def drawn_at(x: list[float], **more: Any) -> predict.Curve:
    return predict.Curve("c", "?", x=x, low=0, high=1, x_title="", y_title="", **more)


@pytest.mark.parametrize("page", ["predict/question.css", "panel/front.css"])
def test_text_on_white_has_contrast_enough(page: str) -> None:
    css = resources.files("ddml_kit.notebook").joinpath(page).read_text(encoding="utf8")
    rules = [rule for rule in css.split("}") if ":disabled" not in rule]
    colours = re.findall(r"(?<![-\w])color: (#[0-9a-f]{6})", "}".join(rules))
    assert len(colours) > 4
    for colour in colours:
        channels = [int(colour[k : k + 2], 16) / 255 for k in (1, 3, 5)]
        light = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
        luminance = float(np.dot([0.2126, 0.7152, 0.0722], light))
        assert 1.05 / (luminance + 0.05) >= 4.5, colour
