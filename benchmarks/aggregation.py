"""One gradient from n of which some lie: the kit's rules beside ByzFL's.

n = 25 gradients of d = 10^6 and n = 100 of d = 10^5, normal with mean 1 and spread 1, the last 5 of
them lies, -10 times what they should be; f = 5. float32 on both sides, in memory one after the
other, one thread on both sides. ByzFL takes a NumPy array or a torch tensor and computes each rule
in another way; both have their turn, and the faster counts at each point. Our rules take the array.

- Krum: ByzFL sums n - f - 1 neighbours, ours the paper's n - f - 2. `krum` is the kit with ByzFL's
  number, like for like, `krum_paper` as in the paper.
- The median of an even number is the mean of the middle two on both sides.
- Geometric median: ByzFL's takes 3 of Weiszfeld's steps from the origin (T=3, nu=0.1, its
  defaults), ours as many as it needs. The error is the distance from the true one, as a part of the
  mean distance of the gradients from it; the true one is Weiszfeld's limit in float64.
  `geometric_median` is the ratio with ByzFL's defaults, though ours must be no less accurate;
  `geometric_median_as_exact` gives ByzFL the least T with which it is as accurate as ours before
  rounding to float32, or T = 100.

ByzFL's package imports torchvision, matplotlib and seaborn for its experiments. Its rules need none
of them: they are imported without the rest.

    python -m benchmarks.aggregation
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
import time
import types
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
import torch
from threadpoolctl import threadpool_limits

from benchmarks.common import alternate, duration, medians, report
from ddml_kit.aggregation import geometric_median, krum, median, one_more, trimmed_mean

SIZES = [(25, 1_000_000), (100, 100_000)]
F = 5
ROUNDS = 7  # times that each contender has its turn
AIMS = {"krum": 5, "median": 2, "trimmed_mean": 1, "geometric_median": 1.5}
MOST = 100  # of Weiszfeld's steps
OURS: dict[str, Callable[[Any], Any]] = {
    "krum": partial(krum, f=F, neighbours=one_more),
    "krum_paper": partial(krum, f=F),
    "median": partial(median, f=F),
    "trimmed_mean": partial(trimmed_mean, f=F),
    "geometric_median": partial(geometric_median, f=F),
    "geometric_median_as_exact": partial(geometric_median, f=F),
}

Times = Mapping[tuple[int, int], Mapping[str, Mapping[str, float]]]  # size -> rule -> contender


def main() -> None:
    """Print the table and the line of JSON."""
    byzfl = rules_of_byzfl()
    times: dict[tuple[int, int], dict[str, dict[str, float]]] = {}
    notes = [] if byzfl else ["byzfl is missing: not installed, so there is no ratio"]
    torch.set_num_threads(1)
    with threadpool_limits(1):
        for n, d in SIZES:
            gradients = 1 + np.random.default_rng(0).standard_normal((n, d), np.float32)
            gradients[n - F :] *= -10
            rivals, more = rivals_of(byzfl, gradients)
            notes += [f"n = {n}, d = {d:,}: {note}" for note in more]
            times[n, d] = {
                rule: measure(ours, rivals.get(rule), gradients) for rule, ours in OURS.items()
            }
    rows = [
        [n, f"{d:,}", rule]
        + [duration(taken.get(name)) for name in ("ours", "array", "tensor")]
        + [f"{best(taken) / taken['ours']:.2f}" if len(taken) > 1 else "–"]
        for (n, d), by_rule in times.items()
        for rule, taken in by_rule.items()
    ]
    report(
        "aggregation",
        ratios(times),
        head=["n", "d", "rule", "ours", "byzfl, array", "byzfl, tensor", "faster byzfl / ours"],
        rows=rows,
        packages=("numpy", "torch", "numba", "scipy", "byzfl"),
        notes=[
            *notes,
            f"float32, one thread on both sides, f = {F}, medians of {ROUNDS} turns",
            f"aims: {', '.join(f'{name} >= {aim}' for name, aim in AIMS.items())}; "
            "a ratio is the lesser of the two sizes",
        ],
    )


def rules_of_byzfl() -> types.ModuleType | None:
    """ByzFL's aggregators without the rest of its package; None where it is not installed."""
    found = importlib.util.find_spec("byzfl")
    if found is None or found.submodule_search_locations is None:
        return None
    package = types.ModuleType("byzfl")
    package.__path__ = list(found.submodule_search_locations)
    sys.modules["byzfl"] = package  # so that its own __init__ is not run
    return importlib.import_module("byzfl.aggregators.aggregators")


def rivals_of(
    byzfl: types.ModuleType | None, gradients: np.ndarray
) -> tuple[dict[str, Callable[[Any], Any]], list[str]]:
    """ByzFL's rule beside each of ours, and what is to be said of accuracy; first, same answers."""
    true = weiszfelds_limit(gradients)
    ours = error(geometric_median(gradients, F), gradients, true)
    exact = error(geometric_median(gradients.astype(np.float64), F), gradients, true)
    notes = [f"geometric median, error of ours {ours:.1e}, before rounding {exact:.1e}"]
    if byzfl is None:
        return {}, notes
    rivals: dict[str, Callable[[Any], Any]] = {
        "krum": byzfl.Krum(F),
        "krum_paper": byzfl.Krum(F),
        "median": byzfl.Median(),
        "trimmed_mean": byzfl.TrMean(F),
        "geometric_median": byzfl.GeometricMedian(),
    }
    for rule in ("krum", "median", "trimmed_mean"):
        np.testing.assert_allclose(OURS[rule](gradients), rivals[rule](gradients), atol=1e-5)
    theirs = error(byzfl.GeometricMedian()(gradients), gradients, true)
    steps = steps_needed(byzfl, gradients, true, max(exact, 1e-6))
    rivals["geometric_median_as_exact"] = byzfl.GeometricMedian(T=steps)
    as_exact = error(rivals["geometric_median_as_exact"](gradients), gradients, true)
    assert ours <= theirs, "ours must be no less accurate"
    notes.append(f"of byzfl {theirs:.1e} (T=3), {as_exact:.1e} (T={steps})")
    return rivals, notes


def weiszfelds_limit(gradients: np.ndarray) -> np.ndarray:
    """The geometric median, (d,) float64, by Weiszfeld's steps until they stand still."""
    z = gradients.mean(axis=0, dtype=np.float64)
    for _ in range(MOST):
        distances = np.array([np.linalg.norm(gradient - z) for gradient in gradients])
        weights = 1 / distances / (1 / distances).sum()
        before, z = z, sum(w * gradient for w, gradient in zip(weights, gradients, strict=True))
        if np.linalg.norm(z - before) <= 1e-13 * distances.mean():
            break
    return z


def error(z: np.ndarray, gradients: np.ndarray, true: np.ndarray) -> float:
    """The distance from the true one, as a part of the gradients' mean distance from it."""
    mean = np.mean([np.linalg.norm(gradient - true) for gradient in gradients])
    return float(np.linalg.norm(z - true) / mean)


def steps_needed(
    byzfl: types.ModuleType, gradients: np.ndarray, true: np.ndarray, wanted: float
) -> int:
    """With how many of Weiszfeld's steps ByzFL's error is at most as wanted; MOST, if with none."""
    for steps in (*range(1, 10), *range(10, MOST, 10)):
        if error(byzfl.GeometricMedian(T=steps)(gradients), gradients, true) <= wanted:
            return steps
    return MOST


def measure(
    ours: Callable[[Any], Any], theirs: Callable[[Any], Any] | None, gradients: np.ndarray
) -> dict[str, float]:
    """Seconds of one call by contender: ours, and ByzFL's with an array and with a tensor."""
    contenders = {"ours": partial(seconds, ours, gradients)}
    if theirs is not None:
        contenders["array"] = partial(seconds, theirs, gradients)
        contenders["tensor"] = partial(seconds, theirs, torch.from_numpy(gradients))
    seconds(ours, gradients)  # until it is compiled
    return medians(alternate(contenders, ROUNDS))


def seconds(rule: Callable[[Any], Any], gradients: Any) -> float:
    start = time.perf_counter()
    rule(gradients)
    return time.perf_counter() - start


def best(taken: Mapping[str, float]) -> float:
    """The seconds of ByzFL's faster way."""
    return min(taken["array"], taken["tensor"])


def ratios(times: Times) -> dict[str, float]:
    """How many times as fast as ByzFL's faster way: the lesser of the sizes, and each size."""
    found: dict[str, float] = {}
    for rule in OURS:
        by_size = {
            n: best(by_rule[rule]) / by_rule[rule]["ours"]
            for (n, _), by_rule in times.items()
            if len(by_rule[rule]) > 1
        }
        if by_size:
            found[rule] = min(by_size.values())
            found |= {f"{rule}_{n}": ratio for n, ratio in by_size.items()}
    return found


if __name__ == "__main__":
    main()
