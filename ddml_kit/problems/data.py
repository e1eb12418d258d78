"""Data sets: inputs, labels and a name."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ddml_kit.problems.csr import Rows


@dataclass(frozen=True, eq=False)
class Data:
    """Samples and their labels.

    x: (n, ...) float32, or Rows. y: (n,) int64, classes counted from 0; or numbers, float32.
    labels: what the classes are called, in order. titles: (n,) text, what each sample is called;
    both may be empty.
    """

    x: np.ndarray | Rows
    y: np.ndarray
    name: str
    labels: tuple[str, ...] = ()
    titles: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.y)

    def take(self, order: np.ndarray) -> Data:
        """The samples of these numbers, in this order, copied."""
        titles = tuple(self.titles[i] for i in order) if self.titles else ()
        return Data(self.x[order], self.y[order], self.name, self.labels, titles)

    def split(self, test: float = 0.2, seed: int = 0) -> tuple[Data, Data]:
        """(train, test), two data sets drawn at random, the second with the share `test`.

        Both come in random order, so that neighbours in memory are unrelated.
        """
        held_out = round(test * len(self))
        if not 1 <= held_out < len(self):
            raise ValueError(
                f"a split needs a sample on either side, got test={test} of {len(self)} samples"
            )
        order = np.random.default_rng(seed).permutation(len(self))
        return self.take(order[held_out:]), self.take(order[:held_out])
