"""How often a rank sends a snapshot: never so often that it has no time for its program."""

import numpy as np
import pytest
from local_ranks import run

from ddml_kit.cluster.local.passing import FIRST_SNAPSHOTS, SNAPSHOT_EVERY, SNAPSHOT_SHARE


@pytest.mark.parametrize("takes", [0.0, 0.004])
def test_snapshots_have_a_share_of_the_time(takes):
    def program(comm):
        from ddml_kit.cluster.local import passing

        clock, sent = [0.0], []

        def emit(snapshot):
            sent.append((snapshot.step, snapshot.seconds))
            clock[0] += takes if len(sent) != 14 else 1.0  # something came in between

        passing.monotonic = lambda: clock[0]
        comm._endpoint._started, comm._endpoint._emit = 0.0, emit
        for _ in range(3000):
            comm.snapshot(np.zeros(3))
            clock[0] += 0.001
        return sent

    [sent] = run(1, program)
    steps, seconds = zip(*sent, strict=True)
    assert steps[:FIRST_SNAPSHOTS] == tuple(range(FIRST_SNAPSHOTS))
    pause = max(SNAPSHOT_EVERY, takes / SNAPSHOT_SHARE)
    last = np.diff(seconds)[-8:]  # the stride doubles until it is long enough
    assert (last >= pause - 1e-9).all()
    assert (last <= 2 * pause).all()
