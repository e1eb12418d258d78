"""Adversarial training: in each step the batch is first moved to where the model does worst.

Madry et al., arXiv 1706.06083, equation 2.1: min over w of the mean over samples of the max over
allowed images of the loss. The inner maximum is sought by PGD from a random start; by Danskin's
theorem (appendix A there) the gradient at the images found is that of the maximum. Every sample is
moved; the clean ones are not learned from.

A batch is data, so this is a problem like any other, whose `gradient` perturbs its batch first, and
every program trains it: `mini_batch` on one machine, `data_parallel` on a cluster, each rank
attacking its own batch with its own copy of the model. A step costs steps + 1 gradients in place of
one, and as many bytes as before. (A gradient by the images costs as much here as one by the
weights.)
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from ddml_kit.adversarial.checks import as_images, as_labels, check_count, check_eps, check_steps
from ddml_kit.adversarial.norms import Bounds, Norm, linf
from ddml_kit.adversarial.pgd import UNIT, pgd
from ddml_kit.problems.problem import Batch, BatchSize, Problem
from ddml_kit.problems.sharding import Split, contiguous
from ddml_kit.problems.torch_module import TorchModule
from ddml_kit.problems.torch_threads import one_thread


@dataclass(frozen=True, slots=True, eq=False)
class Seeded(Batch):
    """A batch with what its random starts are drawn from."""

    seed: int


class Adversarial(Problem):
    """The worst loss of a module over images near the data, as a function of w, (dim,).

    problem: what is learned, with inputs within bounds and classes as labels. eps, norm, bounds:
    which images are near. steps, step: of PGD; step None for 2.5 eps / steps. random_start: of the
    batches that are drawn with a generator; others begin at the samples themselves.

    `clean` is the problem itself. `loss` and `accuracy` are those of the images that PGD finds from
    the samples, without a random start: the robust ones, up to what PGD does not find.
    """

    def __init__(
        self,
        problem: TorchModule,
        *,
        eps: float,
        steps: int,
        step: float | None = None,
        norm: Norm = linf,
        bounds: Bounds = UNIT,
        random_start: bool = True,
    ) -> None:
        check_eps(eps)
        check_count(steps, "steps", least=0)
        if step is not None:
            check_steps(step, steps)
        as_labels(problem.y, len(as_images(problem.x, bounds)))
        self.clean = problem
        self.eps, self.steps, self.step = eps, steps, step
        self.norm, self.bounds, self.random_start = norm, bounds, random_start
        self.dim, self.dtype, self.shapes = problem.dim, problem.dtype, problem.shapes

    def on(self, problem: TorchModule) -> Adversarial:
        """The same attack on another problem."""
        return Adversarial(
            problem,
            eps=self.eps,
            steps=self.steps,
            step=self.step,
            norm=self.norm,
            bounds=self.bounds,
            random_start=self.random_start,
        )

    def perturbed(self, w: np.ndarray, batch: Batch) -> Batch:
        """The batch with its inputs moved to where the model w does worst."""
        start = np.random.default_rng(batch.seed) if isinstance(batch, Seeded) else None
        with one_thread():
            x = pgd(
                self.clean.module(w).eval(),
                batch.x,
                batch.y,
                eps=self.eps,
                step=self.step,
                steps=self.steps,
                norm=self.norm,
                bounds=self.bounds,
                start=start,
            )
        return dataclasses.replace(batch, x=x)

    def _gradient(self, w: np.ndarray, batch: Batch) -> Any:
        return self.clean.gradient(w, self.perturbed(w, batch))

    def seconds(self, batch: Batch) -> float:
        """One gradient for each step of PGD, and one of the weights."""
        return (self.steps + 1) * self.clean.seconds(batch)

    def batches(
        self, rng: np.random.Generator | None, batch_size: BatchSize, steps: int
    ) -> Iterator[Batch]:
        """Those of the clean problem, the same for the same generator, with a seed for each."""
        drawn = self.clean.batches(rng, batch_size, steps)
        if rng is None or not self.random_start:
            return drawn
        return _seeded(drawn, rng.spawn(1)[0])  # of its own, or it would change the batches

    def loss(self, w: np.ndarray) -> float:
        return self._worst(w).loss(w)

    def accuracy(self, w: np.ndarray) -> float:
        return self._worst(w).accuracy(w)

    def _worst(self, w: np.ndarray) -> TorchModule:
        found = self.perturbed(w, Batch(self.clean.x, self.clean.y))
        return self.clean.on(found.x, found.y)

    def __len__(self) -> int:
        return len(self.clean)

    def initial(self, seed: int = 0) -> np.ndarray:
        return self.clean.initial(seed)

    def module(self, w: np.ndarray) -> torch.nn.Module:
        """A copy of the module with w, (dim,), as its parameters, in evaluation mode."""
        return self.clean.module(w).eval()

    def shard(self, rank: int, size: int, by: Split = contiguous) -> Adversarial:
        return self.on(self.clean.shard(rank, size, by))


def _seeded(batches: Iterator[Batch], rng: np.random.Generator) -> Iterator[Batch]:
    for batch in batches:
        yield Seeded(batch.x, batch.y, int(rng.integers(2**63)))
