"""What goes between two ranks over gloo: frames that are one message, and those that are more."""

from __future__ import annotations

import numpy as np

from ddml_kit.cluster.distributed.links import FRAME, HEAD
from ddml_kit.cluster.torchrun import Torchrun

EDGES = [FRAME - HEAD.size, FRAME, 2 * FRAME]  # bytes of a value up to which a frame has one shape


def test_values_of_every_length_arrive_in_order_both_ways_at_once():
    def program(comm, sizes):
        for size in sizes:
            comm.send(np.arange(size, dtype=np.uint32).astype(np.uint8), 1 - comm.rank)
        received = [comm.recv().value for _ in sizes]
        expected = [np.arange(size, dtype=np.uint32).astype(np.uint8) for size in sizes]
        return all(map(np.array_equal, received, expected))

    sizes = [edge + k for edge in EDGES for k in (-1, 0, 1)] + [1, 10 * FRAME + 7, 0]
    assert Torchrun(2).run(program, sizes * 3).results == [True, True]
