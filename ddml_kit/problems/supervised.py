"""Problems over samples with labels: what they share, whatever the model."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from typing import Any, Self

import numpy as np

from ddml_kit.problems.problem import Batch, BatchSize, Problem
from ddml_kit.problems.sharding import Split, contiguous


class Supervised(Problem):
    """A problem whose data are inputs x, (n, ...) or Rows, and labels y, (n, ...)."""

    x: Any
    y: np.ndarray

    def __len__(self) -> int:
        return len(self.y)

    @abstractmethod
    def on(self, x: Any, y: np.ndarray) -> Self:
        """The same model on other samples; x and y as this problem keeps them."""

    def shard(self, rank: int, size: int, by: Split = contiguous) -> Self:
        if not 0 <= rank < size:
            raise ValueError(f"a shard needs a rank from 0 to size - 1 = {size - 1}, got {rank}")
        mine = by(self.y, size)[rank]
        if len(mine) == 0:
            raise ValueError(f"each rank needs a sample of its own, rank {rank} of {size} has none")
        if mine[-1] - mine[0] == len(mine) - 1 and np.all(np.diff(mine) == 1):
            run = slice(int(mine[0]), int(mine[-1]) + 1)  # no copy: neighbours as they lie
            return self.on(self.x[run], self.y[run])
        return self.on(self.x[mine], self.y[mine])

    def batches(
        self, rng: np.random.Generator | None, batch_size: BatchSize, steps: int
    ) -> Iterator[Batch]:
        if not callable(batch_size) and batch_size < 1:
            raise ValueError(f"batch_size must be 1 or more, got {batch_size}")
        if steps < 0:
            raise ValueError(f"steps must be 0 or more, got {steps}")
        return _passes(self.x, self.y, rng, batch_size, steps)


def _passes(
    x: Any, y: np.ndarray, rng: np.random.Generator | None, batch_size: BatchSize, steps: int
) -> Iterator[Batch]:
    n = at = len(y)  # how far this pass has come
    order: np.ndarray | None = None
    for step in range(steps):
        if at >= n:
            order, at = None if rng is None else rng.permutation(n), 0
        size = _checked(batch_size(step), step) if callable(batch_size) else batch_size
        samples: slice | np.ndarray
        if order is None:
            samples = slice(at, at + size)
        elif size == 1:  # a view of one sample is cheaper than a copy
            samples = slice(first := int(order[at]), first + 1)
        else:
            samples = order[at : at + size]
        at += size
        yield Batch(x[samples], y[samples])


def _checked(size: int, step: int) -> int:
    """Raises ValueError for what is no size of a batch."""
    if size < 1:
        raise ValueError(f"batch_size must be 1 or more, got {size} at step {step}")
    return size
