"""Figures: the numbers that they draw, and the words beside them."""

import base64
import json
from itertools import pairwise

import numpy as np
import pytest

from ddml_kit.cluster.run import Curve, Run
from ddml_kit.cluster.simulated import Simulated
from ddml_kit.cluster.trace import COMPUTE, LOCK, SEND, Recorder
from ddml_kit.notebook import Figure, curves, histogram, lines, timeline
from ddml_kit.notebook.figures import style


def run_of(recorder: Recorder, size: int, seconds: float) -> Run:
    return Run("simulated", size, 0, seconds, [None] * size, recorder.trace())


def two_workers() -> Run:
    recorder = Recorder()
    recorder.add(COMPUTE, 0, 0.0, 0.3)
    recorder.add(COMPUTE, 1, 0.0, 0.1)
    recorder.add(LOCK, 1, 0.1, 0.3)
    return run_of(recorder, 2, 0.3)


def many(size: int, steps: int) -> Run:
    recorder = Recorder()
    for k in range(steps):
        for rank in range(size):
            recorder.add(COMPUTE, rank, float(k), k + 0.5)
            recorder.add(LOCK, rank, k + 0.5, k + 1.0)
    return run_of(recorder, size, float(steps))


def numbers(encoded: object) -> list[float]:
    """A column as it stands in a figure's data: plotly's base64, or a list."""
    if isinstance(encoded, dict):
        return np.frombuffer(base64.b64decode(encoded["bdata"]), encoded["dtype"]).tolist()
    return list(encoded)  # type: ignore[call-overload]


def test_a_timeline_draws_what_each_worker_did() -> None:
    compute, lock = timeline(two_workers()).plot.data
    assert compute.name == "compute"
    assert compute.marker.color == style.ACTIVITY_COLOURS["compute"]
    assert list(compute.y) == [0, 1]
    np.testing.assert_allclose(numbers(compute.base), [0, 0])
    np.testing.assert_allclose(compute.x, [300, 100])  # 0.3 s is shown in milliseconds
    assert lock.name == "wait for lock"
    np.testing.assert_allclose([lock.y[0], *numbers(lock.base), lock.x[0]], [1, 100, 200])


def test_a_timeline_says_what_it_shows() -> None:
    figure = timeline(two_workers())
    assert figure.plot.layout.xaxis.title.text == "milliseconds (simulated)"
    assert list(figure.plot.layout.yaxis.range) == [1.5, -0.5]  # worker 0 on top
    assert repr(figure) == (
        "simulated · 2 workers · seed 0: What 2 workers did, on average: compute 67%, lock 33%. "
        "Worker 0 computed most of the time (100%), worker 1 least (33%)."
    )


def test_a_long_run_is_shown_in_part_and_that_is_said() -> None:
    figure = timeline(many(2, 500))
    assert figure.plot.layout.xaxis.title.text == "seconds (simulated), the first 20 s of 500 s"
    assert list(figure.plot.layout.xaxis.range) == [0, 20]
    assert "in the first 20 s" in figure.words
    whole = timeline(many(2, 500), first=500.0)
    assert whole.plot.layout.xaxis.title.text == "seconds (simulated)"


def test_a_timeline_begins_where_the_workers_do() -> None:
    recorder = Recorder()
    recorder.add(COMPUTE, 0, 2.0, 3.0)
    assert list(timeline(run_of(recorder, 1, 3.0)).plot.layout.xaxis.range) == [2.0, 3.0]
    assert list(timeline(run_of(Recorder(), 1, 0.0)).plot.layout.xaxis.range) == [0, 1]


def test_of_thousands_of_workers_some_are_drawn() -> None:
    figure = timeline(many(1000, 3))
    assert sorted(set(figure.plot.data[0].y)) == list(range(63))
    assert figure.plot.layout.yaxis.ticktext[:2] == ("0", "128")  # rows 0 and 8, of every 16th
    assert figure.words.endswith("63 of the workers are drawn.")
    assert figure.plot.layout.height < 500
    chosen = timeline(many(1000, 3), ranks=[7, 999])
    assert chosen.plot.layout.yaxis.ticktext == ("7", "999")


def test_hundreds_of_thousands_of_events_make_a_small_figure() -> None:
    recorder = Recorder()
    for rank in range(8):
        steps = 40_000 if rank == 0 else 100
        times = np.linspace(0.0, 10.0, steps + 1).tolist()
        for start, stop in pairwise(times):
            recorder.add(COMPUTE, rank, start, (start + stop) / 2)
            recorder.add(LOCK, rank, (start + stop) / 2, stop)
    figure = timeline(run_of(recorder, 8, 10.0), first=10.0)
    assert len(json.dumps(figure.data())) < 60_000


def test_what_runs_beside_the_program_is_a_thin_line() -> None:
    recorder = Recorder()
    recorder.add(COMPUTE, 0, 0.0, 1.0)
    recorder.add(COMPUTE, 0, 0.2, 0.4, strand=1)
    recorder.add(SEND, 0, 0.5, 0.6, strand=1)
    figure = timeline(run_of(recorder, 1, 1.0))
    assert figure.words.endswith("Beside that, what they had started communicated 10% of the time.")
    program, *lines_above = figure.plot.data  # drawn last, so that they lie on top
    assert (program.name, program.width) == ("compute", 0.8)
    assert [(t.name, t.width, t.showlegend) for t in lines_above] == [
        ("compute", 0.2, False),
        ("communicate", 0.2, None),
    ]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"ranks": [2]}, r"ranks must be some from 0 to 1, got \[2\]"),
        ({"ranks": []}, "ranks must be some from 0 to 1"),
        ({"first": 0.0}, "first must be a time above 0 seconds, got 0.0"),
    ],
)
def test_a_timeline_refuses_what_it_cannot_show(options: dict, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        timeline(two_workers(), **options)


CURVE = Curve(np.array([0, 10, 20]), np.array([0.0, 1.0, 2.5]), np.array([2.0, 0.5, 0.1]))
OTHER = Curve(np.array([0, 10]), np.array([0.0, 4.0]), np.array([2.0, 1.0]))


def test_curves_over_seconds_and_over_steps() -> None:
    drawn = curves({"SSP": CURVE, "BSP": OTHER}, value="test loss", badge="measured")
    assert [trace.name for trace in drawn.plot.data] == ["SSP", "BSP"]
    np.testing.assert_allclose(drawn.plot.data[0].x, CURVE.seconds)
    np.testing.assert_allclose(drawn.plot.data[0].y, CURVE.value)
    assert drawn.plot.data[0].line.color != drawn.plot.data[1].line.color
    assert drawn.plot.layout.xaxis.title.text == "seconds (measured on this machine)"
    assert drawn.plot.layout.yaxis.title.text == "test loss"
    by_step = curves({"SSP": CURVE}, over="steps")
    np.testing.assert_allclose(by_step.plot.data[0].x, CURVE.step)
    assert by_step.plot.layout.xaxis.title.text == "steps"


def test_curves_leave_room_for_what_is_under_way() -> None:
    axis = curves({"SSP": CURVE}, until=2000.0).plot.layout.xaxis
    assert axis.range[1] > 2000.0
    short = {"a": CURVE._replace(seconds=CURVE.seconds / 1000)}
    fast = curves(short)
    assert fast.plot.layout.xaxis.title.text == "milliseconds"
    np.testing.assert_allclose(fast.plot.data[0].x, CURVE.seconds)
    fast = curves(short, until=1.0)
    assert fast.plot.layout.xaxis.title.text == "seconds"
    np.testing.assert_allclose(fast.plot.data[0].x, CURVE.seconds / 1000)


def test_curves_in_words() -> None:
    assert repr(curves({"SSP": CURVE}, value="loss", target=0.5, badge="simulated")) == (
        "simulated: SSP: loss from 2 to 0.1 in 21 steps, 2.5 s; 0.5 after 1 s."
    )
    assert repr(curves({"BSP": OTHER}, target=0.5)).endswith("0.5 not reached.")


def test_the_target_and_all_finite_values_are_inside_the_axes() -> None:
    diverging = Curve(np.arange(3), np.arange(3.0), np.array([1.0, np.inf, np.nan]))
    axis = curves({"a": CURVE, "b": diverging}, target=0.01).plot.layout.yaxis
    assert axis.type == "log"
    assert axis.range[0] < np.log10(0.01)
    assert np.log10(2.0) < axis.range[1] < 1.0
    linear = curves({"a": CURVE}, target=-1.0, log=False).plot.layout.yaxis
    assert linear.range[0] < -1.0
    assert 2.0 < linear.range[1] < 3.0


def test_no_curves_yet_is_a_figure_too() -> None:
    empty = Curve(np.zeros(0, np.int64), np.zeros(0), np.zeros(0))
    assert curves({}).data()["data"] == []
    assert curves({"a": empty}).words == "**a**: no loss yet."


def test_over_is_one_of_two() -> None:
    with pytest.raises(ValueError, match='over must be "seconds" or "steps", got \'hours\''):
        curves({}, over="hours")  # type: ignore[arg-type]


def test_a_histogram_gives_each_whole_number_a_bar() -> None:
    figure = histogram({"SSP": np.array([0, 2, 2, 3])}, value="staleness (steps)")
    np.testing.assert_allclose(figure.plot.data[0].x, [0, 1, 2, 3])
    np.testing.assert_allclose(figure.plot.data[0].y, [1, 0, 2, 1])
    assert figure.plot.layout.xaxis.title.text == "staleness (steps)"
    assert figure.words == (
        "**SSP**: staleness (steps) from 0 to 3, mean 1.75, median 2, nine of ten at most 2.7 "
        "(4 in all)."
    )


def test_a_histogram_bins_what_is_not_whole_and_counts_all() -> None:
    rng = np.random.default_rng(0)
    groups = {"a": rng.normal(size=500), "b": rng.normal(5.0, size=300)}
    a, b = histogram(groups, value="x").plot.data
    assert (sum(a.y), sum(b.y)) == (500, 300)
    np.testing.assert_allclose(a.x, b.x)
    assert sum(histogram({"same": np.ones(4)}, value="x").plot.data[0].y) == 4


def test_a_histogram_gathers_a_long_tail_and_counts_all() -> None:
    values = np.append(np.tile(np.arange(10), 100), [5000, 6000])
    figure = histogram({"a": values}, value="staleness")
    [bars] = figure.plot.data
    assert sum(bars.y) == 1002
    assert (len(bars.x), bars.y[-1]) == (10, 102)
    assert figure.plot.layout.xaxis.title.text == "staleness (last bar: 9 and more)"


def test_a_histogram_of_many_whole_numbers_has_bars_of_equal_width() -> None:
    [bars] = histogram({"a": np.arange(200)}, value="x").plot.data
    assert set(bars.y) <= {7, 4}  # the last one may be shorter
    assert sum(bars.y) == 200


def test_a_histogram_needs_values() -> None:
    with pytest.raises(ValueError, match="a histogram needs a value in each group"):
        histogram({"a": np.array([])}, value="x")


def shown(figure: Figure, monkeypatch: pytest.MonkeyPatch) -> list[dict]:
    outputs: list[dict] = []
    module = "ddml_kit.notebook.figures.figure.display"
    monkeypatch.setattr(module, lambda bundle, raw: outputs.append(bundle))
    figure._ipython_display_()
    return outputs


def test_a_figure_in_a_notebook_is_a_picture_and_its_words(monkeypatch) -> None:
    figure = curves({"a < b": CURVE}, badge="paced")
    picture, words = shown(figure, monkeypatch)
    data = picture["application/vnd.plotly.v1+json"]
    np.testing.assert_allclose(numbers(data["data"][0]["y"]), CURVE.value)
    assert picture["text/plain"] == words["text/plain"] == repr(figure)
    assert "<b>a &lt; b</b>: loss from 2 to 0.1" in words["text/html"]
    assert ">paced</span>" in words["text/html"]


def test_the_same_run_gives_the_same_output(monkeypatch) -> None:
    def program(comm):
        for _ in range(5):
            comm.work(1.0)
            comm.all_reduce(1.0)

    outputs = [shown(timeline(Simulated(3).run(program)), monkeypatch) for _ in range(2)]
    assert json.dumps(outputs[0]) == json.dumps(outputs[1])


@pytest.mark.parametrize(
    ("heights", "axis"),
    [
        ([1.3, 27.8], {"type": "log", "dtick": "D2", "tickformat": "~g"}),
        ([1.0, 126.0], {"type": "log", "dtick": 1}),
        ([5e-8, 0.01], {"type": "log", "dtick": 1, "exponentformat": "power"}),
        ([1e-15, 1.0], {"type": "log", "dtick": 2, "exponentformat": "power"}),
        ([0.0, 2.0], {"type": "log", "dtick": "D2", "tickformat": "~g"}),
    ],
)
def test_an_axis_in_powers_has_more_than_one_tick(heights: list, axis: dict) -> None:
    figure = lines({"a": ([1, 2], heights)}, x="x", y="y", log_y=True)
    shown = figure.plot.layout.yaxis.to_plotly_json()
    assert {name: shown.get(name) for name in axis} == axis
    beside = lines({"a": ([1], [2.0])}, x="x", y="y", log_y=True, dashed={"b": ([1], [9000.0])})
    assert beside.plot.layout.yaxis.dtick == 1


@pytest.mark.parametrize(("over", "when"), [("steps", "after 2 steps"), ("seconds", "after 8 ms")])
def test_a_target_is_reached_by_what_the_axis_counts(over, when: str) -> None:
    curve = Curve(np.arange(4), np.array([0, 0.004, 0.008, 0.012]), np.array([4.0, 2.0, 1.0, 0.5]))
    assert f"; 1 {when}." in curves({"a": curve}, value="loss", target=1.0, over=over).words
    assert "not reached" in curves({"a": curve}, value="loss", target=0.1, over=over).words
