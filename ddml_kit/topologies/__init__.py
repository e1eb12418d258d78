"""Who talks to whom, and with what weight: graphs, mixing matrices, how fast they mix."""

from ddml_kit.topologies.graphs import (
    Topology,
    complete,
    exponential,
    ring,
    social_network,
    star,
    torus,
)
from ddml_kit.topologies.mixing import (
    beta,
    check_graph,
    check_mixing,
    check_similarity,
    choco_gamma,
    metropolis,
    spectral_gap,
)

__all__ = [
    "Topology",
    "beta",
    "check_graph",
    "check_mixing",
    "check_similarity",
    "choco_gamma",
    "complete",
    "exponential",
    "metropolis",
    "ring",
    "social_network",
    "spectral_gap",
    "star",
    "torus",
]
