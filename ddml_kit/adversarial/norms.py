"""How far an image may be moved: balls in three norms, and what an attack needs of each.

A norm supplies a random point of its ball, the steepest step, and the nearest point of the ball, as
in J. Rauber, W. Brendel, M. Bethge, "Foolbox", arXiv 1707.04131. Vectors are rows, (n, d).

Projections on a ball alone: l2 scales, l1 is algorithm 1 of J. Duchi, S. Shalev-Shwartz, Y. Singer,
T. Chandra, "Efficient Projections onto the l1-Ball for Learning in High Dimensions", ICML 2008.
An image must also stay within its bounds. Projecting on the ball and then clipping lands in both,
but not on the nearest point of both (F. Croce, M. Hein, "Mind the Box: l1-APGD on Sparse
Adversarial Attacks on Image Classifiers", ICML 2021, arXiv 2103.01208), so `within` finds that one,
exactly. `clipped` has the other, which torchattacks and Foolbox use.

Steps: the sign of the gradient for linf, the gradient's direction for l2. The steepest l1 step is
one coordinate; as in F. Tramer, D. Boneh, "Adversarial Training and Robustness for Multiple
Perturbations", NeurIPS 2019, arXiv 1904.13000, it is shared by the steepest few. Departure: of
coordinates that have room to move.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

Bounds = tuple[float, float]  # the least and the greatest value of a pixel


@dataclass(frozen=True)
class Norm:
    """What an attack needs of a norm; every function works row by row.

    length: of v, (n, d) -> (n,). draw: (generator, n, d) -> (n, d) float64, uniform in the unit
    ball. steepest: (gradient, at, bounds), each (n, d) -> the step of length 1, or 0 where the
    gradient is 0, along which the loss rises most. project: (v, eps) -> the nearest point of the
    ball of radius eps, (n, d). within: (v, eps, low, high) -> the nearest point of the ball that
    also lies between low <= 0 and high >= 0, (n, d).
    """

    name: str
    length: Callable[[torch.Tensor], torch.Tensor]
    draw: Callable[[np.random.Generator, int, int], np.ndarray]
    steepest: Callable[[torch.Tensor, torch.Tensor, Bounds], torch.Tensor]
    project: Callable[[torch.Tensor, float], torch.Tensor]
    within: Callable[[torch.Tensor, float, torch.Tensor, torch.Tensor], torch.Tensor]

    def __repr__(self) -> str:
        return self.name


def clipped(norm: Norm) -> Norm:
    """The norm with a cheaper `within`: on the ball, then clipped, which is not the nearest."""

    def within(v: torch.Tensor, eps: float, low: torch.Tensor, high: torch.Tensor) -> torch.Tensor:
        return torch.minimum(torch.maximum(norm.project(v, eps), low), high)

    return dataclasses.replace(norm, name=f"clipped({norm.name})", within=within)


# ------------------------------------------------------------------------------------ linf


def _linf_project(v: torch.Tensor, eps: float) -> torch.Tensor:
    return torch.clamp(v, -eps, eps)


def _linf_within(
    v: torch.Tensor, eps: float, low: torch.Tensor, high: torch.Tensor
) -> torch.Tensor:
    return torch.minimum(torch.maximum(_linf_project(v, eps), low), high)


linf = Norm(
    "linf",
    length=lambda v: v.abs().amax(dim=1),
    draw=lambda rng, n, d: rng.uniform(-1.0, 1.0, (n, d)),
    steepest=lambda gradient, at, bounds: gradient.sign(),
    project=_linf_project,
    within=_linf_within,
)

# -------------------------------------------------------------------------------------- l2


def _l2_draw(rng: np.random.Generator, n: int, d: int) -> np.ndarray:
    direction = rng.standard_normal((n, d))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    return direction * rng.random((n, 1)) ** (1 / d)  # volume grows with the d-th power


def _l2_steepest(gradient: torch.Tensor, at: torch.Tensor, bounds: Bounds) -> torch.Tensor:
    # the largest entry first becomes 1, or squares of a tiny gradient would be 0
    largest = gradient.abs().amax(dim=1, keepdim=True)
    scaled = gradient / torch.where(largest > 0, largest, 1.0)
    length = torch.linalg.vector_norm(scaled, dim=1, keepdim=True)
    return scaled / torch.where(length > 0, length, 1.0)


def _l2_project(v: torch.Tensor, eps: float) -> torch.Tensor:
    length = torch.linalg.vector_norm(v, dim=1, keepdim=True)
    return torch.where(length > eps, v * (eps / torch.where(length > 0, length, 1.0)), v)


def _l2_within(v: torch.Tensor, eps: float, low: torch.Tensor, high: torch.Tensor) -> torch.Tensor:
    """The nearest point is min(s |v|, room) in each coordinate, for one s from 0 to 1 a row.

    s begins as if all had room enough. Those that have not shall have all of theirs, which leaves
    more length, and a greater s, for the others; and so on, until no more run out of it.
    """

    def shrunk(size: torch.Tensor, room: torch.Tensor) -> torch.Tensor:
        full = torch.zeros_like(size, dtype=torch.bool)
        while True:
            left = eps**2 - torch.where(full, room, 0.0).square().sum(dim=1, keepdim=True)
            free = torch.where(full, 0.0, size).square().sum(dim=1, keepdim=True)
            s = (left.clamp(min=0.0) / torch.where(free > 0, free, 1.0)).sqrt()
            fuller = full | (s * size >= room)
            if torch.equal(fuller, full):
                return torch.where(full, room, s * size)
            full = fuller

    return _where_needed(v, eps, low, high, lambda z: torch.linalg.vector_norm(z, dim=1), shrunk)


l2 = Norm(
    "l2",
    length=lambda v: torch.linalg.vector_norm(v, dim=1),
    draw=_l2_draw,
    steepest=_l2_steepest,
    project=_l2_project,
    within=_l2_within,
)

# -------------------------------------------------------------------------------------- l1


def _l1_draw(rng: np.random.Generator, n: int, d: int) -> np.ndarray:
    parts = rng.standard_exponential((n, d + 1))  # over their sum: uniform in the simplex
    return rng.choice([-1.0, 1.0], (n, d)) * parts[:, :d] / parts.sum(axis=1, keepdims=True)


def _l1_project(v: torch.Tensor, eps: float) -> torch.Tensor:
    """Every coordinate gives up as much, theta, and those that have less become 0."""
    size = v.abs().double()
    falling = size.sort(dim=1, descending=True).values
    count = torch.arange(1, size.shape[1] + 1, device=v.device)
    theta = (falling.cumsum(dim=1) - eps) / count
    last = (falling > theta).sum(dim=1, keepdim=True).clamp(min=1)
    theta = theta.gather(1, last - 1).clamp(min=0.0)
    return torch.copysign((size - theta).clamp(min=0.0).to(v.dtype), v)


def _l1_within(v: torch.Tensor, eps: float, low: torch.Tensor, high: torch.Tensor) -> torch.Tensor:
    """The nearest point is min(|v| - theta, room) where positive, for one theta >= 0 a row.

    As theta falls the length grows: by one more coordinate from |v| on, by one less from
    |v| - room on.
    """

    def shrunk(size: torch.Tensor, room: torch.Tensor) -> torch.Tensor:
        ends = torch.cat([size, (size - room).clamp(min=0.0)], dim=1)
        ends, order = ends.sort(dim=1, descending=True)
        moving = torch.where(order < size.shape[1], 1.0, -1.0).to(size).cumsum(dim=1)
        grown = (moving[:, :-1] * (ends[:, :-1] - ends[:, 1:])).cumsum(dim=1)
        length = torch.cat([torch.zeros_like(grown[:, :1]), grown], dim=1)  # at each end
        last = ((length < eps).sum(dim=1, keepdim=True) - 1).clamp(min=0)
        more, slope = eps - length.gather(1, last), moving.gather(1, last)
        theta = ends.gather(1, last) - torch.where(slope > 0, more / slope.clamp(min=1.0), 0.0)
        return torch.minimum((size - theta.clamp(min=0.0)).clamp(min=0.0), room)

    return _where_needed(v, eps, low, high, lambda z: z.abs().sum(dim=1), shrunk)


def sparse_l1(share: float) -> Norm:
    """The l1 norm, with steps shared by so large a part of the coordinates, one at least.

    Raises ValueError for a share that is not above 0 and at most 1.
    """
    if not 0 < share <= 1:
        raise ValueError(f"a share of the coordinates is above 0 and at most 1, got {share}")

    def steepest(gradient: torch.Tensor, at: torch.Tensor, bounds: Bounds) -> torch.Tensor:
        free = torch.where(gradient > 0, at < bounds[1], at > bounds[0])
        size = torch.where(free, gradient.abs(), 0.0)
        k = max(1, math.ceil(share * size.shape[1]))
        values, where = size.topk(k, dim=1)
        count = (values > 0).sum(dim=1, keepdim=True).clamp(min=1)
        taken = torch.where(values > 0, gradient.gather(1, where).sign(), 0.0) / count
        return torch.zeros_like(gradient).scatter(1, where, taken)

    return Norm(
        "l1",
        length=lambda v: v.abs().sum(dim=1),
        draw=_l1_draw,
        steepest=steepest,
        project=_l1_project,
        within=_l1_within,
    )


l1 = sparse_l1(0.05)

# -------------------------------------------------------------------- both norms with corners


def _where_needed(
    v: torch.Tensor,
    eps: float,
    low: torch.Tensor,
    high: torch.Tensor,
    length: Callable[[torch.Tensor], torch.Tensor],
    shrunk: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
) -> torch.Tensor:
    """v clipped to its bounds, and rows that are then still too long: shrunk(|v|, room), signed."""
    near = torch.minimum(torch.maximum(v, low), high)
    far = torch.nonzero(length(near.double()) > eps).squeeze(1)
    if not len(far):
        return near
    v, low, high = v[far], low[far], high[far]
    room = torch.where(v > 0, high, -low).double()
    size = shrunk(v.abs().double(), room).to(v.dtype)
    return near.index_copy(0, far, torch.copysign(size, v))
