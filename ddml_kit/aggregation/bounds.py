"""How many gradients each rule needs when f of them may lie, and who proved it.

The table is there to be shown. What a rule refuses is exactly what its bound excludes; a mean,
which holds against nobody, refuses nothing but more liars than gradients.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from numbers import Integral


@dataclass(frozen=True)
class Bound:
    """What a rule needs of n, the number of gradients, and f, how many of them may lie."""

    rule: str
    needs: str  # in words: n >= 2f + 3
    least: Callable[[int], int]  # f -> the smallest n with which the rule will work
    proved: Callable[[int], int | None]  # f -> the smallest n for which its source has a proof
    source: str

    def check(self, n: int, f: int) -> None:
        """Raises TypeError where f is no whole number, ValueError where n is too small for it."""
        if isinstance(f, bool) or not isinstance(f, Integral):
            raise TypeError(f"f must be a whole number, got {f!r}")
        if f < 0:
            raise ValueError(f"f must be 0 or more, got {f}")
        if n < self.least(int(f)):
            raise ValueError(f"{self.rule} needs {self.needs} gradients, got n={n} with f={f}")


def nobody(f: int) -> int | None:
    """The proof of a rule that holds only as long as nobody lies."""
    return None if f else 1


def majority(f: int) -> int:
    """One more than half of n must be honest."""
    return 2 * f + 1


MEAN = Bound(
    "mean",
    "n >= f + 1",
    lambda f: f + 1,
    nobody,
    "Blanchard et al. 2017, lemma 1: one liar makes it any vector",
)
MEDIAN = Bound("median", "n >= 2f + 1", majority, majority, "Yin et al. 2018, theorem 1")
TRIMMED_MEAN = Bound(
    "trimmed_mean", "n >= 2f + 1", majority, majority, "Yin et al. 2018, theorem 4"
)
KRUM = Bound(
    "krum",
    "n >= 2f + 3",
    lambda f: 2 * f + 3,
    lambda f: 2 * f + 3,
    "Blanchard et al. 2017, proposition 1: 2f + 2 < n",
)
MULTI_KRUM = Bound(
    "multi_krum",
    "n >= 2f + 3",
    lambda f: 2 * f + 3,
    lambda f: 2 * f + 3,
    "El Mhamdi et al. 2018, as Krum",
)
BULYAN = Bound(
    "bulyan",
    "n >= 4f + 3",
    lambda f: 4 * f + 3,
    lambda f: 4 * f + 3,
    "El Mhamdi et al. 2018, section 4",
)
GEOMETRIC_MEDIAN = Bound(
    "geometric_median",
    "n >= 2f + 1",
    majority,
    majority,
    "Lopuhaä & Rousseeuw 1991: breakdown point 1/2; Pillutla et al. 2022",
)
CENTRED_CLIPPING = Bound(
    "centred_clipping",
    "n >= 2f + 1",
    majority,
    lambda f: 10 * f or 1,
    "Karimireddy et al. 2021: at most a tenth lie",
)
NORM_CLIPPING = Bound(
    "norm_clipping",
    "n >= 2f + 1",
    majority,
    nobody,
    "Sun et al. 2019: no proof; f liars move it by 2 f radius / n at most",
)

BOUNDS = {
    bound.rule: bound
    for bound in (
        MEAN,
        MEDIAN,
        TRIMMED_MEAN,
        KRUM,
        MULTI_KRUM,
        BULYAN,
        GEOMETRIC_MEDIAN,
        CENTRED_CLIPPING,
        NORM_CLIPPING,
    )
}


def smallest_n(rule: str, f: int) -> int | None:
    """The fewest gradients with which the rule is proved to hold when f lie; None if none are."""
    return BOUNDS[rule].proved(f)
