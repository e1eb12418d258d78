"""Speed-up by time to a loss, and Amdahl's law beside a program with a part for one worker."""

import numpy as np
import pytest

from ddml_kit.cluster import Network, Simulated
from ddml_kit.cluster.run import Curve
from ddml_kit.training.speed_up import amdahl, speed_up


def curve(seconds, values):
    return Curve(np.arange(len(values)), np.array(seconds, float), np.array(values, float))


SERIAL = curve([0, 1, 2, 3, 4, 5, 6, 7, 8], [2, 1.6, 1.2, 1.0, 0.8, 0.6, 0.5, 0.45, 0.4])
# Four times the samples a second, half the steps: twice as fast to 0.5, and to 0.6 less than that.
PARALLEL = curve([0, 1, 2, 3], [2, 1.4, 0.7, 0.5])


def test_what_counts_is_the_time_to_the_loss():
    assert speed_up(SERIAL, PARALLEL, 0.5) == 6 / 3
    assert speed_up(SERIAL, PARALLEL, 0.6) == 5 / 3
    assert speed_up(SERIAL, SERIAL, 0.6) == 1


def test_the_first_time_counts_though_the_loss_rises_again():
    assert speed_up(SERIAL, curve([0, 1, 2, 3], [2, 0.5, 3, 0.5]), 0.5) == 6


def test_who_never_gets_there_is_no_faster():
    assert speed_up(SERIAL, PARALLEL, 0.4) == 0


def test_there_has_to_be_something_to_be_faster_than():
    with pytest.raises(ValueError, match=r"the serial run never gets to 0\.1"):
        speed_up(SERIAL, PARALLEL, 0.1)
    with pytest.raises(ValueError, match="at 2 before it begins"):
        speed_up(SERIAL, PARALLEL, 2)


@pytest.mark.parametrize("n", [1, 2, 5, 64])
@pytest.mark.parametrize("serial", [0.0, 0.05, 0.5, 1.0])
def test_amdahl_is_what_a_run_does(n, serial):
    def program(comm):
        if comm.rank == 0:
            comm.work(serial)
        comm.barrier()
        comm.work((1 - serial) / comm.size)

    free = Network(latency=0.0, bandwidth=1e30)
    assert 1 / Simulated(n, network=free).run(program).seconds == pytest.approx(amdahl(n, serial))


def test_amdahl_stays_below_one_over_the_serial_share():
    assert amdahl(10**9, 0.05) == pytest.approx(20)
    assert amdahl(10**9, 0.05) < 20
    for n, serial, sentence in ((0, 0.1, "1 worker or more, got 0"), (2, 1.5, "from 0 to 1, got")):
        with pytest.raises(ValueError, match=sentence):
            amdahl(n, serial)
