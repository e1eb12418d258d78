"""How many steps to a target, by batch size: measured, and a model with its three regimes.

C. J. Shallue, J. Lee, J. Antognini, J. Sohl-Dickstein, R. Frostig, G. E. Dahl, "Measuring the
Effects of Data Parallelism on Neural Network Training", JMLR 2019, arXiv 1811.03600: a batch twice
as large halves the steps as long as it is small, then saves fewer and fewer, and in the end none,
provided that the rate is tuned anew for each batch.

S. McCandlish, J. Kaplan, D. Amodei and the OpenAI Dota Team, "An Empirical Model of Large-Batch
Training", arXiv 1812.06162, have a curve through all three regimes:

    steps(B) = s_min (1 + noise / B)

With B far below `noise`, steps are s_min noise / B; at B = noise they are twice s_min; far above,
they are s_min, the steps of the exact gradient. (Their equation 2.11 with the number of samples,
B steps(B), put in; the number from memory.)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import scipy.optimize

from ddml_kit.cluster.endpoint import generator
from ddml_kit.problems.problem import Problem
from ddml_kit.problems.sparse import dense
from ddml_kit.training.optimisers import Optimiser


def steps_to(
    problem: Problem,
    optimiser: Optimiser,
    evaluate: Callable[[np.ndarray], float],
    target: float,
    *,
    batch_size: int,
    most: int,
    seed: int = 0,
) -> float:
    """Steps until evaluate(w) is at most the target; infinity if it isn't after `most` of them.

    The steps of `mini_batch` on Simulated(1, seed=seed), without what comes after the target. A
    rate at which the model becomes infinite never gets there.
    """
    w = problem.initial(seed=0)
    step = optimiser(w)
    batches = problem.batches(generator(seed, 0, "batches"), batch_size, most)
    try:
        for taken, batch in enumerate(batches):
            if evaluate(w) <= target:
                return taken
            step(dense(problem.gradient(w, batch), problem.dim), 1.0)
    except FloatingPointError:
        return math.inf
    return most if evaluate(w) <= target else math.inf


def steps_needed(batch: float, s_min: float, noise: float) -> float:
    """The model's steps with a batch of this size: s_min (1 + noise / batch)."""
    return s_min * (1 + noise / batch)


def fit_steps(batches: Sequence[float], steps: Sequence[float]) -> tuple[float, float]:
    """s_min and noise of the model, by least squares of the relative errors.

    noise is infinite where steps go on falling as 1 / B. Raises ValueError for fewer than two
    different batches, and for batches or steps that are not finite or not above 0.
    """
    B, s = np.asarray(batches, float), np.asarray(steps, float)
    values = np.concatenate([B.ravel(), s.ravel()])
    fits = B.shape == s.shape and B.ndim == 1 and len(np.unique(B)) > 1
    if not fits or not np.isfinite(values).all() or not (values > 0).all():
        raise ValueError(
            "a fit needs batches and steps above 0 for two different batches or more, all finite, "
            f"got {list(steps)} for {list(batches)}"
        )
    (s_min, product), _ = scipy.optimize.nnls(
        np.stack([1 / s, 1 / (B * s)], axis=1), np.ones(len(B))
    )
    return float(s_min), float(product / s_min) if s_min > 0 else math.inf
