"""The exercises of lab 04: other right answers, what a ring may cost, clusters that are drawn."""

from __future__ import annotations

import math

import numpy as np
import pytest

from ddml_kit.cluster import Network
from ddml_kit.collectives import all_gather, cost, halving_doubling, reduce_scatter
from ddml_kit.notebook import check
from ddml_kit.notebook.check import lab04_choice
from ddml_kit.notebook.check.exercise import Exercise
from ddml_kit.notebook.check.judge import judge, observed

RING: Exercise = check.round_a_ring.exercise
HALVING: Exercise = check.halving.exercise
CHOICE: Exercise = check.fastest_way.exercise
RIGHT = "right on {} cases, at the right cost"


def by_hand(comm, x, turn=1, ahead=0):
    """A ring to the right (turn = 1) or to the left (-1), beginning with chunk rank + ahead."""
    n, rank = comm.size, comm.rank
    chunks = [chunk.copy() for chunk in np.array_split(x, n)]
    for phase in (0, 1):
        for step in range(n - 1):
            mine = rank + ahead + turn * (phase - step)
            comm.send(chunks[mine % n], (rank + turn) % n)
            came = comm.recv((rank - turn) % n).value
            into = (mine - turn) % n
            chunks[into] = came if phase else chunks[into] + came
    return np.concatenate(chunks)


def halved_to_the_next(comm, x):
    """Halving in which rank r gives to r + d and gets from r - d: other ways, the same parts."""
    for distance in [2**k for k in range(int(math.log2(comm.size)))]:
        halves = np.array_split(x, 2)
        keeps = bool(comm.rank & distance)
        comm.send(halves[not keeps], (comm.rank + distance) % comm.size)
        x = halves[keeps] + comm.recv((comm.rank - distance) % comm.size).value
    return x


def chosen(n, nbytes, network):
    """As a learner writes it who reads the tables of the lab."""
    a, b = network.latency, network.bandwidth
    far, slow = a, b
    if network.racks > 1:
        far, slow = a + network.uplink_latency, min(b, network.uplink_bandwidth)
    racks, m, p = network.racks, n // network.racks, 2 ** int(math.log2(n))
    rounds = math.ceil(math.log2(n))
    beyond = 2 * (far + nbytes / slow) if p < n else 0
    times = {
        "master_worker": 2 * far + 2 * (n - 1) * nbytes / slow,
        "tree": 2 * rounds * (far + nbytes / slow),
        "ring": 2 * (n - 1) * (far + nbytes / n / slow),
        "halving_doubling": 2 * math.log2(p) * far + 2 * (p - 1) / p * nbytes / slow + beyond,
        "hierarchical": 2 * (m - 1) * (a + nbytes / m / b)
        + 2 * (racks - 1) * (far + nbytes / racks / slow),
    }
    return min(times, key=times.get)


@pytest.mark.parametrize("turn", [1, -1])
@pytest.mark.parametrize("ahead", [0, 1, 2])
def test_a_ring_may_turn_either_way_and_begin_with_any_chunk(turn: int, ahead: int) -> None:
    verdict = judge(RING, lambda comm, x: by_hand(comm, x, turn, ahead))
    assert verdict.sentence == RIGHT.format(6)


def test_chunks_may_be_cut_otherwise() -> None:
    def longer_at_the_end(comm, x):
        return by_hand(comm, x[::-1])[::-1]

    assert judge(RING, longer_at_the_end).sentence == RIGHT.format(6)


def test_a_ring_is_observed_by_what_it_costs() -> None:
    case = RING.cases[3]  # 3 ranks, 5 numbers in chunks of 2, 2 and 1
    cost_of = observed(RING, by_hand, case).cost
    assert cost_of["byte"] == 2 * 2 * 5 * 8
    assert cost_of["byte from the busiest rank"] == (2 * 5 - 1 - 2) * 8
    assert (cost_of["message"], cost_of["step"]) == (12, 4)
    assert cost_of["message as long as the vector"] == 0


@pytest.mark.parametrize(
    "answer",
    [
        lambda comm, x: all_gather(comm, reduce_scatter(comm, x)),
        halving_doubling,
        lambda comm, x: halving_doubling(comm, x),
    ],
)
def test_the_collectives_of_the_library_are_refused(answer) -> None:
    verdict = judge(RING, answer)
    assert verdict.state == "refused"
    assert "which is the library's own" in verdict.sentence


def test_halving_by_other_ways() -> None:
    assert judge(HALVING, halved_to_the_next).sentence == RIGHT.format(5)


@pytest.mark.parametrize("seed", range(8))
def test_the_formulas_choose_well_on_drawn_clusters(seed: int) -> None:
    assert judge(CHOICE, chosen, seed)


def test_drawn_clusters_are_of_all_kinds() -> None:
    clusters = [c for seed in range(4) for c in CHOICE.drawn(np.random.default_rng(seed)).arguments]
    assert {network.racks > 1 for _, _, network in clusters} == {True, False}
    fastest = {min(taken, key=taken.get) for taken in (lab04_choice.seconds(*c) for c in clusters)}
    assert len(fastest) >= 4
    for name in lab04_choice.BY_NAME:  # none of them is always good
        assert not judge(CHOICE, lambda n, nbytes, network, name=name: name)


def test_a_choice_that_is_a_quarter_longer_will_do() -> None:
    def ring_for_halving(n, nbytes, network):
        best = chosen(n, nbytes, network)
        taken = lab04_choice.seconds(n, nbytes, network)
        return "ring" if taken["ring"] < lab04_choice.LOSS * taken[best] else best

    assert judge(CHOICE, ring_for_halving)


def test_fewer_bytes_on_slower_links_take_as_long() -> None:
    network = Network(latency=1e-4, bandwidth=1e8)
    taken = lab04_choice.seconds(8, 1_000_000, network)
    for name in ("tree", "ring", "halving_doubling", "master_worker"):
        assert taken[name] == pytest.approx(cost.SECONDS[name](8, 1_000_000, network))


def test_an_answer_that_fails_on_a_drawn_cluster_is_shown_which() -> None:
    fixed = {case.arguments[0] for case in CHOICE.cases}

    def by_heart(n, nbytes, network):
        known = (n, nbytes, network) in fixed
        return chosen(n, nbytes, network) if known else "master_worker"

    verdict = judge(CHOICE, by_heart, seed=0)
    assert verdict.details["input"] == "10 clusters, drawn"
    assert verdict.details["got"].startswith("n = ")
    assert "\nNetwork(latency=" in verdict.details["got"]
    assert "\nmaster_worker, which takes " in verdict.details["got"]


def test_the_last_hint_has_the_formulas_and_the_rounds_of_the_ring() -> None:
    for name in ("fastest", *(formula.__name__ for formula in cost.SECONDS.values())):
        assert f"def {name}(" in CHOICE.hint(4)
    for name in ("ring", "add_up", "hand_round"):
        assert f"def {name}(" in RING.hint(4)
