"""Topologies: the nodes and links that their names promise."""

from __future__ import annotations

import networkx as nx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ddml_kit.topologies import complete, exponential, ring, social_network, star, torus

OF_ANY_SIZE = [ring, star, complete, exponential]


@pytest.mark.parametrize("topology", OF_ANY_SIZE)
@given(n=st.integers(1, 40))
def test_nodes_are_numbered_connected_and_not_linked_to_themselves(topology, n):
    graph = topology(n)
    assert list(graph) == list(range(n))
    assert nx.is_connected(graph)
    assert nx.number_of_selfloops(graph) == 0


@given(rows=st.integers(1, 7), columns=st.integers(1, 7))
def test_a_torus_is_a_ring_of_rings(rows, columns):
    expected = nx.cartesian_product(ring(rows), ring(columns))
    numbered = nx.relabel_nodes(expected, {(r, c): r * columns + c for r, c in expected})
    assert nx.utils.graphs_equal(torus(rows, columns), numbered)


@pytest.mark.parametrize(
    ("graph", "degrees"),
    [
        (ring(2), {1}),
        (ring(7), {2}),
        (torus(5, 5), {4}),
        (complete(6), {5}),
        (star(6), {5, 1}),
        (exponential(16), {7}),  # 1, 2, 4 both ways, and 8, which is the same both ways
        (exponential(17), {8}),  # +-1, +-2, +-4, +-8; 16 is -1
    ],
)
def test_each_node_has_so_many_links(graph, degrees):
    assert {degree for _, degree in graph.degree} == degrees


def test_the_social_network_has_women_and_gatherings():
    graph = social_network()
    assert (len(graph), graph.number_of_edges()) == (32, 89)
    assert list(graph) == list(range(32))
    assert nx.is_bipartite(graph)
    assert graph.nodes[0]["name"] == "Evelyn Jefferson"
    degrees = np.array([degree for _, degree in graph.degree])
    assert degrees.max() == 14  # the gathering to which most came
    assert degrees.min() == 2


@pytest.mark.parametrize("topology", OF_ANY_SIZE)
def test_no_nodes_is_an_error(topology):
    with pytest.raises(ValueError, match="needs 1 node or more, got 0"):
        topology(0)


def test_no_rows_is_an_error():
    with pytest.raises(ValueError, match="a column of a torus needs 1 node or more, got 0"):
        torus(0, 3)
