"""What goes between two ranks over gloo: frames that are one message, and those that are more."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from ddml_kit.cluster import RankFailed
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


def test_an_error_in_the_thread_that_receives_is_the_ranks_own():
    def program(comm):
        def full(*_):
            raise MemoryError("no room")

        comm.barrier()
        if comm.rank == 1:
            comm._endpoint._post.inbox.put = full
            comm.send("now", 0)
        else:
            comm.recv(1)
            comm.send("lost", 1)
        comm.recv(1 - comm.rank)

    running = Torchrun(2).start(program)
    watchdog = threading.Timer(40, running.stop)  # else a hang would be for ever
    watchdog.start()
    try:
        with pytest.raises(RankFailed, match=r"rank 1 failed at .*: MemoryError: no room"):
            running.result()
    finally:
        watchdog.cancel()
        watchdog.join()
