"""Who talks to whom: graphs of n nodes, 0 to n - 1, whose edges are links both ways.

They are networkx's, so that any graph of that library will do in their place; one with other names
for its nodes by networkx.convert_node_labels_to_integers. Sources: `exponential` is the static
graph of B. Ying, K. Yuan, Y. Chen, H. Hu, P. Pan, W. Yin, "Exponential Graph is Provably Efficient
for Decentralized Deep Training", NeurIPS 2021, arXiv 2110.13363, with every link used both ways;
`social_network` is from A. Davis, B. B. Gardner, M. R. Gardner, "Deep South", 1941, as in A.
Koloskova, T. Lin, S. U. Stich, M. Jaggi, "Decentralized Deep Learning with Arbitrary Communication
Compression", ICLR 2020, arXiv 1907.09356.
"""

from __future__ import annotations

from collections.abc import Callable

import networkx as nx

Topology = Callable[[int], nx.Graph]  # of so many nodes


def ring(n: int) -> nx.Graph:
    """A circle: every node has a neighbour on its left and one on its right."""
    check_size("a ring", n)
    return nx.circulant_graph(n, [1]) if n > 1 else nx.empty_graph(1)


def torus(rows: int, columns: int) -> nx.Graph:
    """A grid whose edges are glued together; node r columns + c lies in row r and column c."""
    check_size("a row of a torus", columns)
    check_size("a column of a torus", rows)
    grid = nx.grid_2d_graph(rows, columns, periodic=True)
    return nx.convert_node_labels_to_integers(grid)


def star(n: int) -> nx.Graph:
    """Node 0 is linked to all others, which have no other link: a server, in the end."""
    check_size("a star", n)
    return nx.star_graph(n - 1)


def complete(n: int) -> nx.Graph:
    """All are linked to all."""
    check_size("a complete graph", n)
    return nx.complete_graph(n)


def exponential(n: int) -> nx.Graph:
    """Node i is linked to i + 1, i + 2, i + 4, ..., modulo n: about 2 log2(n) links a node."""
    check_size("an exponential graph", n)
    steps = [1 << k for k in range((n - 1).bit_length())]
    return nx.circulant_graph(n, steps) if n > 1 else nx.empty_graph(1)


def social_network() -> nx.Graph:
    """32 nodes: 18 women of a town, and the 14 gatherings to which they went, 89 links.

    Each node has a `name`. A gathering is linked to those who came, so women meet there only.
    """
    return nx.convert_node_labels_to_integers(
        nx.davis_southern_women_graph(), label_attribute="name"
    )


def check_size(what: str, n: int) -> None:
    """Raises ValueError unless there is a node."""
    if n < 1:
        raise ValueError(f"{what} needs 1 node or more, got {n}")
