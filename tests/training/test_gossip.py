"""Gossip over a cluster: each program against its matrix form, its bytes, and what it refuses."""

from __future__ import annotations

import itertools
from functools import partial

import numpy as np
import pytest

from ddml_kit.cluster import RankFailed, Simulated
from ddml_kit.compression import QSGD, Sign, TopK
from ddml_kit.topologies import (
    complete,
    exponential,
    metropolis,
    ring,
    social_network,
    spectral_gap,
    star,
    torus,
)
from ddml_kit.topologies.consensus import (
    choco_step,
    distance,
    exact_step,
    q1_step,
    q2_step,
)
from ddml_kit.training.gossip import choco_gossip, choco_gossip_lean, gossip, naive_gossip, q1, q2
from tests.clusters import CLUSTERS, SIZES
from tests.codecs import by_row

CODECS = [Sign(), TopK(3), QSGD(8)]


def rows(n, d, dtype=np.float64):
    return np.random.default_rng(n).standard_normal((n, d)).astype(dtype)


def apart(run):
    return distance(np.array(run.results))


@pytest.mark.parametrize("size", SIZES)
def test_the_same_bits_on_every_cluster(size):
    X, W = rows(size, 6), metropolis(ring(size))

    def program(comm):
        return [
            gossip(comm, X, W, steps=4),
            naive_gossip(comm, X, W, steps=4, codec=Sign()),
            choco_gossip(comm, X, W, steps=4, gamma=0.3, codec=QSGD(8)),
            choco_gossip_lean(comm, X[comm.rank], W, steps=4, gamma=0.3, codec=TopK(2)),
        ]

    runs = [cluster(size).run(program) for cluster in CLUSTERS]
    for a, b in itertools.pairwise(runs):
        np.testing.assert_array_equal(np.array(a.results), np.array(b.results), strict=True)
        assert a.bytes == b.bytes


@pytest.mark.parametrize(
    "graph", [ring(5), star(6), torus(3, 4), exponential(9), social_network()], ids=str
)
@pytest.mark.parametrize("gamma", [1.0, 0.4])
def test_exact_gossip_is_its_matrix_form(graph, gamma):
    X, W = rows(len(graph), 7), metropolis(graph)
    run = Simulated(len(graph)).run(gossip, X, W, steps=30, gamma=gamma)
    for _ in range(30):
        X = exact_step(X, W, gamma)
    np.testing.assert_allclose(np.array(run.results), X, rtol=0, atol=1e-12)


def test_exact_gossip_contracts_by_the_square_of_1_less_the_gap():
    W = metropolis(ring(8))
    values = np.linalg.eigh(W)
    slowest = values.eigenvectors[:, [-2]] @ np.ones((1, 3))
    before, after = (apart(Simulated(8).run(gossip, slowest, W, steps=steps)) for steps in (0, 1))
    assert after / before == pytest.approx((1 - spectral_gap(W)) ** 2, rel=1e-4)
    one = Simulated(6).run(gossip, rows(6, 3), metropolis(complete(6)), steps=1)
    assert apart(one) < 1e-30  # all talk to all: the mean at once


@pytest.mark.parametrize("codec", CODECS, ids=repr)
@pytest.mark.parametrize(("difference", "step"), [(q1, q1_step), (q2, q2_step)])
def test_naive_gossip_is_its_matrix_form(codec, difference, step):
    X, W = rows(6, 12), metropolis(ring(6))
    run = Simulated(6).run(
        naive_gossip, X, W, steps=20, codec=codec, difference=difference, gamma=0.3
    )
    Q = by_row(codec, 6)
    for _ in range(20):
        X = step(X, W, Q, 0.3)
    np.testing.assert_allclose(np.array(run.results), X, rtol=0, atol=1e-12)


@pytest.mark.parametrize("program", [choco_gossip, choco_gossip_lean])
@pytest.mark.parametrize("codec", CODECS, ids=repr)
@pytest.mark.parametrize("graph", [ring(6), star(5), social_network()], ids=str)
def test_choco_is_its_matrix_form(program, codec, graph):
    n = len(graph)
    X, W = rows(n, 12), metropolis(graph)
    run = Simulated(n).run(program, X, W, steps=25, gamma=0.2, codec=codec)
    state, Q = (X, np.zeros_like(X)), by_row(codec, n)
    for _ in range(25):
        state = choco_step(state, W, Q, 0.2)
    np.testing.assert_allclose(np.array(run.results), state[0], rtol=0, atol=1e-12)


@pytest.mark.parametrize(("codec", "gamma"), [(QSGD(256), 1.0), (TopK(0.01), 0.046)], ids=repr)
def test_on_the_papers_setting_the_program_is_the_matrix_form(codec, gamma):
    X, W = rows(25, 2000), metropolis(ring(25))
    X /= np.linalg.norm(X, axis=1, keepdims=True)
    run = Simulated(25).run(choco_gossip_lean, X, W, steps=10, gamma=gamma, codec=codec)
    state, Q = (X, np.zeros_like(X)), by_row(codec, 25)
    for _ in range(10):
        state = choco_step(state, W, Q, gamma)
    np.testing.assert_allclose(np.array(run.results), state[0], rtol=0, atol=1e-12)


@pytest.mark.parametrize("program", [choco_gossip, choco_gossip_lean])
def test_choco_falls_on_a_straight_line_where_naive_gossip_stalls(program):
    X, W = rows(5, 20), metropolis(ring(5))
    ours = Simulated(5).run(program, X, W, steps=200, gamma=0.3, codec=QSGD(8))
    k, logs = np.arange(20, 201), np.log(consensus(ours)[20:])
    line = np.polyfit(k, logs, 1)
    assert logs[-1] - logs[0] < -40
    assert np.abs(np.polyval(line, k) - logs).max() < 2
    for difference in (q1, q2):
        theirs = Simulated(5).run(
            naive_gossip, X, W, steps=200, gamma=0.3, codec=QSGD(8), difference=difference
        )
        assert consensus(theirs)[100:].min() > 1e-4


def consensus(run):
    """The consensus error after each step, from the snapshots, (steps + 1,)."""
    by_step = {}
    for snapshot in run.snapshots:
        by_step.setdefault(snapshot.step, []).append(snapshot.w)
    return np.array([distance(np.array(by_step[step])) for step in sorted(by_step)])


def test_bytes_are_those_of_the_payloads_between_neighbours():
    X, W, links, steps = rows(6, 40), metropolis(star(6)), 2 * 5, 3
    exact = Simulated(6).run(gossip, X, W, steps=steps)
    assert (exact.bytes, exact.messages) == (steps * links * 40 * 8, steps * links)
    for program in (choco_gossip, choco_gossip_lean, partial(naive_gossip)):
        run = Simulated(6).run(program, X, W, steps=steps, gamma=0.2, codec=Sign())
        assert run.bytes == steps * links * (40 // 8 + 4)


def test_weights_may_differ_by_direction_in_exact_gossip_only():
    one_way = (np.eye(5) + np.roll(np.eye(5), 1, axis=1)) / 2
    X = rows(5, 3)
    run = Simulated(5).run(gossip, X, one_way, steps=3)
    np.testing.assert_allclose(
        np.array(run.results), np.linalg.matrix_power(one_way, 3) @ X, atol=1e-14
    )
    assert run.messages == 3 * 5
    with pytest.raises(RankFailed, match="a mixing matrix must be symmetric here, got W"):
        Simulated(5).run(choco_gossip, X, one_way, steps=1, gamma=0.1, codec=Sign())


@pytest.mark.parametrize("program", [choco_gossip, choco_gossip_lean])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_vectors_keep_their_dtype_and_the_callers_stay_as_they_are(program, dtype):
    X = rows(3, 5, dtype)
    before, W = X.copy(), metropolis(ring(3))
    for run in (
        Simulated(3).run(gossip, X, W, steps=2),
        Simulated(3).run(naive_gossip, X, W, steps=2, codec=QSGD(8)),
        Simulated(3).run(program, X, W, steps=2, gamma=0.1, codec=QSGD(8)),
    ):
        assert {result.dtype for result in run.results} == {np.dtype(dtype)}
    np.testing.assert_array_equal(X, before)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"gamma": 0.0}, "gamma must be more than 0 and at most 1, got 0.0"),
        ({"gamma": 1.5}, "gamma must be more than 0 and at most 1, got 1.5"),
        ({"gamma": np.nan}, "gamma must be more than 0 and at most 1, got nan"),
        ({"steps": -1}, "steps must be 0 or more, got -1"),
        ({"steps": 2.5}, r"steps must be a whole number, got 2\.5"),
        ({"x": np.ones((4, 2))}, r"a row for each of 3 ranks, \(n, d\), got \(4, 2\)"),
        ({"x": np.ones((3, 2), int)}, "vectors of float32 or float64, got int64"),
        ({"W": metropolis(ring(4))}, r"\(n, n\) for n ranks, got \(4, 4\) for 3"),
        ({"W": np.eye(3)}, "must connect all ranks, got 3 parts"),
        ({"W": np.full((3, 3), 0.3)}, r"doubly stochastic, got row 0 that adds up to 0\.9"),
    ],
)
def test_what_gossip_refuses(change, sentence):
    call = {"x": np.ones((3, 2)), "W": metropolis(ring(3)), "steps": 1, "gamma": 0.5} | change
    with pytest.raises(RankFailed, match=sentence):
        Simulated(3).run(choco_gossip, codec=Sign(), **call)
    with pytest.raises(RankFailed, match=sentence):
        Simulated(3).run(gossip, **call)


PROGRAMS = {
    "exact": gossip,
    "naive": partial(naive_gossip, codec=Sign()),
    "choco": partial(choco_gossip, codec=Sign(), gamma=0.3),
    "choco_lean": partial(choco_gossip_lean, codec=Sign(), gamma=0.3),
}


@pytest.mark.parametrize("program", PROGRAMS.values(), ids=PROGRAMS)
@pytest.mark.parametrize("length", [1, 3])
def test_vectors_of_other_lengths_are_refused(program, length):
    def of_other_lengths(comm):
        return program(comm, np.ones(length if comm.rank else 4), metropolis(ring(2)), steps=1)

    run = Simulated(2, on_failure="continue").run(of_other_lengths)
    for rank, (mine, theirs) in enumerate([(4, length), (length, 4)]):
        assert (
            f"gossip needs vectors of one length, got {mine} values of rank {rank} and {theirs} of "
            f"rank {1 - rank}"
        ) in str(run.failures[rank])


@pytest.mark.parametrize("program", PROGRAMS.values(), ids=PROGRAMS)
def test_what_is_not_finite_does_not_spread(program):
    X = rows(3, 4)
    X[1, 2] = np.nan
    sentence = "gossip needs finite vectors, got 1 of 4 values of rank 1 that are NaN or infinite"
    with pytest.raises(RankFailed, match=sentence):
        Simulated(3).run(program, X, metropolis(ring(3)), steps=1)
