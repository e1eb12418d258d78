"""A process as every rank finds it: one thread for sums, generators of its own; and back again."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from threadpoolctl import threadpool_limits

from ddml_kit.cluster.local.guards import ONE_THREAD
from ddml_kit.cluster.seeding import seed_globals


@contextmanager
def alone(seed: int, rank: int) -> Iterator[None]:
    """Inside, libraries compute with one thread, and global generators are the rank's."""
    environment = {name: os.environ.get(name) for name in ONE_THREAD}
    threads = torch.get_num_threads()
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()  # noqa: NPY002
    try:
        with threadpool_limits(1):
            os.environ.update(ONE_THREAD)  # for libraries that are not loaded yet
            torch.set_num_threads(1)
            seed_globals(seed, rank)
            yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])  # noqa: NPY002
        torch.set_rng_state(states[2])
        torch.set_num_threads(threads)
        for name, value in environment.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
