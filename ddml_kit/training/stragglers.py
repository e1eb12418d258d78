"""How long the k-th of n workers takes, and how many to leave out.

Sources: order statistics of exponential times as in S. Dutta, G. Joshi, S. Ghosh, P. Dube,
P. Nagpurkar, "Slow and Stale Gradients Can Win the Race", AISTATS 2018, arXiv 1803.01113, lemma 1;
the choice of backup workers by time a gradient follows J. Chen, X. Pan, R. Monga, S. Bengio,
R. Jozefowicz, "Revisiting Distributed Synchronous SGD", arXiv 1604.00981, section 3, who estimate
from measured times, too.
"""

from __future__ import annotations

import numpy as np


def kth_of_n(k: int, n: int, mean: float = 1.0) -> float:
    """When the k-th of n arrives on average, if each takes exponential time of this mean (s).

    mean (1/n + 1/(n - 1) + ... + 1/(n - k + 1)). Raises ValueError unless 1 <= k <= n.
    """
    if not 1 <= k <= n:
        raise ValueError(f"the k-th of n needs 1 <= k <= n, got k={k} and n={n}")
    return mean * sum(1 / i for i in range(n - k + 1, n + 1))


def best_backup(times: np.ndarray, overhead: float) -> int:
    """How many of n workers to leave out, so that a gradient takes the least time.

    times: what each worker's work took in past rounds (s), (rounds, n). overhead: what a round
    takes beside (s), such as messages. With b left out a round lasts until the (n - b)-th has
    arrived, and brings n - b gradients. Raises ValueError for other shapes, or overhead < 0.
    """
    if times.ndim != 2 or not times.size:
        raise ValueError(
            f"times must be (rounds, n), a round and a worker at least, got {times.shape}"
        )
    if not overhead >= 0:
        raise ValueError(f"overhead must be 0 seconds or more, got {overhead}")
    n = times.shape[1]
    arrival = np.sort(times, axis=1).mean(axis=0)  # of the first, the second, ..., (n,)
    each = (overhead + arrival) / np.arange(1, n + 1)  # time a gradient with the first k, k = 1..n
    return n - 1 - int(np.argmin(each))
