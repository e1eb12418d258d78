"""The exercise of lab 04, all-reduce, in which one is chosen: which is fastest on this cluster?

An answer is judged by simulated runs, not by the formulas that it is written with.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import lru_cache, partial
from typing import Any

import numpy as np

from ddml_kit.cluster.network import Network
from ddml_kit.cluster.simulated import Simulated
from ddml_kit.collectives import halving_doubling, hierarchical, master_worker, ring, tree
from ddml_kit.collectives.cost import SECONDS, fastest
from ddml_kit.collectives.halving_doubling import largest_power
from ddml_kit.notebook.check.exercise import Case, Exercise, Mutant, Observed, Words
from ddml_kit.notebook.units import seconds_text

BY_NAME: Mapping[str, Callable[[Network], Callable[..., Any]]] = {
    "master_worker": lambda network: master_worker,
    "tree": lambda network: tree,
    "ring": lambda network: ring,
    "halving_doubling": lambda network: halving_doubling,
    "hierarchical": lambda network: partial(hierarchical, racks=network.racks),
}
LOSS = 1.25  # times the time of the fastest that an answer may take
GOOD = "the fastest, or one that takes at most a quarter longer"
DRAWN = 10  # clusters
Cluster = tuple[int, int, Network]


@lru_cache(1000)
def seconds(n: int, nbytes: int, network: Network) -> Mapping[str, float]:
    """What each all-reduce of nbytes takes on n simulated ranks, by name.

    With fewer bytes on links that are slower by as much, which takes as long in virtual time.
    """
    length = n * largest_power(n)  # which each of them can cut evenly
    share = 8 * length / nbytes
    scaled = replace(
        network,
        bandwidth=network.bandwidth * share,
        uplink_bandwidth=network.uplink_bandwidth * share,
    )
    x = np.ones(length)
    where = Simulated(n, network=scaled)
    return {name: where.run(program(network), x).seconds for name, program in BY_NAME.items()}


def fastest_way(n: int, nbytes: int, network: Network) -> str:
    return fastest(n, nbytes, network)


def _observe_choice(answer: Callable[..., Any], case: Case) -> Observed:
    """That each choice is good, or the first that isn't, in words."""
    for cluster in case.arguments:
        chosen, taken = answer(*cluster), seconds(*cluster)
        which = f"{_in_words(cluster)}\n" * (len(case.arguments) > 1)
        if chosen not in BY_NAME:
            return Observed(Words(f"{which}{chosen!r}, which is none of {', '.join(BY_NAME)}"))
        best = min(taken, key=lambda name: taken[name])
        if taken[chosen] > LOSS * taken[best]:
            longer = f"{seconds_text(taken[chosen])}; {best} takes {seconds_text(taken[best])}"
            return Observed(Words(f"{which}{chosen}, which takes {longer}"))
    return Observed(Words(GOOD))


def _in_words(cluster: Cluster) -> str:
    n, nbytes, network = cluster
    racks = ""
    if network.racks > 1:
        racks = (
            f",\n        racks={network.racks}, uplink_latency={network.uplink_latency:g}, "
            f"uplink_bandwidth={network.uplink_bandwidth:g}"
        )
    return (
        f"n = {n}, nbytes = {nbytes:,}\n"
        f"Network(latency={network.latency:g}, bandwidth={network.bandwidth:g}{racks})"
    )


def _cluster_case(n: int, nbytes: int, racks: int = 1) -> Case:
    cluster = n, nbytes, Network(racks=racks, uplink_bandwidth=1e8)
    return Case(_in_words(cluster), (cluster,))


def _drawn_clusters(rng: np.random.Generator) -> Case:
    """Clusters on which the formulas choose well: the links of racks are more than they know."""
    clusters: list[Cluster] = []
    while len(clusters) < DRAWN:
        racks = int(rng.choice([1, 1, 2, 3, 4]))
        n = int(racks * rng.integers(2, 24 // racks + 1))
        nbytes, latency, bandwidth = (
            float(f"{10 ** rng.uniform(*exponents):.0e}")
            for exponents in ((2, 7), (-5, -3), (8, 10))
        )
        network = Network(
            latency=latency,
            bandwidth=bandwidth,
            racks=racks,
            uplink_latency=latency,
            uplink_bandwidth=bandwidth / 10,
        )
        taken = seconds(n, int(nbytes), network)
        if taken[fastest(n, nbytes, network)] <= LOSS * min(taken.values()):
            clusters.append((n, int(nbytes), network))
    return Case(f"{DRAWN} clusters, drawn", tuple(clusters))


def _stub_choice(n: int, nbytes: int, network: Network) -> str: ...  # type: ignore[empty-body]


def _paper(n: int, nbytes: int, network: Network) -> dict[str, float]:
    """The formulas, as a learner writes them."""
    a, b, racks = network.latency, 1 / network.bandwidth, network.racks
    far_a, far_b = a, b
    if racks > 1:
        far_a, far_b = a + network.uplink_latency, 1 / min(1 / b, network.uplink_bandwidth)
    p, m = 2 ** int(np.log2(n)), n // racks
    rounds = int(np.ceil(np.log2(n)))
    return {
        "master_worker": 2 * (far_a + (n - 1) * nbytes * far_b),
        "tree": 2 * rounds * (far_a + nbytes * far_b),
        "ring": 2 * (n - 1) * (far_a + nbytes / n * far_b),
        "halving_doubling": 2 * np.log2(p) * far_a
        + 2 * (p - 1) / p * nbytes * far_b
        + 2 * (p < n) * (far_a + nbytes * far_b),
        "hierarchical": 2 * (m - 1) * (a + nbytes / m * b)
        + 2 * (racks - 1) * (far_a + nbytes / racks * far_b),
    }


def _always(name: str) -> Callable[[int, int, Network], str]:
    def answer(n: int, nbytes: int, network: Network) -> str:
        return name

    answer.__name__ = f"_always_{name}"
    return answer


def _fewest_steps(n: int, nbytes: int, network: Network) -> str:
    return _smallest(_paper(n, 0, network))


def _fewest_bytes(n: int, nbytes: int, network: Network) -> str:
    return _smallest(_paper(n, nbytes, replace(network, latency=0.0, uplink_latency=0.0)))


def _no_racks(n: int, nbytes: int, network: Network) -> str:
    return _smallest(_paper(n, nbytes, replace(network, racks=1)))


def _every_n_a_power(n: int, nbytes: int, network: Network) -> str:
    times = _paper(n, nbytes, network)
    rounds = np.ceil(np.log2(n))
    alpha, beta = network.slowest(range(n), n)
    times["halving_doubling"] = 2 * rounds * alpha + 2 * (n - 1) / n * nbytes * beta
    return _smallest(times)


def _slowest(n: int, nbytes: int, network: Network) -> str:
    times = _paper(n, nbytes, network)
    return max(times, key=lambda name: times[name])


def _other_name(n: int, nbytes: int, network: Network) -> str:
    return _smallest(_paper(n, nbytes, network)).replace("_", "-")


def _smallest(times: Mapping[str, float]) -> str:
    return min(times, key=lambda name: times[name])


FASTEST_WAY = Exercise(
    name="fastest_way",
    question="Which all-reduce for n ranks, a vector of nbytes, and this network?",
    reference=fastest_way,
    key=fastest,
    key_says="SECONDS has the five functions that follow, by name.",
    helpers=list(SECONDS.values()),
    stub=_stub_choice,
    cases=[
        _cluster_case(8, 8),
        _cluster_case(8, 100_000),
        _cluster_case(12, 8_000_000),
        _cluster_case(24, 240_000, racks=4),
    ],
    drawn=_drawn_clusters,
    observe=_observe_choice,
    hints=[
        "A function for the time of each, by the table; then the name of the smallest.",
        "A dictionary of the five times, times = {'ring': ..., ...}, and "
        "min(times, key=times.get).",
        "With racks, alpha and beta of all but `hierarchical` are those between racks: latency + "
        "uplink_latency, and min(bandwidth, uplink_bandwidth). For halving-doubling p is "
        "2 ** int(math.log2(n)).",
    ],
    mutants=[
        *(Mutant(_always(name), f"{name}, which takes") for name in BY_NAME),
        Mutant(_fewest_steps, "takes"),
        Mutant(_fewest_bytes, "takes"),
        Mutant(_no_racks, "racks=4"),
        Mutant(_every_n_a_power, "n = 12"),
        Mutant(_slowest, "takes"),
        Mutant(_other_name, "'master-worker', which is none of master_worker, tree"),
    ],
)
