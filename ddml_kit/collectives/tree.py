"""All-reduce up a binomial tree and down again; broadcast and gather on the same tree.

R. Thakur, R. Rabenseifner, W. Gropp, "Optimization of Collective Communication Operations in
MPICH", IJHPCA 19(1), 2005, section 4. Ranks are counted from the root. The parent of a rank is the
rank without its lowest bit, so a rank's children are itself plus 1, 2, 4, ... below that bit. Few
steps, in each of which a whole vector travels: for short vectors.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ddml_kit.cluster.checks import whole
from ddml_kit.cluster.comm import Comm
from ddml_kit.collectives.vectors import received, summable


def tree(comm: Comm, x: Any) -> np.ndarray:
    """The sum of x over all ranks, on every rank; a new array like x.

    2 floor(log2 n) steps; 2 (n - 1) S bytes. Raises what `ring` raises.
    """
    x = summable(x)
    total = x.reshape(-1).copy()
    parent, children = family(comm, 0)
    for child in children:
        total += received(comm, child, total)
    if parent is not None:
        comm.send(total, parent)
        total = received(comm, parent, total)
    for child in reversed(children):
        comm.send(total, child)
    return total.reshape(x.shape)


def broadcast(comm: Comm, x: Any, root: int = 0) -> np.ndarray:
    """Rank `root`'s array, on every rank, a copy on the root, too; what the others pass is ignored.

    floor(log2 n) steps; (n - 1) S bytes.
    """
    parent, children = family(comm, root)
    value = np.array(summable(x)) if parent is None else comm.recv(parent).value
    for child in reversed(children):
        comm.send(value, child)
    return value


def gather(comm: Comm, x: Any, root: int = 0) -> list[np.ndarray] | None:
    """The vectors of all ranks, as a list by rank, on the root; None on the others.

    They may differ in length and dtype. floor(log2 n) steps. A vector travels once for each step
    between its rank and the root: S (n / 2) log2 n bytes where n is a power of two and all have S.
    """
    parent, children = family(comm, root)
    parts = [np.array(summable(x)).reshape(-1)]  # from this rank on, as counted from the root
    for child in children:
        parts += comm.recv(child).value
    if parent is not None:
        comm.send(parts, parent)
        return None
    return [parts[(rank - root) % comm.size] for rank in range(comm.size)]


def family(comm: Comm, root: int) -> tuple[int | None, list[int]]:
    """This rank's parent, None for the root, and its children, the smallest branch first.

    Raises ValueError for a root that is no rank.
    """
    root = whole("root must be a rank", root)
    if not 0 <= root < comm.size:
        raise ValueError(f"root must be a rank from 0 to {comm.size - 1}, got {root}")
    place = (comm.rank - root) % comm.size
    lowest = place & -place or comm.size  # the lowest bit; no bound for the root
    parent = (comm.rank - lowest) % comm.size if place else None
    reaches = (1 << k for k in range((lowest - 1).bit_length()))
    return parent, [(comm.rank + k) % comm.size for k in reaches if place + k < comm.size]
