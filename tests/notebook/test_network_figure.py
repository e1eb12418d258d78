"""The figure of a network whose nodes have colours."""

from __future__ import annotations

import numpy as np
import pytest

from ddml_kit.notebook import network
from ddml_kit.topologies import ring, star


def test_each_frame_has_the_network_in_its_own_colours() -> None:
    figure = network(ring(4), {"before": [1, 0.1, 0.01, 1e-9], "after": [0, 0, 0, 0]})
    links, nodes, _, later = figure.plot.data
    assert len(links.x) == 3 * 4
    np.testing.assert_allclose(nodes.marker.color, [6, 5, 4, 0])
    np.testing.assert_allclose(later.marker.color, 0)
    assert nodes.xaxis != later.xaxis
    assert [bool(n.marker.showscale) for n in (nodes, later)] == [False, True]
    assert repr(figure) == (
        "4 nodes, 4 links. before: distance from the mean from 1e-09 to 1, at node 0. "
        "after: distance from the mean 0 at each."
    )


def test_a_node_that_was_not_heard_of_is_pale_and_has_no_words() -> None:
    figure = network(star(4), {"": [1.0, np.nan, 0.5]}, figure="error")
    assert figure.plot.data[1].marker.opacity == (1.0, 0.3, 1.0, 0.3)
    assert repr(figure) == "4 nodes, 3 links. error from 0.5 to 1, at node 0."


def test_the_scale_of_colours_may_be_shorter() -> None:
    nodes = network(ring(3), {"": [100, 1, 0.01]}, most=10, least=0.1).plot.data[1]
    np.testing.assert_allclose(nodes.marker.color, [2, 1, 0])
    assert nodes.marker.colorbar.ticktext == ("0.1", "1", "10")
    with pytest.raises(ValueError, match="0 < least < most, got 1 and 1"):
        network(ring(3), {"": [1, 1, 1]}, least=1)


def test_places_are_fitted_into_the_picture() -> None:
    figure = network(ring(3), {"": [1, 1, 1]}, places={0: (10, 10), 1: (30, 10), 2: (20, 14)})
    nodes = figure.plot.data[1]
    np.testing.assert_allclose(nodes.x, [-1, 1, 0])
    np.testing.assert_allclose(nodes.y, [-0.2, -0.2, 0.2])


def test_the_middle_of_a_star_is_in_the_middle() -> None:
    nodes = network(star(5), {"": [1] * 5}).plot.data[1]
    np.testing.assert_allclose(nodes.x, [0, 0, 1, 0, -1], atol=1e-4)
    np.testing.assert_allclose(nodes.y, [0, 1, 0, -1, 0], atol=1e-4)
    alone = network(star(1), {"": [0]}).plot.data[1]
    assert len(alone.x) == 1


def test_more_values_than_nodes_are_refused() -> None:
    with pytest.raises(ValueError, match="a value for each of 3 nodes"):
        network(ring(3), {"": [1, 2, 3, 4]})
