"""Vectors combined over send and recv alone, so that steps and bytes can be counted."""

from ddml_kit.collectives.halving_doubling import halving_doubling
from ddml_kit.collectives.hierarchical import hierarchical
from ddml_kit.collectives.master_worker import master_worker
from ddml_kit.collectives.ring import all_gather, reduce_scatter, ring
from ddml_kit.collectives.switch import in_network, leave_switch, switch, through_switch
from ddml_kit.collectives.tree import broadcast, gather, tree

__all__ = [
    "all_gather",
    "broadcast",
    "gather",
    "halving_doubling",
    "hierarchical",
    "in_network",
    "leave_switch",
    "master_worker",
    "reduce_scatter",
    "ring",
    "switch",
    "through_switch",
    "tree",
]
