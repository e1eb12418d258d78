"""Problems over samples with labels: what they share, whatever the model."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from typing import Any, Self

import numpy as np

from ddml_kit.problems.problem import Batch, Problem
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
        self, rng: np.random.Generator | None, batch_size: int, steps: int
    ) -> Iterator[Batch]:
        if batch_size < 1:
            raise ValueError(f"batch_size must be 1 or more, got {batch_size}")
        if steps < 0:
            raise ValueError(f"steps must be 0 or more, got {steps}")
        return _passes(self.x, self.y, rng, batch_size, steps)


def _passes(
    x: Any, y: np.ndarray, rng: np.random.Generator | None, batch_size: int, steps: int
) -> Iterator[Batch]:
    n = len(y)
    while steps > 0:
        chosen: Iterator[slice | np.ndarray]
        if rng is None:
            chosen = (slice(i, i + batch_size) for i in range(0, n, batch_size))
        elif batch_size == 1:  # a view of one sample is cheaper than a copy
            chosen = (slice(i, i + 1) for i in rng.permutation(n).tolist())
        else:
            order = rng.permutation(n)
            chosen = (order[i : i + batch_size] for i in range(0, n, batch_size))
        for _, samples in zip(range(steps), chosen, strict=False):
            steps -= 1
            yield Batch(x[samples], y[samples])
