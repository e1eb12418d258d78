"""The figures of lab 10: an image that is moved, and the loss around one."""

from __future__ import annotations

import numpy as np
import pytest

from ddml_kit.adversarial import Surface
from ddml_kit.notebook import moved, terrain
from ddml_kit.notebook.figures import style


def test_an_image_is_drawn_with_its_change_and_said_in_words() -> None:
    image = np.array([[0.0, 1.0], [0.5, 0.25]])
    after = image + np.array([[0.1, -0.2], [0.0, 0.0]])
    chances = [np.array([0.9, 0.1]), np.array([0.25, 0.75])]
    figure = moved(image, after, chances, names=["cat", "dog"], label=0, badge="simulated")
    pictures, bars = figure.plot.data[:3], figure.plot.data[3:]
    np.testing.assert_allclose(pictures[0].z, image)
    np.testing.assert_allclose(pictures[1].z, [[0.1, -0.2], [0, 0]])
    np.testing.assert_allclose(pictures[2].z, after)
    np.testing.assert_allclose(bars[1].y, [25, 75])
    titles = [note.text for note in figure.plot.layout.annotations]
    assert titles == ["read as cat (90%)", "what is added", "read as dog (75%)"]
    assert repr(figure) == (
        "simulated: An image of a cat, read as cat (90%). No pixel moved by more than 0.2, it is "
        "read as dog (75%)."
    )
    with pytest.raises(ValueError, match=r"two pictures of one size, got \(2, 2\), \(2, 1\)"):
        moved(image, after[:, :1], chances, names=["cat", "dog"], label=0)


def surface(steep: float) -> Surface:
    """A loss that rises along the first direction, the rows; read wrong in the last two of five."""
    at = np.linspace(-0.2, 0.2, 5)
    losses = np.repeat(steep * (1 + np.arange(5.0))[:, None], 5, axis=1)
    verdicts = np.repeat(np.array([3, 3, 3, 8, 8])[:, None], 5, axis=1)
    return Surface(at, losses, verdicts)


def test_terrain_has_the_first_direction_on_the_axis_below_and_one_scale_for_all() -> None:
    names = ("along the gradient", "loss")
    maps = {"steep": surface(1.0), "flat": surface(0.0)}
    figure = terrain(maps, label=3, eps=0.1, names=names, y="at random")
    heat = [trace for trace in figure.plot.data if trace.type == "heatmap"]
    assert {(h.zmin, h.zmax) for h in heat} == {(-4.0, 2.0)}
    np.testing.assert_allclose(heat[0].z[0], np.round(np.log10([1, 2, 3, 4, 5]), 2))
    np.testing.assert_allclose(heat[1].z, -4.0)  # a loss of 0 has the lowest colour
    assert sum(trace.type == "contour" for trace in figure.plot.data) == 2
    assert figure.plot.layout.xaxis.title.text == "along the gradient"
    assert repr(figure) == (
        "loss by along the gradient and at random. steep: loss 3 at the image, at most 4 in the "
        "square around it; 60% of the map is read right. flat: loss 0 at the image, at most 0 in "
        "the square around it; 60% of the map is read right."
    )


def test_no_line_is_drawn_where_all_is_read_alike() -> None:
    one = surface(1.0)
    alike = Surface(one.at, one.losses, np.full_like(one.verdicts, 3))
    figure = terrain({"it": alike}, label=3, eps=0.1, names=("a", "loss"), y="b")
    assert not [trace for trace in figure.plot.data if trace.type == "contour"]
    assert figure.plot.layout.shapes[0].line.color == style.BLACK
    with pytest.raises(ValueError, match="a surface or more"):
        terrain({}, label=3, eps=0.1, names=("a", "loss"), y="b")
