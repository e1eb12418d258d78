"""Rules against attacks: every cell of the table comes out as it says, those that break, too."""

from functools import partial

import pytest
import torch

from ddml_kit.aggregation import centred_clipping, smallest_n
from ddml_kit.attacks import little_is_enough, most_deviations
from ddml_kit.cluster import Simulated
from ddml_kit.problems import TorchModule, digits
from ddml_kit.training.byzantine import robust_server
from ddml_kit.training.optimisers import sgd
from ddml_kit.training.outcomes import (
    ATTACKS,
    BREAKS,
    HOLDS,
    MAJORITY,
    RADIUS,
    RULES,
    WORKERS,
    Cell,
    remaining,
    table,
)

CELLS = table()


def cell(rule: str, attack: str) -> Cell:
    [found] = [c for c in CELLS if (c.rule, c.attack) == (rule, attack)]
    return found


def assert_as_expected(c, seed=0):
    left = remaining(c, seed=seed)
    assert left <= HOLDS if c.holds else left >= BREAKS, f"{c} has {left:.2f} left"


@pytest.mark.parametrize("rule", RULES)
def test_every_rule_holds_and_breaks_where_the_table_says_so(rule):
    own = [c for c in CELLS if c.rule == rule]
    assert {c.holds for c in own} == {True, False}
    for c in own:
        assert_as_expected(c)


@pytest.mark.parametrize("attack", ["little_is_enough", "inner_product", "mimic"])
def test_the_outcome_of_the_sly_attacks_does_not_hang_on_the_seed(attack):
    for rule in RULES:
        assert_as_expected(cell(rule, attack), seed=1)


def test_the_table_has_every_rule_and_attack_once():
    assert [(c.rule, c.attack) for c in CELLS] == [(r, a) for r in RULES for a in ATTACKS]
    assert {c.outcome for c in CELLS} == {"holds", "breaks"}


def test_a_paper_is_a_source_only_for_a_rule_against_an_attack_that_it_has():
    assert {(c.rule, c.attack): c.source for c in CELLS if c.source != "="} == {
        ("mean", "gaussian"): "B",
        ("krum", "gaussian"): "B",
        ("mean", "little_is_enough"): "L",
        ("trimmed_mean", "little_is_enough"): "L",
        ("krum", "little_is_enough"): "L",
        ("median", "inner_product"): "X",
        ("krum", "inner_product"): "X",
    }


def test_centred_clipping_has_its_history_which_carries_a_majoritys_lie_on(monkeypatch):
    c = cell("centred_clipping", "majority")
    with_history = remaining(c)
    forgetful = partial(centred_clipping, radius=RADIUS, steps=3)
    monkeypatch.setitem(RULES, "centred_clipping", forgetful)
    assert with_history > 10 * remaining(c)


def test_but_for_the_last_column_all_is_within_the_bounds_that_are_proved():
    for c in CELLS:
        least = smallest_n(c.rule, c.f)
        if c.attack == "majority":
            assert c.attackers == MAJORITY > WORKERS / 2
        elif least is not None and c.rule != "centred_clipping":  # whose proof is of a tenth
            assert c.attackers <= c.f
            assert least <= WORKERS


def test_a_little_is_enough_hurts_the_robust_more_than_the_mean():
    left = {rule: remaining(cell(rule, "little_is_enough")) for rule in ("mean", "median", "krum")}
    assert left["mean"] < left["median"] / 3
    assert left["mean"] < left["krum"] / 3
    # Krum takes the lie itself, so that it is pulled n/a times as far, and its loss is the square.
    assert left["krum"] / left["mean"] == pytest.approx((11 / 4) ** 2, rel=0.2)
    assert most_deviations(11, 4) == pytest.approx(0.566, abs=1e-3)


def test_zeros_of_crashed_workers_stop_krum_where_it_stands():
    assert remaining(cell("krum", "zero")) == 1.0
    assert remaining(cell("mean", "zero")) < 0.05


def test_on_digits_too_a_little_hurts_krum_and_the_median_and_not_the_mean():
    train, test = digits().split()
    network = torch.nn.Sequential(
        torch.nn.Flatten(), torch.nn.Linear(64, 32), torch.nn.ReLU(), torch.nn.Linear(32, 10)
    )
    problem = TorchModule(network, torch.nn.functional.cross_entropy, train)
    held_out = problem.on(test.x, test.y)
    loss = {}
    for rule in ("mean", "median", "krum"):
        run = Simulated(WORKERS + 1).run(
            robust_server,
            problem,
            sgd(0.5),
            steps=120,
            batch_size=16,
            rule=RULES[rule],
            f=4,
            attack=little_is_enough,
            attackers=4,
        )
        loss[rule] = held_out.loss(run.results[0])
    assert loss["mean"] < 0.5
    assert loss["median"] > 2 * loss["mean"]
    assert loss["krum"] > 4 * loss["mean"]
