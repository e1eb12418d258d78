"""A picture of one's own below a dashboard's curves, in place of what the workers did."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import plotly.graph_objects as go
import pytest

from ddml_kit.cluster.simulated import Simulated
from ddml_kit.notebook import Figure, Panel, Slider, dashboard
from ddml_kit.notebook.panel.models import curve_of_all, stacked


def descend(comm, rate: float, dim: int) -> None:
    w = np.ones(dim)
    for _ in range(5):
        comm.work(0.01)
        comm.snapshot(w)
        w = w - rate * w


class Pictures:
    """Draws where each run ends, and remembers what it was asked to draw."""

    def __init__(self) -> None:
        self.asked: list[tuple[list[str], str, int]] = []

    def __call__(self, looks, shown) -> Figure:
        self.asked.append(([look.label for look in looks], shown.label, len(shown.models)))
        assert shown in looks
        ends = [float(look.models[-1][0]) for look in looks]
        colours = [look.line["color"] for look in looks]
        plot = go.Figure(go.Bar(y=ends, marker={"color": colours}), layout={"height": 111})
        return Figure(plot, f"{shown.settings['rate']} ends at {ends[-1]:.3g}")


def made(pictures: Pictures | None, **options: Any) -> Panel:
    return dashboard(
        lambda rate, dim: Simulated(1).start(descend, rate, dim),
        [Slider("rate", 0.1, 0.9, 0.5, step=0.1), Slider("dim", 1, 10**6, 1, log=True, step=10)],
        curve=lambda w: float(w[0]),
        picture=pictures,
        **options,
    )


@pytest.fixture
def pictures() -> Pictures:
    return Pictures()


def below(panel: Panel) -> dict[str, Any]:
    return json.loads(panel.front.timeline)


def press(panel: Panel, press: str, **more: Any) -> None:
    panel.front._handle_custom_msg({"press": press, "settings": {}, **more}, [])


def test_it_is_drawn_from_all_runs_with_the_one_that_is_looked_at(pictures: Pictures) -> None:
    panel = made(pictures, pictured="Where it ends")
    assert panel.front.spec["pictured"] == "Where it ends"
    assert panel.front.timeline == "null"
    panel.run()
    panel.run(rate=0.1)
    assert pictures.asked[-1] == (["rate 0.5", "rate 0.1"], "rate 0.1", 5)
    figure = below(panel)
    assert figure["layout"]["height"] == 111
    assert figure["words"] == "0.1 ends at 0.656"
    assert len(set(figure["data"][0]["marker"]["color"])) == 2
    press(panel, "show", number=0)
    assert pictures.asked[-1][1:] == ("rate 0.5", 5)
    press(panel, "remove", number=0)
    assert pictures.asked[-1] == (["rate 0.1"], "rate 0.1", 5)
    panel.clear()
    assert panel.front.timeline == "null"


def test_of_a_large_model_only_the_last_is_kept(pictures: Pictures) -> None:
    panel = made(pictures)
    panel.run(dim=10**6)
    assert pictures.asked[-1][2] == 1
    [kept] = panel.runs
    np.testing.assert_allclose(kept.models[0][:2], 0.5**4)


def test_while_a_run_is_under_way_its_newest_model_is_drawn(pictures: Pictures) -> None:
    panel = made(pictures)
    panel.run()
    before = len(pictures.asked)
    panel.run(rate=0.9)
    live = [labels for labels, shown, models in pictures.asked[before:] if shown == "this run"]
    assert live[0] == ["rate 0.5", "this run"]
    assert pictures.asked[-1][1] == "rate 0.9"


def test_without_one_there_is_what_the_workers_did() -> None:
    panel = made(None)
    panel.run()
    [kept] = panel.runs
    assert panel.front.timeline == kept.timeline
    assert kept.models == ()
    assert panel.front.spec["pictured"] == "What the workers did"


def test_the_axis_at_first_can_be_steps(pictures: Pictures) -> None:
    panel = made(pictures, over="steps")
    assert panel.front.state["over"] == "steps"
    panel.run()
    assert json.loads(panel.front.curve)["layout"]["xaxis"]["title"]["text"] == "steps"


def apart(comm, rate: float, dim: int) -> None:
    """Rank r has r + 1 times what rank 0 has, and ends later."""
    for step in range(5):
        comm.work(0.01 * (comm.rank + 1))
        comm.snapshot((comm.rank + 1) * rate**step * np.ones(dim))


def test_everybody_s_models_are_one() -> None:
    seen: list[np.ndarray] = []

    def picture(looks, shown) -> Figure:
        seen.append(shown.models[-1])
        return Figure(go.Figure(), "")

    panel = dashboard(
        lambda rate, dim: Simulated(3).start(apart, rate, dim),
        [Slider("rate", 0.1, 0.9, 0.5, step=0.1), Slider("dim", 1, 10**6, 1, log=True, step=10)],
        curve=lambda X: float(np.nansum(X[:, 0])),
        picture=picture,
        everybody=True,
    )
    run = panel.run()
    [kept] = panel.runs
    np.testing.assert_allclose(kept.curve.value, 6 * 0.5 ** np.arange(5))
    again = curve_of_all(run, lambda X: float(X[:, 0].sum()))
    for one, other in zip(again, kept.curve, strict=True):
        np.testing.assert_allclose(one, other)
    assert kept.curve.seconds[-1] == pytest.approx(0.05)  # rank 0's
    np.testing.assert_allclose(seen[-1], 0.5**4 * np.array([[1], [2], [3]]))
    assert [models.shape for models in kept.models] == [(3, 1)] * 5
    np.testing.assert_allclose(seen[0], [[1]])  # when it began there was nobody else's
    panel.close()


def test_who_was_not_heard_of_yet_has_a_row_of_nothing() -> None:
    both = stacked({2: np.ones(2), 0: np.zeros(2)})
    np.testing.assert_array_equal(both, [[0, 0], [np.nan, np.nan], [1, 1]])
