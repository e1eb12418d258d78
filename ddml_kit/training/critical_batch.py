"""The batch beyond which a larger one stops helping, read off the gradients of single samples.

Let g be the gradient of one sample and G the mean of all. The mean of B of them, drawn at random,
has

    E |mean|^2 = E |g|^2 / B (1 + (B - 1) / B0)    with    B0 = E |g|^2 / |G|^2

A step of B samples at B times the rate goes as far towards the minimum as B single steps. What it
risks is its squared length, which is 1 + (B - 1) / B0 times what those B steps risk together. So in
the worst case it takes that many times the samples, and saves a factor of

    speed-up(B) = B / (1 + (B - 1) / B0)

in steps: nearly B while B is small, and never more than B0. D. Yin, A. Pananjady, M. Lam,
D. Papailiopoulos, K. Ramchandran, P. Bartlett, "Gradient Diversity: a Key Ingredient for Scalable
Distributed Learning", AISTATS 2018, arXiv 1706.05699: B0 is their batch-size bound, n times the
gradient diversity (their definition from memory; the equation above is checked in the tests), and
they give problems on which more than B0 slows SGD down.

It is the curve of steps_to_target with noise = B0 - 1, and B0 - 1 = tr(Sigma) / |G|^2 is the simple
noise scale of S. McCandlish and others, arXiv 1812.06162. B0 depends on where the model is: it
grows as |G| falls.

`gradients` is also what B gradients cost: B models of memory, where their sum takes one.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ddml_kit.problems.problem import Batch, Problem
from ddml_kit.problems.sparse import dense


def gradients(problem: Problem, w: np.ndarray, batch: Batch) -> np.ndarray:
    """The gradient of each sample, (b, dim): as much memory as b models."""
    each = np.empty((len(batch), problem.dim), problem.dtype)
    for row, sample in zip(each, singles(batch), strict=True):
        row[:] = dense(problem.gradient(w, sample), problem.dim)
    return each


def mean_gradient(problem: Problem, w: np.ndarray, batch: Batch) -> np.ndarray:
    """Their mean, (dim,), sample by sample: as much memory as two models, whatever the batch.

    Adding gradients up so is also how a batch is computed for which memory is too small.
    """
    total = np.zeros(problem.dim, problem.dtype)
    for sample in singles(batch):
        total += dense(problem.gradient(w, sample), problem.dim)
    total /= len(batch)
    return total


def singles(batch: Batch) -> Iterator[Batch]:
    """The samples of a batch, each a batch of its own."""
    for i in range(len(batch)):
        yield Batch(batch.x[i : i + 1], batch.y[i : i + 1])


def critical_batch(each: np.ndarray) -> float:
    """B0 = E |g|^2 / |G|^2 for the gradients of single samples, (n, dim); from 1 to infinity."""
    g = np.asarray(each, np.float64)
    if g.ndim != 2 or not len(g):
        raise ValueError(f"gradients must be (n, dim), one or more, got {g.shape}")
    mean = g.mean(axis=0)
    squared = float(mean @ mean)
    return float(np.einsum("ij,ij->", g, g)) / len(g) / squared if squared else np.inf


def worst_case_speed_up(batch: float, critical: float) -> float:
    """How many times fewer steps than single samples need, at least: B / (1 + (B - 1) / B0)."""
    if not batch >= 1 or not critical >= 1:
        raise ValueError(f"batch and B0 are 1 or more, got {batch} and {critical}")
    return batch / (1 + (batch - 1) / critical)
