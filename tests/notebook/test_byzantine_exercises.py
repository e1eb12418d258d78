"""The exercises of lab 09: right answers in other words, and what gives a wrong one away."""

from __future__ import annotations

import numpy as np
import pytest

from ddml_kit.aggregation import krum, median, multi_krum, squared_distances
from ddml_kit.attacks import inner_product
from ddml_kit.notebook import check
from ddml_kit.notebook.check.lab09 import BEAT_THE_MEDIAN, KRUM, TRIMMED_MEAN


def test_a_trimmed_mean_in_other_words() -> None:
    def value_by_value(gradients, f):
        means = []
        for column in gradients.T:
            left = sorted(column)
            for _ in range(f):
                left.remove(max(left))
                left.remove(min(left))
            means.append(sum(left) / len(left))
        return means

    def partitioned(gradients, f):
        n = len(gradients)
        inner = np.partition(gradients, [f, n - f - 1], axis=0)[f : n - f]
        return inner.mean(axis=0)

    assert check.trimmed_mean(value_by_value)
    assert check.trimmed_mean(partitioned)


def test_krum_in_other_words() -> None:
    def pair_by_pair(gradients, f):
        n = len(gradients)
        scores = []
        for i in range(n):
            far = [np.sum((gradients[i] - gradients[j]) ** 2) for j in range(n) if j != i]
            scores.append(sum(sorted(far)[: n - f - 2]))
        return gradients[scores.index(min(scores))]

    def by_products(gradients, f):
        n, centred = len(gradients), gradients - gradients.mean(axis=0)
        products = centred @ centred.T
        squares = np.diag(products)
        far = squares[:, None] + squares - 2 * products
        np.fill_diagonal(far, np.inf)
        return gradients[np.argmin(np.sort(far)[:, : n - f - 2].sum(axis=1))]

    def row_by_row(gradients, f):
        far = [np.sort(np.linalg.norm(gradients - g, axis=1)) for g in gradients]
        sums = np.square(far)[:, 1 : len(gradients) - f - 1].sum(axis=1)
        return gradients[np.argmin(sums)]

    assert check.krum(pair_by_pair)
    assert check.krum(by_products)
    assert check.krum(row_by_row)


def test_one_neighbour_more_is_told_on_five_numbers() -> None:
    [mutant] = [m for m in KRUM.mutants if m.answer.__name__ == "_one_neighbour_more"]
    verdict = check.krum(mutant.answer)
    assert (verdict.details["expected"], verdict.details["got"]) == ("[8.]", "[6.]")
    assert verdict.details["input"].endswith("f = 1")


def test_every_mutant_of_krum_is_told_on_the_smallest_case_but_that_which_costs() -> None:
    for mutant in KRUM.mutants[:-1]:
        assert "[11.0]" in check.krum(mutant.answer).details["input"]


def test_all_differences_at_once_are_too_much_memory() -> None:
    def at_once(gradients, f):
        far = ((gradients[:, None] - gradients) ** 2).sum(axis=-1)
        return gradients[np.argmin(np.sort(far)[:, 1 : len(gradients) - f - 1].sum(axis=1))]

    verdict = check.krum(at_once)
    assert verdict.state == "wrong"
    assert "the gradient is right, but all differences at once" in verdict.sentence
    assert verdict.details["got"] == "1 table of all differences"


@pytest.mark.parametrize(
    "answer",
    [
        lambda gradients, f: multi_krum(gradients, f, m=1),
        lambda gradients, f: gradients[np.argmin(squared_distances(gradients).sum(axis=1))],
        lambda gradients, f: krum(gradients, f),
    ],
)
def test_the_library_s_rules_are_no_answer(answer) -> None:
    verdict = check.krum(answer)
    assert verdict.state == "refused"
    assert "ddml_kit.aggregation" in verdict.sentence


def test_lies_in_other_words() -> None:
    def turned_round(honest, a):
        return [-honest.mean(axis=0)] * a

    def to_the_other_side(honest, a):
        """Of each coordinate the same, on the side that is against the mean."""
        return np.tile(-0.5 * np.sign(honest.mean(axis=0)), (a, 1))

    def each_a_bit_different(honest, a):
        return -np.outer(1 - 0.01 * np.arange(a), honest.mean(axis=0))

    def tried_out(honest, a):
        """With the median at hand, which an attacker has, too."""
        for scale in (0.1, 0.5, 1.0):
            lies = np.tile(-scale * honest.mean(axis=0), (a, 1))
            if median(np.concatenate([honest, lies]), a) @ honest.mean(axis=0) < 0:
                return lies
        return None

    assert check.beat_the_median(turned_round)
    assert check.beat_the_median(to_the_other_side)
    assert check.beat_the_median(each_a_bit_different)
    assert check.beat_the_median(tried_out)


def test_a_loud_lie_works_and_is_found_out() -> None:
    verdict = check.beat_the_median(lambda h, a: np.tile(-50 * h.mean(axis=0), (a, 1)))
    assert verdict.sentence.startswith("it works, but a lie that is longer than all honest")
    assert verdict.details["got"] == "1 lie longer than every honest gradient"


def test_the_library_s_attack_is_no_answer() -> None:
    rng = np.random.default_rng(0)
    verdict = check.beat_the_median(lambda h, a: inner_product(h, a, rng, epsilon=1))
    assert verdict.state == "refused"
    assert "inner_product" in verdict.sentence


def test_honest_gradients_that_are_changed_do_not_count() -> None:
    def changes(honest, a):
        honest *= -1
        return np.zeros((a, honest.shape[1]))

    assert check.beat_the_median(changes).state == "wrong"


def test_every_case_of_the_attack_is_one_where_all_honest_go_downhill_and_which_can_be_won() -> (
    None
):
    drawn = [BEAT_THE_MEDIAN.drawn(np.random.default_rng(seed)) for seed in range(20)]
    for case in [*BEAT_THE_MEDIAN.cases, *drawn]:
        honest, a = case.arguments
        assert (honest @ honest.mean(axis=0) > 0).all()
        assert len(honest) > a
        every = np.concatenate([honest, np.tile(-honest.mean(axis=0), (a, 1))])
        assert np.median(every, axis=0) @ honest.mean(axis=0) < 0


def test_the_hints_lead_to_an_answer() -> None:
    assert "from f to n - f" in TRIMMED_MEAN.hints[-1]
    assert "from 1 to n - f - 2, both counted" in KRUM.hints[-1]
    assert "np.tile(lie, (a, 1))" in BEAT_THE_MEDIAN.hints[-1]
