"""Seeds from names."""

from __future__ import annotations

import pytest

from ddml_kit.cluster.simulated import Simulated
from ddml_kit.notebook.seeds import seed_of


def test_a_name_has_one_seed_on_every_machine() -> None:
    assert seed_of("Ada Lovelace") == 2824223394


@pytest.mark.parametrize("name", ["ada lovelace", "  Ada   Lovelace\n", "ＡＤＡ lovelace"])
def test_capitals_and_spaces_do_not_matter(name: str) -> None:
    assert seed_of(name) == seed_of("Ada Lovelace")


def test_learners_have_different_seeds_that_a_cluster_takes() -> None:
    seeds = {seed_of(f"learner {number}") for number in range(200)}
    assert len(seeds) == 200
    for seed in seeds:
        Simulated(2, seed=seed)


@pytest.mark.parametrize("name", ["", " \n"])
def test_no_name_no_seed(name: str) -> None:
    with pytest.raises(ValueError, match="a seed comes from a name, got"):
        seed_of(name)
