"""Mixing matrices: what makes all agree on the mean, how fast, and what won't do."""

from __future__ import annotations

import itertools
import math
from itertools import islice

import networkx as nx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ddml_kit.topologies import (
    beta,
    check_mixing,
    check_similarity,
    choco_gamma,
    complete,
    exponential,
    metropolis,
    ring,
    social_network,
    spectral_gap,
    star,
    torus,
)
from ddml_kit.topologies.consensus import distance, exact, exact_step


@st.composite
def graphs(draw):
    """A connected graph: a random tree and more links."""
    n = draw(st.integers(1, 12))
    graph = nx.empty_graph(n)
    graph.add_edges_from((i, draw(st.integers(0, i - 1))) for i in range(1, n))
    nodes = st.integers(0, n - 1)
    graph.add_edges_from(draw(st.lists(st.tuples(nodes, nodes), max_size=10)))  # loops as well
    return graph


@given(graphs())
def test_metropolis_weights_are_symmetric_doubly_stochastic_and_on_links_only(graph):
    W = metropolis(graph)
    check_mixing(W, size=len(graph))
    np.testing.assert_array_equal(W, W.T)
    np.testing.assert_allclose(W.sum(axis=0), 1, atol=1e-12)
    assert (np.diagonal(W) > 0).all()
    links = nx.to_numpy_array(graph) > 0
    np.fill_diagonal(links, True)
    np.testing.assert_array_equal(W > 0, links)
    assert 0 < spectral_gap(W) <= 1 + 1e-12


def test_metropolis_weights_are_those_of_the_formula():
    np.testing.assert_allclose(metropolis(star(3)), np.array([[1, 1, 1], [1, 2, 0], [1, 0, 2]]) / 3)
    np.testing.assert_allclose(metropolis(complete(5)), np.full((5, 5), 0.2))


@pytest.mark.parametrize("n", [2, 3, 5, 16, 25])
def test_the_gap_of_a_ring_is_known(n):
    weight = 1 / 3 if n > 2 else 1 / 2
    eigenvalues = [1 - 2 * weight * (1 - math.cos(2 * math.pi * k / n)) for k in range(1, n)]
    if n == 2:
        eigenvalues = [0.0]
    expected = 1 - max(map(abs, eigenvalues))
    assert spectral_gap(metropolis(ring(n))) == pytest.approx(expected, abs=1e-12)


def test_gaps_are_in_the_order_that_one_expects():
    gaps = [
        spectral_gap(metropolis(graph))
        for graph in (ring(16), star(16), torus(4, 4), exponential(16), complete(16))
    ]
    assert gaps[0] < gaps[2] < gaps[3] < gaps[4] == pytest.approx(1)
    assert gaps[1] == pytest.approx(1 / 16)  # a leaf keeps 15/16 of its own
    assert spectral_gap(metropolis(social_network())) == pytest.approx(0.0821, abs=1e-4)


def test_the_gap_of_a_matrix_that_is_not_symmetric():
    one_way = (np.eye(4) + np.roll(np.eye(4), 1, axis=1)) / 2
    check_mixing(one_way, symmetric=False)
    assert spectral_gap(one_way) == pytest.approx(1 - math.sqrt(0.5))


def test_a_step_may_leave_more_than_the_gap_says_where_w_is_not_normal():
    """The gap tells the long run; the largest singular value without the mean bounds a step."""
    W = np.array([[0, 1, 0, 1], [0, 1, 1, 0], [1, 0, 0, 1], [1, 0, 1, 0]]) / 2
    check_mixing(W, symmetric=False)
    rest = W - 0.25
    bound = np.linalg.norm(rest, 2)
    worst = np.linalg.svd(rest)[2][0][:, None]
    share = distance(exact_step(worst, W)) / distance(worst)
    assert share == pytest.approx(bound**2)
    assert share > 1.9 * (1 - spectral_gap(W)) ** 2
    X = np.random.default_rng(0).standard_normal((4, 3))
    after = [distance(X) for X in islice(exact(X, W), 21)]
    assert all(b <= a * bound**2 * (1 + 1e-9) for a, b in itertools.pairwise(after))
    assert after[20] / after[19] == pytest.approx((1 - spectral_gap(W)) ** 2, rel=1e-3)


def test_beta_and_the_safe_step_are_those_of_theorem_2():
    W = metropolis(ring(25))
    b = 2 / 3 * (1 + math.cos(math.pi / 25))
    d, w = spectral_gap(W), 0.01
    assert beta(W) == pytest.approx(b)
    expected = d**2 * w / (16 * d + d**2 + 4 * b**2 + 2 * d * b**2 - 8 * d * w)
    assert choco_gamma(W, w) == pytest.approx(expected)
    for omega in (0.0, 1.5, math.nan):
        with pytest.raises(ValueError, match=f"omega must be more than 0 and .* 1, got {omega}"):
            choco_gamma(W, omega)


@pytest.mark.parametrize("symmetric", [True, False])
def test_nobody_need_keep_a_part_of_its_own_where_vectors_do_not_swing(symmetric):
    W = (np.ones((3, 3)) - np.eye(3)) / 2
    check_mixing(W, symmetric=symmetric)
    assert spectral_gap(W) == pytest.approx(0.5)


def test_links_of_a_multigraph_count_once():
    twice = nx.MultiGraph([(0, 1), (0, 1), (1, 2), (2, 2)])
    np.testing.assert_array_equal(metropolis(twice), metropolis(nx.path_graph(3)))


def test_a_topology_is_a_graph():
    with pytest.raises(TypeError, match="a topology is a networkx graph, got ndarray"):
        metropolis(np.eye(3))


APART = np.kron(np.eye(2), np.full((2, 2), 0.5))


@pytest.mark.parametrize(
    ("W", "sentence"),
    [
        (np.ones((2, 3)) / 3, r"\(n, n\), got \(2, 3\)"),
        (np.eye(3) * 2 - 1 / 3, r"has finite weights >= 0, got -0.333333 to 1.66667"),
        (np.full((2, 2), np.nan), r"finite weights >= 0, got nan to nan"),
        (np.array([[0.5, 0.4], [0.5, 0.6]]), r"stochastic, got row [01] that adds up to"),
        (np.array([[0.5, 0.5], [0.6, 0.4]]), r"stochastic, got column [01] that adds up to"),
        (APART, "must connect all ranks, got 2 parts"),
        (np.array([[0.0, 1.0], [1.0, 0.0]]), "needs a spectral gap above 0, got 0"),
        (
            (np.eye(3) + np.roll(np.eye(3), 1, axis=1)) / 2,
            r"symmetric here, got W\[\d, \d\] = 0\.?5? and W\[\d, \d\] = 0\.?5?",
        ),
    ],
)
def test_what_does_not_mix_is_refused(W, sentence):
    with pytest.raises(ValueError, match=sentence):
        check_mixing(W)


def test_a_matrix_must_fit_the_cluster_and_be_one():
    with pytest.raises(ValueError, match=r"\(n, n\) for n ranks, got \(3, 3\) for 4"):
        check_mixing(metropolis(ring(3)), size=4)
    with pytest.raises(TypeError, match="a mixing matrix is an array, got Graph"):
        check_mixing(ring(3))


def test_alikeness_need_not_add_up_to_1():
    alike = np.array([[0.0, 3.0, 0.0], [3.0, 0.0, 1.0], [0.0, 1.0, 0.0]])
    check_similarity(alike, size=3)
    with pytest.raises(ValueError, match="a similarity must connect all ranks, got 2 parts"):
        check_similarity(APART)
    with pytest.raises(ValueError, match=r"a similarity must be symmetric here, got W\[0, 1\] = 3"):
        check_similarity(np.triu(alike))
    nearly = np.array([[1.0, 1 - 1e-12], [1.0, 1.0]])
    check_similarity(nearly)


@pytest.mark.parametrize(
    ("graph", "sentence"),
    [
        (nx.DiGraph([(0, 1), (1, 0)]), "links go both ways, got a directed graph"),
        (nx.Graph([("a", "b")]), "has nodes 0 to n - 1, got 2 nodes: a, b"),
        (nx.empty_graph(0), "has nodes 0 to n - 1, got 0 nodes"),
        (nx.Graph([(0, 1), (1, 2), (3, 4)]), "must be connected, got 2 parts of 3, 2 nodes"),
    ],
)
def test_graphs_that_are_no_topology(graph, sentence):
    with pytest.raises(ValueError, match=sentence):
        metropolis(graph)
