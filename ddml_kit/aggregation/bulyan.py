"""Bulyan: Krum until n - 2f are selected, then of each coordinate the values around its median.

E. M. El Mhamdi, R. Guerraoui, S. Rouault, "The hidden vulnerability of distributed learning in
Byzantium", ICML 2018, arXiv 1802.07927, section 4. A liar that passes for a neighbour in d
dimensions can still be far off in one; the second step looks at each by itself.

Scores are those among the gradients not yet selected: what is selected leaves, and the others'
scores are updated. (Garfield scores once.) With r of them left, r - f - 2 neighbours count, and at
least one: the paper doesn't say what Krum does when fewer than f + 3 are left.

A gradient that is not finite is left out and f is one less, so that more are selected, and more of
them averaged, than beside a finite liar however far: n - 2f and n - 4f grow. To Krum both are one.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ddml_kit.aggregation import bounds
from ddml_kit.aggregation.distances import among
from ddml_kit.aggregation.gradients import examined
from ddml_kit.aggregation.kernels import columns
from ddml_kit.aggregation.krum import closest
from ddml_kit.aggregation.networks import network


def bulyan(gradients: Any, f: int) -> Any:
    """The mean of each coordinate's n - 4f values around its median in n - 2f selected, (d,).

    n >= 4f + 3 (El Mhamdi et al. 2018, section 4). The selected are Krum's choices, one after the
    other; the values are those next to the median in order, of two as near the lower.
    Raises what `examined` raises, and ValueError where more than f are not finite.
    """
    distances, given = among(examined(gradients, f, bounds.BULYAN))
    n, f = given.n, given.f
    left = np.arange(n)
    while len(left) > 2 * f:
        count = min(max(1, len(left) - f - 2), len(left) - 1)
        left = np.setdiff1d(left, closest(distances, left, count, m=1), assume_unique=True)
    selected = np.setdiff1d(np.arange(n), left, assume_unique=True)
    chosen = given.rows[selected]
    out = np.empty(chosen.shape[1], chosen.dtype)
    columns.around_median(chosen, network(len(chosen)), n - 4 * f, out)
    return given.back(out)
