"""The exercises of lab 09, Byzantine workers: two rules, and an attack."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ddml_kit.aggregation import krum, median, trimmed_mean
from ddml_kit.aggregation.coordinates import middle
from ddml_kit.aggregation.krum import closest, in_the_paper, scores
from ddml_kit.attacks import inner_product
from ddml_kit.notebook.check.exercise import Case, Exercise, Mutant, Observed, Words
from ddml_kit.notebook.check.memory import with_memory

LONG, MANY = 20_000, 9  # numbers and gradients of the case on which memory is counted
TABLE = "table of all differences"


def _rows(gradients: np.ndarray) -> str:
    return "\n            ".join(str(row) for row in gradients.tolist())


# ------------------------------------------------------------------------------ trimmed mean


def trimmed(gradients: np.ndarray, f: int) -> np.ndarray:
    return trimmed_mean(gradients, f)


def _observe_trimmed(answer: Callable[..., Any], case: Case) -> Observed:
    return Observed(answer(*case.arguments))


def _gradients_case(gradients: Any, f: int) -> Case:
    rows = np.array(gradients, float)
    return Case(f"gradients = {_rows(rows)}\nf = {f}", (rows, f))


def _drawn_trimmed(rng: np.random.Generator) -> Case:
    return _gradients_case(np.round(rng.normal(size=(7, 3)), 2), 2)


def _stub_trimmed(gradients: np.ndarray, f: int) -> np.ndarray: ...  # type: ignore[empty-body]


def _without_the_longest(gradients: np.ndarray, f: int) -> np.ndarray:
    order = np.argsort(np.linalg.norm(gradients, axis=1))
    return gradients[order[: len(gradients) - f]].mean(axis=0)


def _without_the_largest(gradients: np.ndarray, f: int) -> np.ndarray:
    return np.sort(gradients, axis=0)[: len(gradients) - f].mean(axis=0)


def _by_size(gradients: np.ndarray, f: int) -> np.ndarray:
    order = np.argsort(np.abs(gradients), axis=0)
    return np.take_along_axis(gradients, order[f : len(gradients) - f], axis=0).mean(axis=0)


def _divided_by_all(gradients: np.ndarray, f: int) -> np.ndarray:
    n = len(gradients)
    return np.sort(gradients, axis=0)[f : n - f].sum(axis=0) / n


def _f_in_all(gradients: np.ndarray, f: int) -> np.ndarray:
    n, half = len(gradients), f // 2
    return np.sort(gradients, axis=0)[half : n - half].mean(axis=0)


def _along_the_rows(gradients: np.ndarray, f: int) -> np.ndarray:
    n = len(gradients)
    return np.sort(gradients, axis=1)[f : n - f].mean(axis=0)


def _minus_f(gradients: np.ndarray, f: int) -> np.ndarray:
    return np.sort(gradients, axis=0)[f:-f].mean(axis=0)


TRIMMED_MEAN = Exercise(
    name="trimmed_mean",
    question="The mean of each coordinate without its f least and its f greatest values.",
    reference=trimmed,
    key=trimmed_mean,
    helpers=[middle],
    stub=_stub_trimmed,
    cases=[
        _gradients_case([[1], [2], [6]], 1),
        _gradients_case([[1], [2], [6]], 0),
        _gradients_case([[1, 9], [2, 8], [6, -7]], 1),
        _gradients_case([[-9, 1], [1, 2], [2, 4], [3, 5], [100, 100]], 1),
        _gradients_case([[1, 5], [2, 3], [4, -1], [5, 9], [7, 0], [9, 2]], 2),
    ],
    drawn=_drawn_trimmed,
    observe=_observe_trimmed,
    hints=[
        "One coordinate first: five numbers, of which one may be a lie. Which two do you leave "
        "out, whoever sent them?",
        "Each coordinate by itself: who is left out in one may stay in the other.",
        "np.sort(gradients, axis=0), then the rows from f to n - f, then their mean.",
    ],
    key_says="It sorts all columns at once, in `columns.middle`, and no further than it must.",
    mutants=[
        Mutant(_without_the_longest, "not the expected answer"),
        Mutant(_without_the_largest, "expected  [2.]"),
        Mutant(_by_size, "[100.0, 100.0]"),
        Mutant(_divided_by_all, "not the expected answer"),
        Mutant(_f_in_all, "not the expected answer"),
        Mutant(_along_the_rows, "not the expected answer"),
        Mutant(_minus_f, "f = 0"),
    ],
)

# -------------------------------------------------------------------------------------- Krum


def chosen(gradients: np.ndarray, f: int) -> np.ndarray:
    return krum(gradients, f)


def _observe_krum(answer: Callable[..., Any], case: Case) -> Observed:
    gradients, f = case.arguments
    n, d = gradients.shape
    if d < LONG:
        return Observed(answer(gradients, f))
    value, most = with_memory(lambda: answer(gradients, f))
    return Observed(value, {TABLE: int(most > 0.7 * n * gradients.nbytes)})


def _drawn_krum(rng: np.random.Generator) -> Case:
    gradients = rng.normal(size=(MANY, LONG)) + rng.normal(size=LONG)
    gradients[rng.choice(MANY, 3, replace=False)] *= 3
    return Case(f"{MANY} gradients of {LONG:,} random numbers, f = 3", (gradients, 3))


def _stub_krum(gradients: np.ndarray, f: int) -> np.ndarray: ...  # type: ignore[empty-body]


def _squares(gradients: np.ndarray) -> np.ndarray:
    """All squared distances, (n, n), row by row."""
    return np.array([np.square(gradients - g).sum(axis=1) for g in gradients])


def _nearest(gradients: np.ndarray, count: int, distances: np.ndarray | None = None) -> np.ndarray:
    """The sum of each one's `count` nearest, itself not counted, (n,)."""
    far = np.sort(_squares(gradients) if distances is None else distances, axis=1)
    return far[:, 1 : count + 1].sum(axis=1)


def _one_neighbour_more(gradients: np.ndarray, f: int) -> np.ndarray:
    return gradients[np.argmin(_nearest(gradients, len(gradients) - f - 1))]


def _unsquared(gradients: np.ndarray, f: int) -> np.ndarray:
    distances = np.sqrt(_squares(gradients))
    return gradients[np.argmin(_nearest(gradients, len(gradients) - f - 2, distances))]


def _itself_too(gradients: np.ndarray, f: int) -> np.ndarray:
    return gradients[np.argmin(_nearest(gradients, len(gradients) - f - 3))]


def _the_farthest(gradients: np.ndarray, f: int) -> np.ndarray:
    n = len(gradients)
    far = np.sort(_squares(gradients), axis=1)[:, n - (n - f - 2) :]
    return gradients[np.argmin(far.sum(axis=1))]


def _all_of_them(gradients: np.ndarray, f: int) -> np.ndarray:
    return gradients[np.argmin(_squares(gradients).sum(axis=1))]


def _largest_score(gradients: np.ndarray, f: int) -> np.ndarray:
    return gradients[np.argmax(_nearest(gradients, len(gradients) - f - 2))]


def _its_number(gradients: np.ndarray, f: int) -> Any:
    return np.argmin(_nearest(gradients, len(gradients) - f - 2))


def _nearest_to_the_mean(gradients: np.ndarray, f: int) -> np.ndarray:
    away = np.linalg.norm(gradients - gradients.mean(axis=0), axis=1)
    return gradients[np.argmin(away)]


def _mean_of_the_best(gradients: np.ndarray, f: int) -> np.ndarray:
    order = np.argsort(_nearest(gradients, len(gradients) - f - 2))
    return gradients[order[: len(gradients) - f]].mean(axis=0)


def _all_at_once(gradients: np.ndarray, f: int) -> np.ndarray:
    table = gradients[:, None] - gradients[None]
    distances = np.square(table).sum(axis=2)
    return gradients[np.argmin(_nearest(gradients, len(gradients) - f - 2, distances))]


KRUM = Exercise(
    name="krum",
    question="The gradient with the least sum of squared distances to its n - f - 2 nearest "
    "neighbours.",
    reference=chosen,
    key=krum,
    helpers=[in_the_paper, closest, scores],
    stub=_stub_krum,
    cases=[
        _gradients_case([[1], [2], [6], [8], [11]], 1),
        _gradients_case([[0], [1], [2], [4]], 0),
        _gradients_case([[1, 7], [7, 6], [3, 7], [7, 1], [0, 0], [0, 4], [4, 7]], 2),
    ],
    drawn=_drawn_krum,
    observe=_observe_krum,
    most={
        TABLE: "the gradient is right, but all differences at once are n times n vectors, and a "
        "gradient may have millions of numbers: one row of the table after the other"
    },
    hints=[
        "A liar may be far away, and then whoever is near to it is a liar, too. How many others "
        "is an honest one sure to have near it?",
        "For each gradient: its squared distances to all others, without itself; sort them; add "
        "up the first n - f - 2. Then take the gradient with the least sum.",
        "np.square(gradients - g).sum(axis=1) has the squared distances of g to all. Sorted, the "
        "first is 0: itself. So the neighbours are those from 1 to n - f - 2, both counted.",
    ],
    key_says="`closest` asks for exact distances where rounding could change who is chosen.",
    mutants=[
        Mutant(_one_neighbour_more, "not the expected answer"),
        Mutant(_unsquared, "not the expected answer"),
        Mutant(_itself_too, "not the expected answer"),
        Mutant(_the_farthest, "not the expected answer"),
        Mutant(_all_of_them, "not the expected answer"),
        Mutant(_largest_score, "not the expected answer"),
        Mutant(_its_number, "not the expected answer"),
        Mutant(_nearest_to_the_mean, "not the expected answer"),
        Mutant(_mean_of_the_best, "not the expected answer"),
        Mutant(_all_at_once, "one row of the table after the other"),
    ],
)

# -------------------------------------------------------------- an attack that beats the median

LONGER = "lie longer than every honest gradient"
BEATEN = Words("a step uphill: the median points away from the honest mean")


def lies(honest: np.ndarray, a: int) -> np.ndarray:
    return inner_product(honest, a, np.random.default_rng(0), epsilon=1.0)


def _observe_lies(answer: Callable[..., Any], case: Case) -> Observed:
    """What the median makes of the honest and of the answer's lies, and how these are found out."""
    honest, a = case.arguments
    kept = honest.copy()
    told = np.asarray(answer(honest, a), float)
    if told.shape != (a, kept.shape[1]):
        shape = " × ".join(map(str, told.shape))
        return Observed(Words(f"{shape} numbers, where {a} × {kept.shape[1]} are asked for"))
    along = _along_the_mean(kept, told)
    longest = np.linalg.norm(kept, axis=1).max()
    seen = int(np.count_nonzero(~(np.linalg.norm(told, axis=1) <= longest * (1 + 1e-9))))
    if along < 0:
        return Observed(BEATEN, {LONGER: seen})
    honest_least = float(_parts(kept, kept).min())
    still = "no step at all" if along == 0 else "still a step downhill"
    return Observed(
        Words(
            f"{still}: the median's part along the honest mean is {along:.3g} (of the honest, the "
            f"least is {honest_least:.3g})"
        )
    )


def _parts(vectors: np.ndarray, honest: np.ndarray) -> np.ndarray:
    """How far each vector goes along the mean of the honest, (k,)."""
    middle = honest.mean(axis=0)
    return vectors @ middle / np.linalg.norm(middle)


def _along_the_mean(honest: np.ndarray, told: np.ndarray) -> float:
    """How far the median of all goes along it; lies that are no numbers are none."""
    numbers = told[np.isfinite(told).all(axis=1)]
    result = median(np.concatenate([honest, numbers]), len(numbers))
    return round(float(_parts(result, honest)), 9) + 0.0


def _lies_case(honest: Any, a: int) -> Case:
    rows = np.array(honest, float)
    return Case(f"honest = {_rows(rows)}\na = {a}", (rows, a))


def _drawn_lies(rng: np.random.Generator) -> Case:
    """Seven honest, four liars, 60 numbers each, noisier than they are long; to be won."""
    while True:
        honest = 0.3 * rng.choice([-1, 1], 60) + rng.normal(size=(7, 60))
        if _parts(honest, honest).min() > 0 and _along_the_mean(honest, lies(honest, 4)) < 0:
            return Case("7 honest gradients of 60 random numbers, a = 4", (honest, 4))


def _stub_lies(honest: np.ndarray, a: int) -> np.ndarray: ...  # type: ignore[empty-body]


def _far_away(honest: np.ndarray, a: int) -> np.ndarray:
    return np.full((a, honest.shape[1]), 1000.0)


def _nothing(honest: np.ndarray, a: int) -> np.ndarray:
    return np.zeros((a, honest.shape[1]))


def _one_lie(honest: np.ndarray, a: int) -> np.ndarray:
    return -honest.mean(axis=0)


def _too_many(honest: np.ndarray, a: int) -> np.ndarray:
    return np.tile(-honest.mean(axis=0), (len(honest) + 1, 1))


def _loudly(honest: np.ndarray, a: int) -> np.ndarray:
    return np.tile(-100 * honest.mean(axis=0), (a, 1))


def _one_of_them(honest: np.ndarray, a: int) -> np.ndarray:
    return np.tile(honest[0], (a, 1))


def _a_little(honest: np.ndarray, a: int) -> np.ndarray:
    return np.tile(honest.mean(axis=0) - 0.6 * honest.std(axis=0), (a, 1))


def _one_alone(honest: np.ndarray, a: int) -> np.ndarray:
    told = np.tile(honest.mean(axis=0), (a, 1))
    told[0] *= -1
    return told


def _no_numbers(honest: np.ndarray, a: int) -> np.ndarray:
    return np.full((a, honest.shape[1]), np.nan)


BEAT_THE_MEDIAN = Exercise(
    name="beat_the_median",
    question="Lies of a attackers, with which the median points away from the honest mean.",
    reference=lies,
    key=inner_product,
    stub=_stub_lies,
    cases=[
        _lies_case([[-1, 3], [3, -1]], 1),
        _lies_case([[-1, -1, 5], [-1, 5, -1], [5, -1, -1]], 2),
        _lies_case([[-1, 3, 1, -2], [3, -1, -2, 1], [1, 2, 2, 2]], 2),
    ],
    drawn=_drawn_lies,
    observe=_observe_lies,
    offers=[median],
    most={
        LONGER: "it works, but a lie that is longer than all honest gradients is seen from afar, "
        "and clipped: the same can be had with short ones"
    },
    hints=[
        "The median of a coordinate is always between honest values. But some of them have the "
        "other sign than their mean: the noise is larger than what they have in common.",
        "Your lies move the middle place by about a/2 places. To which side should they lie, in a "
        "coordinate where the honest mean is positive? And in one where it is negative?",
        "Once they lie beyond the middle place, it doesn't matter to a median how far. Turn the "
        "honest mean round, and let all attackers send that: np.tile(lie, (a, 1)).",
    ],
    key_says="With epsilon = 1, its lie is the honest mean turned round, which is short.",
    mutants=[
        Mutant(_far_away, "still a step downhill"),
        Mutant(_nothing, "no step at all"),
        Mutant(_one_lie, "2 numbers, where 1 × 2 are asked for"),
        Mutant(_too_many, "3 × 2 numbers, where 1 × 2 are asked for"),
        Mutant(_loudly, "the same can be had with short ones"),
        Mutant(_one_of_them, "still a step downhill"),
        Mutant(_a_little, "a step"),
        Mutant(_one_alone, "still a step downhill"),
        Mutant(_no_numbers, "still a step downhill"),
    ],
)
