"""Two exercises of lab 07, decentralised learning: weights, and a step of CHOCO-Gossip."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import networkx as nx
import numpy as np

from ddml_kit.cluster.comm import Comm
from ddml_kit.cluster.simulated import Simulated
from ddml_kit.compression import Codec, TopK
from ddml_kit.notebook.check.exercise import Case, Exercise, Mutant, Observed
from ddml_kit.notebook.check.program import SEND_AND_RECV_ALONE
from ddml_kit.topologies.graphs import complete, ring, star
from ddml_kit.topologies.mixing import metropolis
from ddml_kit.training.gossip import choco_step

# ------------------------------------------------------------------------------------- weights

Neighbours = Sequence[Sequence[int]]


def metropolis_weights(neighbours: Neighbours) -> np.ndarray:
    graph: nx.Graph = nx.empty_graph(len(neighbours))
    graph.add_edges_from((i, j) for i, those in enumerate(neighbours) for j in those)
    return metropolis(graph)


def _observe_weights(answer: Callable[..., Any], case: Case) -> Observed:
    return Observed(answer(*case.arguments))


def _weights_case(graph: nx.Graph) -> Case:
    neighbours = [sorted(graph[i]) for i in range(len(graph))]
    return Case(f"neighbours = {neighbours}", (neighbours,))


def _drawn_graph(rng: np.random.Generator) -> Case:
    """A tree of six nodes, and two more links."""
    graph: nx.Graph = nx.empty_graph(6)
    graph.add_edges_from((i, int(rng.integers(i))) for i in range(1, 6))
    graph.add_edges_from(rng.choice(list(nx.non_edges(graph)), 2, replace=False).tolist())
    return _weights_case(graph)


def _stub_weights(neighbours: Neighbours) -> np.ndarray: ...  # type: ignore[empty-body]


def _weights_by(
    neighbours: Neighbours, weight: Callable[[int, int], float], rest: bool = True
) -> np.ndarray:
    """A matrix of weight(degree of i, degree of j); the rest on i itself."""
    W = np.zeros((len(neighbours), len(neighbours)))
    for i, those in enumerate(neighbours):
        for j in those:
            W[i, j] = weight(len(those), len(neighbours[j]))
        W[i, i] = 1 - W[i].sum() if rest else 0
    return W


def _each_its_own_mean(neighbours: Neighbours) -> np.ndarray:
    return _weights_by(neighbours, lambda own, other: 1 / (1 + own))


def _smaller_degree(neighbours: Neighbours) -> np.ndarray:
    return _weights_by(neighbours, lambda own, other: 1 / (1 + min(own, other)))


def _without_oneself(neighbours: Neighbours) -> np.ndarray:
    return _weights_by(neighbours, lambda own, other: 1 / max(own, other))


def _nothing_kept(neighbours: Neighbours) -> np.ndarray:
    return _weights_by(neighbours, lambda own, other: 1 / (1 + max(own, other)), rest=False)


def _one_for_all(neighbours: Neighbours) -> np.ndarray:
    return _weights_by(neighbours, lambda own, other: 1 / len(neighbours))


METROPOLIS_WEIGHTS = Exercise(
    name="metropolis_weights",
    question="What each worker gives to which, from who its neighbours are, (n, n).",
    reference=metropolis_weights,
    key=metropolis,
    key_says="It takes a graph of networkx; graph.edges are the pairs of neighbours.",
    stub=_stub_weights,
    cases=[_weights_case(complete(2)), _weights_case(star(3)), _weights_case(ring(5))],
    drawn=_drawn_graph,
    observe=_observe_weights,
    hints=[
        "Two neighbours give each other the same. Which of the two has less to give away?",
        "W[i, j] = 1 / (1 + the larger of the two numbers of neighbours), for neighbours i and j.",
        "What is left of 1 after all neighbours have had theirs, W[i, i], a worker keeps.",
    ],
    mutants=[
        Mutant(_each_its_own_mean, "neighbours = [[1, 2], [0], [0]]"),
        Mutant(_smaller_degree, "neighbours = [[1, 2], [0], [0]]"),
        Mutant(_without_oneself, "neighbours = [[1], [0]]"),
        Mutant(_nothing_kept, "neighbours = [[1], [0]]"),
        Mutant(_one_for_all, "neighbours = [[1, 4], "),
    ],
)

# ------------------------------------------------------------------------------- a step of CHOCO

STEPS = 3
GAMMA = 0.5
Hats = dict[int, np.ndarray]


def choco(
    comm: Comm, x: np.ndarray, x_hat: Hats, W: np.ndarray, gamma: float, codec: Codec
) -> np.ndarray:
    return choco_step(comm, x, x_hat, W, gamma, codec)


def _observe_steps(answer: Callable[..., Any], case: Case) -> Observed:
    """What the ranks have after each of a few steps, (steps, ranks, d), and what was sent."""
    vectors, W, gamma, codec = case.arguments

    def program(comm: Comm) -> list[Any]:
        x = vectors[comm.rank].copy()
        known = [j for j in range(comm.size) if W[comm.rank, j] or j == comm.rank]
        x_hat = {j: np.zeros_like(x) for j in known}
        after = []
        for _ in range(STEPS):
            x = answer(comm, x, x_hat, W, gamma, codec)
            after.append(np.array(x, float))
            x = after[-1].copy()
        return after

    run = Simulated(len(vectors)).run(program)
    value: Any = [list(step) for step in zip(*run.results, strict=True)]
    if all(x.shape == vectors[0].shape for step in value for x in step):
        value = np.array(value)
    return Observed(value, {"message": run.messages, "byte": run.bytes})


def _steps_case(graph: nx.Graph, vectors: Sequence[Sequence[float]], k: int) -> Case:
    W = metropolis(graph)
    rows = [f"x = {list(vector)} on rank {rank}" for rank, vector in enumerate(vectors)]
    weights = f"W = {np.round(W, 3).tolist()}, gamma = {GAMMA}, codec = TopK({k})"
    told = f"{STEPS} steps, {len(vectors)} ranks: after each step, the rank's x in a row each"
    shown = "\n".join([told, *rows, weights])
    return Case(shown, ([np.array(v, float) for v in vectors], W, GAMMA, TopK(k)))


def _drawn_steps(rng: np.random.Generator) -> Case:
    return _steps_case(ring(5), rng.integers(-9, 10, (5, 8)).tolist(), 2)


def _stub_choco(  # type: ignore[empty-body]
    comm: Comm, x: np.ndarray, x_hat: Hats, W: np.ndarray, gamma: float, codec: Codec
) -> np.ndarray: ...


def _step_with(
    comm: Comm,
    x: np.ndarray,
    x_hat: Hats,
    W: np.ndarray,
    gamma: float,
    codec: Codec,
    *,
    remembers: bool = True,
    adds: bool = True,
    whole: bool = False,
    first: bool = False,
    own: bool = True,
    exact_own: bool = False,
) -> np.ndarray:
    """A step with one thing or another done otherwise than it should be."""
    i = comm.rank
    news = codec.encode(x - x_hat[i] if remembers else x)
    for j in x_hat:
        if j != i:
            comm.send(codec.decode(news) if whole else news, j)
    arrived = {j: comm.recv(j).value for j in x_hat if j != i}
    told = {i: codec.decode(news)}
    told |= {j: value if whole else codec.decode(value) for j, value in arrived.items()}

    def mean(known: Hats) -> np.ndarray:
        mine = x if exact_own else known[i]
        return x + gamma * sum(W[i, j] * (known[j] - mine) for j in known)

    before = mean(x_hat)
    for j, q in told.items():
        if j != i or own:
            x_hat[j][:] = x_hat[j] + q if adds else q
    return before if first else mean(x_hat)


def _otherwise(name: str, **how: bool) -> Callable[..., np.ndarray]:
    """A step with something done otherwise, under a name of its own."""

    def answer(
        comm: Comm, x: np.ndarray, x_hat: Hats, W: np.ndarray, gamma: float, codec: Codec
    ) -> np.ndarray:
        return _step_with(comm, x, x_hat, W, gamma, codec, **how)

    answer.__name__ = name
    return answer


def _forgets_gamma(
    comm: Comm, x: np.ndarray, x_hat: Hats, W: np.ndarray, gamma: float, codec: Codec
) -> np.ndarray:
    return _step_with(comm, x, x_hat, W, 1.0, codec)


def _sends_x(
    comm: Comm, x: np.ndarray, x_hat: Hats, W: np.ndarray, gamma: float, codec: Codec
) -> np.ndarray:
    """All is right, but whole vectors travel and each works out the news of the others itself."""
    i = comm.rank
    for j in x_hat:
        if j != i:
            comm.send(x, j)
    theirs = {j: comm.recv(j).value if j != i else x for j in x_hat}
    for j, other in theirs.items():
        x_hat[j] += codec.decode(codec.encode(other - x_hat[j]))
    return x + gamma * sum(W[i, j] * (x_hat[j] - x_hat[i]) for j in x_hat)


def _to_everybody(
    comm: Comm, x: np.ndarray, x_hat: Hats, W: np.ndarray, gamma: float, codec: Codec
) -> np.ndarray:
    i, others = comm.rank, [r for r in range(comm.size) if r != comm.rank]
    news = codec.encode(x - x_hat[i])
    for j in others:
        comm.send(news, j)
    told = {i: news} | {j: comm.recv(j).value for j in others}
    for j in x_hat:
        x_hat[j] += codec.decode(told[j])
    return x + gamma * sum(W[i, j] * (x_hat[j] - x_hat[i]) for j in x_hat)


CHOCO_STEP = Exercise(
    name="choco_step",
    question="One step of CHOCO-Gossip: the news compressed, the copies brought up to date, "
    "the vector moved.",
    reference=choco,
    key=choco_step,
    stub=_stub_choco,
    cases=[
        _steps_case(complete(2), [[8.0, 0.0], [0.0, 4.0]], 1),
        _steps_case(star(3), [[9.0, 3.0], [0.0, 0.0], [0.0, -6.0]], 1),
        _steps_case(ring(4), [[8.0, 1.0, 0.0], [0.0, 4.0, 2.0], [0.0, 0.0, 0.0], [4.0, 0.0, 1.0]],
                    2),
    ],
    drawn=_drawn_steps,
    observe=_observe_steps,
    without=SEND_AND_RECV_ALONE,
    most={
        "message": "the vectors are right, but more messages travel than there are neighbours: the "
        "keys of x_hat are this rank and its neighbours",
        "byte": "the vectors are right, but more bytes travel than have to: send what "
        "codec.encode returns, and decode what arrives",
    },
    hints=[
        "Four things, in this order: encode what the others don't know yet; send it and receive "
        "theirs; bring all copies up to date, your own too; move x.",
        "news = codec.encode(x - x_hat[comm.rank]) is what to send, to all j in x_hat but "
        "yourself. Send to all first, then receive from all.",
        "x_hat[j] += codec.decode(...) for each j, with your own news for yourself. Then the sum "
        "of W[i, j] * (x_hat[j] - x_hat[i]) over j, times gamma, is added to x.",
    ],
    mutants=[
        Mutant(_otherwise("_without_hats", remembers=False, adds=False), "not the expected answer"),
        Mutant(_otherwise("_adds_up_x", remembers=False), "not the expected answer"),
        Mutant(_otherwise("_hats_replaced", adds=False), "not the expected answer"),
        Mutant(_otherwise("_moves_before_the_hats", first=True), "not the expected answer"),
        Mutant(_otherwise("_own_hat_forgotten", own=False), "not the expected answer"),
        Mutant(_otherwise("_away_from_x", exact_own=True), "not the expected answer"),
        Mutant(_forgets_gamma, "not the expected answer"),
        Mutant(_otherwise("_sends_it_decoded", whole=True), "send what codec.encode returns"),
        Mutant(_sends_x, "send what codec.encode returns"),
        Mutant(_to_everybody, "more messages travel than there are neighbours"),
    ],
)  # fmt: skip
