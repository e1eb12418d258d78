"""Sums that torch.distributed makes in its own way: order="any" on the CPU, and all on GPUs.

gloo's ring folds each chunk from another rank on, so its bits are not those of the fold in rank
order (R. Thakur, R. Rabenseifner, W. Gropp, IJHPCA 19(1), 2005). On GPUs, order="rank" is a
reduce-scatter and an all-gather, as on the CPU: each rank gets its chunk of all vectors, folds them
on its own GPU, and gives the sum to all. Which bits a GPU makes of one addition is the same
everywhere (IEEE 754); those of a program that computes on GPUs are another matter.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch.distributed import AllreduceOptions, ReduceOp

from ddml_kit.cluster.distributed.groups import EVER

REDUCTIONS: dict[np.ufunc, tuple[Any, Callable[..., torch.Tensor]]] = {
    np.add: (ReduceOp.SUM, torch.add),
    np.multiply: (ReduceOp.PRODUCT, torch.mul),
    np.maximum: (ReduceOp.MAX, torch.maximum),
    np.minimum: (ReduceOp.MIN, torch.minimum),
}
GLOO = [np.dtype(code) for code in ("f4", "f8", "f2", "i1", "u1", "i4", "i8")]  # that it can add


def takes(x: np.ndarray, op: np.ufunc) -> bool:
    """Whether gloo can combine arrays like this one."""
    return x.dtype in GLOO and x.size > 0 and keeps_nan(op, x.dtype.kind == "f")


def keeps_nan(op: np.ufunc, is_float: bool) -> bool:
    """Whether torch.distributed's own op keeps NaN, as NumPy's does: not where it compares."""
    return not is_float or op not in (np.maximum, np.minimum)


def reduce_anyhow(group: Any, x: np.ndarray | torch.Tensor, op: np.ufunc) -> None:
    """Put the combination of all ranks' x into x. Raises RuntimeError if a rank dies meanwhile."""
    tensor = torch.from_numpy(x) if isinstance(x, np.ndarray) else x
    options = AllreduceOptions()
    options.reduceOp, options.timeout = REDUCTIONS[op][0], EVER
    group.allreduce([tensor], options).wait()


def fold_tensor(group: Any, x: torch.Tensor, op: np.ufunc, n: int) -> torch.Tensor:
    """x[0] op x[1] op ... over the n ranks of the group, from the left, like x, on its device."""
    flat = x.reshape(-1)
    length = -(-flat.numel() // n)
    parts = flat.new_zeros(n * length)
    parts[: flat.numel()] = flat
    mine = torch.empty_like(parts)
    group.alltoall_base(mine, parts, [], []).wait()
    chunks = mine.view(n, length)
    total = chunks[0].clone()
    for chunk in chunks[1:]:
        total = REDUCTIONS[op][1](total, chunk)
    group._allgather_base(parts, total).wait()
    return parts[: flat.numel()].view(x.shape)
