"""The predictions of a class in one figure."""

from __future__ import annotations

from pathlib import Path

import pytest
from asking import choice, curve, number

from ddml_kit.notebook import predict
from ddml_kit.notebook.predict import store


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "predictions.json"


def test_a_class_is_pooled_into_one_histogram(tmp_path: Path, file: Path) -> None:
    paths = []
    for learner, value in [("ada", 1), ("bob", 2), ("eve", 2)]:
        number(file).say(value)
        curve(file).say([value, value, 1])
        paths.append(tmp_path / f"{learner}.csv")
        assert store.to_csv(paths[-1], learner=learner, path=file) == 4
    figure = predict.pool(paths, "speedup", measured=1.3)
    assert sorted(figure.plot.data[0].x) == [1.0, 2.0, 2.0]
    assert figure.plot.data[0].xbins.to_plotly_json() == {"start": 0.5, "end": 2.5, "size": 1}
    assert figure.plot.layout.yaxis.title.text == "learners, of 3"
    with pytest.raises(ValueError, match="none of the files answers"):
        predict.pool(paths, "something else")
    again = predict.pool([*paths, paths[0]], "speedup")
    assert len(again.plot.data[0].x) == 3
    with pytest.raises(ValueError, match=r"measured must be a number .*, got \[1, 2\]"):
        predict.pool(paths, "speedup", measured=[1, 2])


def test_the_curves_of_a_class_have_places_and_words_of_their_own(tmp_path, file) -> None:
    for k, learner in enumerate(["ada", "bob", "eve"]):
        curve(file).say([k, k + 0.5, 1])
        store.to_csv(tmp_path / f"{learner}.csv", learner=learner, path=file)
    paths = sorted(tmp_path.glob("*.csv"))
    figure = predict.pool(paths, "by density", measured=[3, 2, 1], x_title="density")
    box, line = figure.plot.data
    assert figure.plot.layout.xaxis.type == "category"
    assert figure.plot.layout.xaxis.title.text == "density"
    assert list(figure.plot.layout.xaxis.categoryarray) == ["0.1", "0.5", "1"]
    assert sorted(set(box.x)) == ["0.1", "0.5", "1"]
    assert len(box.y) == 9
    assert (line.mode, list(line.x), list(line.y)) == (
        "lines+markers",
        ["0.1", "0.5", "1"],
        [3, 2, 1],
    )
    assert repr(figure) == (
        "by density: the curves of 3 learners. "
        "Median: 1 (density 0.1), 1.5 (density 0.5), 1 (density 1). "
        "It was 3 (density 0.1), 2 (density 0.5), 1 (density 1)."
    )
    for measured in (2.0, [1, 2], "abc"):
        with pytest.raises(ValueError, match="measured must be 3 numbers, one at each x"):
            predict.pool(paths, "by density", measured=measured)


def test_the_right_option_is_marked_though_nobody_chose_it(tmp_path, file) -> None:
    choice(file).say("lock")
    store.to_csv(tmp_path / "ada.csv", learner="ada", path=file)
    figure = predict.pool([tmp_path / "ada.csv"], "who", measured="no lock")
    [bars] = figure.plot.data
    assert dict(zip(bars.x, bars.y, strict=True)) == {"lock": 1, "no lock": 0}
    assert list(bars.text) == ["", "measured"]
    assert repr(figure) == "who, said by 1 learner: lock: 1; it was no lock."
    with pytest.raises(ValueError, match=r"measured must be an option, a text, got 1\.3"):
        predict.pool([tmp_path / "ada.csv"], "who", measured=1.3)


def test_a_csv_of_something_else_is_named(tmp_path: Path) -> None:
    path = tmp_path / "other.csv"
    path.write_text("a,b\n1,2\n")
    with pytest.raises(ValueError, match=r"other.csv needs the columns learner, .*; got a, b"):
        predict.pool([path], "speedup")


def test_what_was_measured_is_in_view_though_nobody_came_near(tmp_path, file) -> None:
    number(file).say(2)
    store.to_csv(tmp_path / "ada.csv", learner="ada", path=file)
    for measured in (-40, 2, 40):
        plot = predict.pool([tmp_path / "ada.csv"], "speedup", measured=measured).plot
        low, high = plot.layout.xaxis.range
        assert low < min(measured, 2) <= max(measured, 2) < high
        [label] = plot.layout.annotations
        assert label.xanchor == ("right" if measured == 40 else "left")
