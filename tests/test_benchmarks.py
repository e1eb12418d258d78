"""What the benchmarks of collectives and of training make of their measurements."""

import pytest

from benchmarks import aggregation, all_reduce, data_parallel, pgd, power_sgd, resilience

KB = 1 << 10


def test_ratios_of_all_reduce_are_the_least_over_the_points():
    times = {
        (2, 4 * KB): {"ours": 1.0, "gloo": 100.0, "mpi": 0.5, "mpi_plain": 0.8},
        (2, 1024 * KB): {"ours": 2.0, "gloo": 8.0, "mpi": 3.0, "mpi_plain": 3.0},
        (4, 4 * KB): {"ours": 1.0, "gloo": 5.0, "mpi": 1.5, "mpi_plain": 1.6},
        (8, 4 * KB): {"ours": 4.0, "gloo": 2000.0, "mpi": 8.0, "mpi_plain": 9.0},
    }
    ratios = all_reduce.ratios(times)
    assert ratios == pytest.approx(
        {
            "gloo_min": 4.0,
            "gloo_mean": (100 * 4 * 5 * 500) ** (1 / 4),
            "mpi_min_2": 0.5,
            "mpi_min_4_8": 1.5,
            "mpi_plain_min_2": 0.8,
            "gloo_4KB_2": 100.0,
            "mpi_4KB_2": 0.5,
            "gloo_1MB_2": 4.0,
            "mpi_1MB_2": 1.5,
            "gloo_4KB_4": 5.0,
            "mpi_4KB_4": 1.5,
            "gloo_4KB_8": 500.0,
            "mpi_4KB_8": 2.0,
        }
    )


def test_a_missing_peer_has_no_ratios():
    assert all_reduce.ratios({(2, 4 * KB): {"ours": 1.0}}) == {}
    only_gloo = all_reduce.ratios({(4, 4 * KB): {"ours": 1.0, "gloo": 3.0}})
    assert set(only_gloo) == {"gloo_min", "gloo_mean", "gloo_4KB_4"}


def test_ratios_of_training_are_by_program_and_model_and_the_least():
    times = {
        512: {"ours": 2.0, "ours, overlapped": 4.0, "ddp": 3.0},
        64: {"ours": 1.0, "ours, overlapped": 3.0, "ddp": 6.0},
    }
    assert data_parallel.ratios(times) == {
        "ddp": 1.5,
        "ddp_512": 1.5,
        "ddp_overlapped_512": 0.75,
        "ddp_64": 6.0,
        "ddp_overlapped_64": 2.0,
    }


def test_ratios_of_power_sgd_are_by_model_and_rank_and_the_least():
    times = {(512, 2): {"ours": 2.0, "ddp": 3.0}, (64, 4): {"ours": 1.0, "ddp": 6.0}}
    assert power_sgd.ratios(times) == {
        "power_sgd": 1.5,
        "power_sgd_512_2": 1.5,
        "power_sgd_64_4": 6.0,
    }


def test_a_clock_leaves_the_first_steps_out(monkeypatch):
    ticks = iter([0.0, 5.0, 9.0, *(10.0 + 0.5 * k for k in range(data_parallel.WARM))])
    monkeypatch.setattr(data_parallel.time, "perf_counter", lambda: next(ticks))
    clock = data_parallel.Clock(data_parallel.WARM + 3)
    for _ in range(data_parallel.WARM + 3):
        clock.tick()
    assert clock.seconds() == 0.5


def test_ratios_of_rules_are_beside_the_faster_way_and_the_lesser_of_the_sizes():
    times = {
        (25, 10): {"krum": {"ours": 2.0, "array": 30.0, "tensor": 20.0}},
        (100, 10): {"krum": {"ours": 4.0, "array": 24.0, "tensor": 90.0}},
    }
    times = {size: dict.fromkeys(aggregation.OURS, by["krum"]) for size, by in times.items()}
    ratios = aggregation.ratios(times)
    assert (ratios["krum_25"], ratios["krum_100"], ratios["krum"]) == (10.0, 6.0, 6.0)
    assert set(aggregation.AIMS) < set(ratios)
    alone = {size: {rule: {"ours": 1.0} for rule in aggregation.OURS} for size in times}
    assert aggregation.ratios(alone) == {}


def test_ratios_of_pgd_are_those_of_the_standard_model_and_of_the_robust_one():
    taken = {pgd.OURS: 2.0, pgd.EARLY: 0.5, "torchattacks": 3.0, "foolbox": 4.0}
    without = {pgd.OURS: 4.0, pgd.EARLY: 1.0, "foolbox": 6.0}
    assert pgd.ratios({"standard": taken, "robust": without}) == {
        "torchattacks": 1.5,
        "foolbox": 2.0,
        "torchattacks_early_stop": 6.0,
        "foolbox_robust": 1.5,
    }


def test_ratios_of_resilience_are_the_means_seconds_over_the_rules():
    times = {("simulated_8", 64): {"mean": 2.0, "krum": 8.0}, ("processes_2", 64): {"mean": 1.0}}
    assert resilience.ratios(times) == {"krum_simulated_8_64": 0.25}
    assert [resilience.most("krum", n) for n in (2, 3, 8)] == [None, 0, 2]
    assert [resilience.most(rule, 8) for rule in ("mean", "bulyan", "median")] == [0, 1, 3]
