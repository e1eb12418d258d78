"""All-reduce over racks: inside each rack, between racks, inside each rack.

The 2D-torus all-reduce of H. Mikami, H. Suganuma, P. U-chupala, Y. Tanaka, Y. Kageyama, "Massively
Distributed SGD: ImageNet/ResNet-50 Training in a Flash", arXiv 1811.05233, with racks for rows:
reduce-scatter within a rack, all-reduce of each chunk between the ranks that have it, all-gather
within a rack. A rack's uplink carries less than two vectors, as with a ring, but in fewer steps.

Departure: racks may be unequal. Then m, the size of the smallest, take part in each rack; a rank
beyond gives its vector to the rank m before it first, and gets the sum afterwards.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ddml_kit.cluster.checks import whole
from ddml_kit.cluster.comm import Comm
from ddml_kit.collectives.ring import all_gather, reduce_scatter, ring
from ddml_kit.collectives.vectors import received, summable


def hierarchical(comm: Comm, x: Any, *, racks: int) -> np.ndarray:
    """The sum of x over all ranks, on every rank; a new array like x.

    racks: how many; ranks sit in them as those of a `Network` with so many, in order and (nearly)
    evenly. 2 (m - 1) + 2 (racks - 1) steps with m ranks in the smallest rack, up to 2 more where
    racks are unequal; 2 (n - 1) S bytes over all ranks.
    Raises what `ring` raises, and ValueError for racks that would be empty.
    """
    racks = whole("racks must be a whole number", racks)
    if not 1 <= racks <= comm.size:
        raise ValueError(f"{comm.size} ranks fill 1 to {comm.size} racks, got {racks}")
    x = summable(x)
    starts = [-(-rack * comm.size // racks) for rack in range(racks + 1)]  # as Network.rack has it
    rack = comm.rank * racks // comm.size
    m = comm.size // racks
    place = comm.rank - starts[rack]
    if place >= m:
        comm.send(x.reshape(-1), comm.rank - m)
        return received(comm, comm.rank - m, x.reshape(-1)).reshape(x.shape)
    total = x.reshape(-1)
    beyond = comm.rank + m
    if beyond < starts[rack + 1]:
        total = received(comm, beyond, total)
        total += x.reshape(-1)
    inside = comm.group([starts[rack] + k for k in range(m)])
    across = comm.group([start + place for start in starts[:-1]])
    total = all_gather(inside, ring(across, reduce_scatter(inside, total)))
    if beyond < starts[rack + 1]:
        comm.send(total, beyond)
    return total.reshape(x.shape)
