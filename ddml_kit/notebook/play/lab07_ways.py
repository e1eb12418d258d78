"""Lab 07's runs as short calls: gossip as curves, over steps and bytes, and two tastes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np

from ddml_kit.cluster import Network, Simulated
from ddml_kit.cluster.run import Curve
from ddml_kit.compression import Codec
from ddml_kit.compression.rows import rows
from ddml_kit.problems import LeastSquares, Problem
from ddml_kit.training.optimisers import sgd

KILOBYTES = (0, 5, 10, 15, 20, 25, 30, 40, 50, 60, 80, 100)  # where a curve over bytes has points


def errors(way: Iterable[np.ndarray], steps: int = 300) -> Curve:
    """How far the workers are from the mean of what they began with, squared, after every step.

    way: their vectors as they go, (n, d), as of `topologies.consensus.choco`. It has no clock.
    """
    matrices = list(islice(way, steps + 1))
    mean = matrices[0].mean(axis=0)
    values = [float(np.mean(np.sum((X - mean) ** 2, axis=1))) for X in matrices]
    return Curve(np.arange(len(values)), np.zeros(len(values)), np.array(values))


def rounded(codec: Codec, seed: int = 0) -> Callable[[np.ndarray], np.ndarray]:
    """Each worker's vector, encoded and decoded: what its neighbours get of it, (n, d) each."""
    return rows(codec, np.random.default_rng(seed))


def straightness(curve: Curve, after: int = 20) -> float:
    """The correlation of a curve's logarithm with its steps: -1 where it falls on a line."""
    return float(np.corrcoef(curve.step[after:], np.log(curve.value[after:]))[0, 1])


def over_bytes(curve: Curve, kb_a_step: float) -> tuple[list[float], list[float]]:
    """A curve by what a worker has sent, in kB: where it has sent so much, and the values there."""
    at = np.round(np.array(KILOBYTES) / kb_a_step).astype(int)
    reached = at < len(curve.value)
    return list(np.array(KILOBYTES)[reached]), list(curve.value[at[reached]])


def milliseconds_a_step(
    program: Callable[..., Any], problem: Problem, network: Network, n: int, **options: Any
) -> float:
    """What a step of SGD takes n simulated workers, on average over ten."""
    run = Simulated(n, network=network).run(
        program, problem, sgd(0.5), steps=10, batch_size=16, **options
    )
    return 100 * run.seconds


@dataclass(frozen=True)
class Tastes:
    """Workers of two tastes by turns. wanted: (n, d); likeness: (n, n), 0 for oneself."""

    problem: LeastSquares
    wanted: np.ndarray
    likeness: np.ndarray

    def error(self, models: Sequence[np.ndarray]) -> float:
        """The mean over workers of |model - wanted|^2."""
        return float(np.mean(np.sum((np.array(models) - self.wanted) ** 2, axis=1)))


def two_tastes(*, n: int = 12, dim: int = 10, samples: int = 6, likeness: float = 0.05) -> Tastes:
    """n workers with so many noisy samples each; those of the other taste are alike to a degree."""
    rng = np.random.default_rng(0)
    one, other = rng.normal(size=(2, dim))
    wanted = np.array([one if worker % 2 == 0 else other - one for worker in range(n)])
    inputs = rng.normal(size=(n * samples, dim))
    heard = np.sum(inputs * np.repeat(wanted, samples, axis=0), axis=1)
    problem = LeastSquares(inputs, heard + rng.normal(size=n * samples) / 2)
    same = np.add.outer(np.arange(n), np.arange(n)) % 2 == 0
    return Tastes(problem, wanted, np.where(same, 1, likeness) - np.eye(n))
