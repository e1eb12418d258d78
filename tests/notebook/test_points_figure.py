"""Named points: where they are, what stands beside them, and the same in words."""

import pytest

from ddml_kit.notebook import points

GROUPS = {
    "alone": {"signs": (16.8, 0.56), "top 1 %": (7.9, 0.49)},
    "with memory": {"signs": (16.8, 0.18)},
}


def test_points_are_where_they_were_measured_and_have_their_names() -> None:
    plot = points(GROUPS, x="kB", y="loss", log_x=True, beside={"top 1 %": "bottom center"}).plot
    alone, remembered = plot.data
    assert (list(alone.x), list(alone.y)) == ([16.8, 7.9], [0.56, 0.49])
    assert list(alone.text) == ["signs", "top 1 %"]
    assert list(alone.textposition) == ["top center", "bottom center"]
    assert alone.marker.color != remembered.marker.color
    assert alone.marker.symbol != remembered.marker.symbol
    assert plot.layout.xaxis.type == "log"
    assert plot.layout.yaxis.rangemode == "tozero"


def test_points_in_words() -> None:
    assert repr(points(GROUPS, x="kB", y="loss", badge="simulated")) == (
        "simulated: loss by kB. alone: signs 0.56 at 16.8, top 1 % 0.49 at 7.9. "
        "with memory: signs 0.18 at 16.8."
    )


@pytest.mark.parametrize("groups", [{}, {"alone": {}}])
def test_points_needs_points(groups: dict) -> None:
    with pytest.raises(ValueError, match="points needs one or more in each group"):
        points(groups, x="kB", y="loss")
