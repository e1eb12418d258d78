"""What weight a node gives to each of its neighbours: mixing matrices, and how fast they mix.

W is (n, n) float64; W[i, j] is the weight that node i gives to node j's vector, so W X is what all
have after a step. The mean stays if the columns add up to 1, a vector that all share stays if the
rows do, and both for a symmetric matrix. `metropolis` is from L. Xiao, S. Boyd, S.-J. Kim,
"Distributed average consensus with least-mean-square deviation", JPDC 67(1), 2007; the spectral
gap as what tells the speed from L. Xiao, S. Boyd, "Fast linear iterations for distributed
averaging", Systems & Control Letters 53(1), 2004; beta and the safe step size of CHOCO from A.
Koloskova, S. U. Stich, M. Jaggi, "Decentralized Stochastic Optimization and Gossip Algorithms with
Compressed Communication", ICML 2019, arXiv 1902.00340, definition 1 and theorem 2.

Two letters. Here, as in that paper, delta is the spectral gap and omega what a codec keeps:
|Q(x) - x|^2 <= (1 - omega) |x|^2. In the same authors' next paper, arXiv 1907.09356, whose rate is
O(1 / sqrt(n T) + n / (rho^4 delta^2 T)), rho is the gap and delta is what the codec keeps.
"""

from __future__ import annotations

import networkx as nx
import numpy as np
from scipy.sparse.csgraph import connected_components

CLOSE = 1e-9  # how far from 1 a sum of weights may be, and two weights from each other


def metropolis(graph: nx.Graph) -> np.ndarray:
    """W[i, j] = 1 / (1 + the larger degree of i and j) on links, the rest on i itself, (n, n).

    Symmetric and doubly stochastic on any graph, and each node need know its neighbours only.
    Links count once, however many there are between two nodes. Raises ValueError for a graph that
    is not connected or whose nodes are not 0 to n - 1, TypeError for what is none.
    """
    check_graph(graph)
    n = len(graph)
    W = np.zeros((n, n))
    links = [(i, j) for i, j in nx.Graph(graph).edges if i != j]  # of a multigraph, each once
    degree = np.bincount(np.array(links, np.int64).reshape(-1), minlength=n)
    for i, j in links:
        W[i, j] = W[j, i] = 1 / (1 + max(degree[i], degree[j]))
    np.fill_diagonal(W, 1 - W.sum(axis=1))
    return W


def check_graph(graph: nx.Graph) -> None:
    """Raises ValueError unless it is connected, its links go both ways, its nodes 0 to n - 1.

    Raises TypeError for what is no graph.
    """
    if not isinstance(graph, nx.Graph):
        raise TypeError(f"a topology is a networkx graph, got {type(graph).__name__}")
    if graph.is_directed():
        raise ValueError("a topology's links go both ways, got a directed graph")
    if set(graph) != set(range(len(graph))) or not len(graph):
        raise ValueError(
            f"a topology has nodes 0 to n - 1, got {len(graph)} nodes: {', '.join(map(str, graph))}"
        )
    parts = sorted(map(len, nx.connected_components(graph)), reverse=True)
    if len(parts) > 1:
        sizes = ", ".join(map(str, parts))
        raise ValueError(f"a topology must be connected, got {len(parts)} parts of {sizes} nodes")


def check_mixing(W: np.ndarray, *, size: int | None = None, symmetric: bool = True) -> None:
    """Raises ValueError unless W makes all agree on the mean, and TypeError if W is no array.

    It must be doubly stochastic and connected, some node must keep a part of its own (or vectors
    may swing for ever), and links must go both ways with the same weight, if symmetric.
    size: of the cluster, if it is to fit one.
    """
    _check_weights(W, "a mixing matrix", size)
    for axis, line in ((1, "row"), (0, "column")):
        sums = W.sum(axis=axis)
        worst = int(np.argmax(abs(sums - 1)))
        if abs(sums[worst] - 1) > CLOSE:
            raise ValueError(
                f"a mixing matrix is doubly stochastic, got {line} {worst} that adds up to "
                f"{sums[worst]:.6g}"
            )
    if symmetric:
        _check_symmetric(W, "a mixing matrix")
    _check_connected(W, "a mixing matrix")
    if len(W) > 1 and not np.diagonal(W).any() and spectral_gap(W) < CLOSE:
        raise ValueError(
            "a mixing matrix needs a spectral gap above 0, got 0: no node keeps a part of its own, "
            "and vectors swing to and fro"
        )


def check_similarity(W: np.ndarray, *, size: int | None = None) -> None:
    """Raises ValueError unless W, (n, n), says how much alike each two are: symmetric, connected.

    Rows need not add up to 1. size: of the cluster, if it is to fit one.
    """
    _check_weights(W, "a similarity", size)
    _check_symmetric(W, "a similarity")
    _check_connected(W, "a similarity")


def _check_weights(W: np.ndarray, what: str, size: int | None) -> None:
    if not isinstance(W, np.ndarray):
        raise TypeError(f"{what} is an array, got {type(W).__name__}")
    if W.ndim != 2 or W.shape[0] != W.shape[1] or not len(W):
        raise ValueError(f"{what} is (n, n), got {W.shape}")
    if size is not None and len(W) != size:
        raise ValueError(f"{what} is (n, n) for n ranks, got {W.shape} for {size}")
    if not (W.min() >= 0 and np.isfinite(W.max())):  # NaN is not, either
        raise ValueError(f"{what} has finite weights >= 0, got {W.min():g} to {W.max():g}")


def _check_symmetric(W: np.ndarray, what: str) -> None:
    apart = abs(W - W.T)
    apart[(W > 0) != (W.T > 0)] = np.inf  # a link one way only, however light: one would wait
    i, j = np.unravel_index(np.argmax(apart), W.shape)
    if apart[i, j] > CLOSE * W.max():
        raise ValueError(
            f"{what} must be symmetric here, got W[{i}, {j}] = {W[i, j]:.6g} and W[{j}, {i}] = "
            f"{W[j, i]:.6g}"
        )


def _check_connected(W: np.ndarray, what: str) -> None:
    parts, _ = connected_components(W > 0, connection="strong")
    if parts > 1:
        raise ValueError(f"{what} must connect all ranks, got {parts} parts")


def spectral_gap(W: np.ndarray) -> float:
    """delta = 1 - |lambda_2|, from 0 to 1: how fast W mixes; lambda_2 is second by size.

    A step of exact gossip leaves at most (1 - delta)^2 of the squared distance from the mean, if W
    is symmetric. If it is not, that is so in the long run; a single step leaves at most the square
    of the largest singular value of W without the mean, ||W - 11^T / n||_2, which may be 1.
    """
    n = len(W)
    rest = W - np.full((n, n), 1 / n)  # without the eigenvalue 1 of the mean
    symmetric = np.allclose(W, W.T, rtol=0, atol=CLOSE)
    values = np.linalg.eigvalsh(rest) if symmetric else np.linalg.eigvals(rest)
    return float(1 - abs(values).max())


def beta(W: np.ndarray) -> float:
    """||I - W||_2, the largest singular value, from 0 to 2."""
    return float(np.linalg.norm(np.eye(len(W)) - W, 2))


def choco_gamma(W: np.ndarray, omega: float) -> float:
    """The step size gamma with which CHOCO-Gossip surely converges (theorem 2).

    omega: what the codec keeps, more than 0 and at most 1; k / d for the top k of d. Each step then
    leaves at most 1 - delta^2 omega / 82 of the error; a larger gamma often does better.
    """
    if not 0 < omega <= 1:
        raise ValueError(f"omega must be more than 0 and at most 1, got {omega}")
    delta, b = spectral_gap(W), beta(W)
    below = 16 * delta + delta**2 + 4 * b**2 + 2 * delta * b**2 - 8 * delta * omega
    return delta**2 * omega / below
