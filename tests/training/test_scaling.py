"""Training as far as it costs: time against formulas, money, memory, and slow machines."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from ddml_kit.cluster import Constant, Network, Simulated
from ddml_kit.training.scaling import (
    DISK,
    Job,
    Machine,
    Prices,
    round_a_ring,
    synchronous,
    through_one,
)

JOB = Job(steps=3, core_seconds=64.0, data=100e9, update=250e6)
BIG, SMALL = Machine(cores=64, memory=128e9), Machine(cores=4, memory=8e9)
PRICES = Prices(core=0.04, gigabyte=0.005, machine=0.02)
NETWORK = Network(latency=1e-4, bandwidth=1e9)


def seconds(machines: int, machine: Machine, exchange=round_a_ring, job: Job = JOB, **kwargs):
    cluster = Simulated(machines, network=NETWORK, **kwargs)
    return cluster.run(synchronous, job, machine, exchange).seconds


def test_one_machine_computes_and_says_nothing() -> None:
    run = Simulated(1).run(synchronous, JOB, BIG, round_a_ring)
    assert math.isclose(run.seconds, 3 * 64 / 64)
    assert run.messages == 0


@pytest.mark.parametrize("n", [2, 5, 16])
def test_a_ring_takes_what_the_network_says_of_an_all_reduce(n) -> None:
    each = Machine(cores=4, memory=100e9)
    exchange = 2 * (n - 1) * (1e-4 + 250e6 / n / 1e9)
    assert math.isclose(seconds(n, each), 3 * (64 / (4 * n) + exchange))


@pytest.mark.parametrize("n", [2, 5, 16])
def test_through_one_machine_its_link_is_busy_for_all_of_them(n) -> None:
    each, job = Machine(cores=4, memory=100e9), replace(JOB, steps=1)
    exchange = 2 * (1e-4 + (n - 1) * 0.25)
    assert math.isclose(seconds(n, each, through_one, job), 64 / (4 * n) + exchange)
    # Who hears first goes on first, so that steps overlap.
    assert seconds(n, each, through_one) <= 3 * (64 / (4 * n) + exchange) * (1 + 1e-12)


def test_placeholders_weigh_what_they_stand_for() -> None:
    run = Simulated(4).run(round_a_ring, 250e6)
    assert run.bytes == 2 * 3 * 250_000_000
    assert Simulated(4).run(through_one, 250e6).bytes == 2 * 3 * 250_000_000


def test_what_does_not_fit_in_memory_is_read_from_disk() -> None:
    assert BIG.seconds(JOB, 1) == 1.0
    assert math.isclose(SMALL.seconds(JOB, 10), 64 / 40 + (10e9 - 8e9) / DISK)
    assert SMALL.seconds(JOB, 13) == 64 / 52
    two, four = (seconds(n, Machine(cores=4, memory=25e9)) for n in (2, 4))
    assert two > 2 * four


def test_all_wait_for_the_slow_machine() -> None:
    each = Machine(cores=4, memory=100e9)
    computing = 3 * 64 / 16
    slow = seconds(4, each, slowdowns=[Constant({3: 2.0})])
    assert math.isclose(slow, seconds(4, each) + computing, rel_tol=1e-3)


def test_the_bill_is_hours_times_machines_times_parts() -> None:
    assert math.isclose(PRICES.hour(SMALL), 4 * 0.04 + 8 * 0.005 + 0.02)
    assert math.isclose(PRICES.bill(1800, SMALL, 10), 0.5 * 10 * PRICES.hour(SMALL))


def test_with_growth_the_large_machine_is_the_dearer_one() -> None:
    steep = Prices(core=0.04, gigabyte=0.005, machine=0.0, growth=1.5)
    assert math.isclose(steep.hour(Machine(cores=16, memory=0)), 0.04 * 64)
    assert steep.hour(BIG) > 16 * steep.hour(Machine(cores=4, memory=8e9))
    flat = Prices(core=0.04, gigabyte=0.005, machine=0.0)
    assert math.isclose(flat.hour(BIG), 16 * flat.hour(Machine(cores=4, memory=8e9)))


def test_snapshots_go_from_all_to_nothing_left() -> None:
    run = Simulated(2).run(synchronous, JOB, BIG, round_a_ring)
    left = run.curve(lambda w: w[0])
    assert left.value.tolist() == pytest.approx([1, 2 / 3, 1 / 3, 0])
    assert left.seconds[0] == 0
