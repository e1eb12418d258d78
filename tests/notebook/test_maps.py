"""Figures of paths, of small pictures and of neurons: what is drawn, and what they say."""

from __future__ import annotations

import base64

import numpy as np
import pytest

from ddml_kit.notebook import landscape, neurons, tiles
from ddml_kit.notebook.figures import style
from ddml_kit.problems.surfaces import Map, bowl, saddle, survey

PATH = np.array([[-8.0, 2.0], [-4.0, 1.0], [-3.0, 4.0]])


@pytest.fixture(scope="module")
def plane() -> Map:
    surface = bowl(25)
    return survey(surface, surface.shape.x, surface.shape.y, 11)


def decoded(values) -> np.ndarray:
    if isinstance(values, dict):
        return np.frombuffer(base64.b64decode(values["bdata"]), values["dtype"])
    return np.asarray(values)


def test_paths_lie_over_the_ground(plane: Map) -> None:
    figure = landscape(plane, {"one": PATH, "two": PATH[:1]}, minima=[(0, 0)], badge="simulated")
    ground, one, two, minimum = figure.data()["data"]
    np.testing.assert_allclose(decoded(one["x"]), PATH[:, 0])
    np.testing.assert_allclose(decoded(one["y"]), PATH[:, 1])
    assert (one["name"], two["name"], minimum["name"]) == ("one", "two", "minimum")
    assert one["line"]["color"] == style.SERIES[0] != two["line"]["color"]
    z = decoded(ground["z"]).reshape(11, 11)
    assert np.unravel_index(z.argmin(), z.shape) == (5, 5)
    assert z[0, 5] > z[5, 0]  # steeper across than along
    assert repr(figure) == (
        "simulated: one: from (-8, 2) to (-3, 4), 5 from the minimum. "
        "two: at (-8, 2), 8.25 from the minimum."
    )


def test_a_path_that_leaves_the_plane_does_not_take_the_axes_along(plane: Map) -> None:
    far = np.array([[0.0, 0.0], [1e300, -1e200]])
    with np.errstate(all="raise"):
        figure = landscape(plane, {"far": far})
    layout = figure.data()["layout"]
    assert layout["xaxis"]["range"] == [plane.x[0], plane.x[-1]]
    assert np.isfinite(decoded(figure.data()["data"][1]["x"])).all()


def test_the_nearest_of_several_minima_counts() -> None:
    surface = saddle()
    ground = survey(surface, surface.shape.x, surface.shape.y, 5)
    figure = landscape(ground, {"one": np.array([[0.0, -0.5]])}, minima=surface.shape.minima)
    assert "0.5 from the nearest minimum" in repr(figure)
    assert figure.data()["data"][-1]["name"] == "minima"


def test_looks_are_those_of_the_curves(plane: Map) -> None:
    look = {"color": style.PURPLE, "dash": "dash"}
    figure = landscape(plane, {"one": PATH}, looks=[look])
    line = figure.data()["data"][1]["line"]
    assert (line["color"], line["dash"]) == (style.PURPLE, "dash")


def test_tiles_have_a_row_s_own_scale_and_say_its_range() -> None:
    small, large = np.array([[[0.0, 0.1], [-0.05, 0.0]]]), np.full((2, 3, 3), 4.0)
    figure = tiles([("small", small), ("large", large)], titles=["a", "b"], badge="simulated")
    data = figure.data()["data"]
    assert len(data) == 3
    assert decoded(data[0]["z"]).tolist() == [0, 127, -64, 0]
    assert set(decoded(data[1]["z"]).tolist()) == {127}
    assert repr(figure) == (
        "simulated: small: 1 picture of 2 × 2, from -0.05 to 0.1. "
        "large: 2 pictures of 3 × 3, from 4 to 4."
    )
    blank = tiles([("zeros", np.zeros((1, 2, 2)))]).data()["data"][0]
    assert set(decoded(blank["z"]).tolist()) == {0}
    with pytest.raises(ValueError, match="tiles needs rows of pictures"):
        tiles([("flat", np.zeros((2, 2)))])
    with pytest.raises(ValueError, match="tiles needs rows of pictures"):
        tiles([])


def test_neurons_are_drawn_each_beside_the_answer() -> None:
    answer = np.linspace(0, 1, 16).reshape(4, 4)
    layers = [np.zeros((8, 4, 4)), -np.ones((4, 4, 4))]
    points = np.array([[0.0, 0.5], [0.1, -0.2], [0.3, 0.3]])
    figure = neurons(answer, layers, points, np.array([0, 1, 1]), caption="somewhere")
    data = figure.data()["data"]
    heatmaps = [trace for trace in data if trace["type"] == "heatmap"]
    assert len(heatmaps) == 1 + 8 + 4
    assert decoded(heatmaps[0]["z"])[[0, -1]].tolist() == [-127, 127]
    assert set(decoded(heatmaps[-1]["z"]).tolist()) == {-127}
    marks = [trace for trace in data if trace["type"] == "scatter"]
    assert [len(decoded(trace["x"])) for trace in marks] == [1, 2]
    axes = {trace["xaxis"] for trace in heatmaps[1:]}
    assert len(axes) == 12
    assert repr(figure) == (
        "somewhere: The network answers class 1 on 50% of the plane; so are 67% of 3 points."
    )
