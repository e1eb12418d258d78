"""Data-parallel training in which the network adds up the gradients.

The use of A. Sapio et al., "Scaling Distributed Machine Learning with In-Network Aggregation", NSDI
2021, arXiv 1903.06701: only the all-reduce is another one. Ranks 0 to n - 1 train, the last rank is
the switch (collectives/switch.py).
"""

from __future__ import annotations

import numpy as np

from ddml_kit.cluster.comm import Comm
from ddml_kit.collectives.fixed_point import Overflow, refuse
from ddml_kit.collectives.switch import (
    ELEMENTS,
    SLOTS,
    leave_switch,
    switch,
    through_switch,
)
from ddml_kit.problems.problem import BatchSize, Problem
from ddml_kit.training.data_parallel import data_parallel
from ddml_kit.training.optimisers import Optimiser
from ddml_kit.training.reducers import Reduce
from ddml_kit.training.schedules import Schedule, constant


def switched(
    comm: Comm,
    problem: Problem,
    optimiser: Optimiser,
    *,
    steps: int,
    batch_size: BatchSize,
    schedule: Schedule = constant,
    f: float | None = None,
    elements: int = ELEMENTS,
    slots: int = SLOTS,
    overflow: Overflow = refuse,
) -> np.ndarray | None:
    """The model after so many steps, (dim,), the same on every worker; None on the switch.

    f, elements, slots, overflow: as in `through_switch`. Raises ValueError without a worker.
    """
    if comm.size < 2:
        raise ValueError(f"a switch and a worker are 2 ranks, got {comm.size}")
    if comm.rank == comm.size - 1:
        switch(comm, overflow=overflow)
        return None

    def mean(workers: Comm) -> Reduce:
        def reduce(gradient: np.ndarray) -> np.ndarray:
            total = through_switch(
                comm, gradient, f=f, elements=elements, slots=slots, overflow=overflow
            )
            return (total / workers.size).astype(gradient.dtype)

        return reduce

    w = data_parallel(
        comm.group(range(comm.size - 1)),
        problem,
        optimiser,
        steps=steps,
        batch_size=batch_size,
        reducer=mean,
        schedule=schedule,
    )
    leave_switch(comm)
    return w
