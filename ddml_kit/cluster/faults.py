"""Workers that are slower than others, and workers that die.

A slowdown multiplies the duration of a rank's work; several multiply. The models are those of the
literature on stragglers: exponential service times (S. Dutta, G. Joshi, S. Ghosh, P. Dube,
P. Nagpurkar, "Slow and Stale Gradients Can Win the Race", AISTATS 2018, arXiv:1803.01113), heavy
tails as measured in clusters (J. Dean, L. A. Barroso, "The Tail at Scale", CACM 56(2), 2013), a
machine that is always slower, and one that is slower for a while.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import Protocol, runtime_checkable

import numpy as np

from ddml_kit.cluster.checks import real, whole


@runtime_checkable
class Slowdown(Protocol):
    """A model of stragglers. Several multiply."""

    def factor(self, rank: int, seconds: float, rng: np.random.Generator) -> float:
        """How many times longer than normal this rank's work lasts that starts at `seconds`.

        rng: the rank's own stream "slowdown", one draw a call at most.
        """
        ...


@dataclass(frozen=True)
class Constant:
    """Each of these ranks is so many times slower than normal, always: Constant({2: 3.0})."""

    factors: Mapping[int, float]

    def __post_init__(self) -> None:
        if not isinstance(self.factors, Mapping):
            raise TypeError(f"Constant needs {{rank: factor}}, got {self.factors!r}")
        for factor in self.factors.values():
            _check_factor("Constant", factor)
        object.__setattr__(self, "factors", dict(self.factors))

    @property
    def ranks(self) -> Collection[int]:
        """The ranks that it names."""
        return self.factors.keys()

    def factor(self, rank: int, seconds: float, rng: np.random.Generator) -> float:
        """The rank's factor, 1 if it has none."""
        return self.factors.get(rank, 1.0)


@dataclass(frozen=True)
class Exponential:
    """Each piece of work lasts Exp(1) times as long as normal: mean 1, often less.

    ranks: whose work; None for all.
    """

    ranks: Collection[int] | None = None

    def __post_init__(self) -> None:
        _check_ranks("Exponential", self.ranks)

    def factor(self, rank: int, seconds: float, rng: np.random.Generator) -> float:
        """One draw of Exp(1)."""
        return rng.standard_exponential() if _concerns(self.ranks, rank) else 1.0


@dataclass(frozen=True)
class Pareto:
    """Each piece of work lasts at least as long as normal, now and then very much longer.

    P(factor > x) = x ** -shape for x >= 1; mean shape / (shape - 1). The smaller the shape, the
    heavier the tail; up to 2 the variance is infinite. ranks: whose work; None for all.
    """

    shape: float
    ranks: Collection[int] | None = None

    def __post_init__(self) -> None:
        _check_ranks("Pareto", self.ranks)
        if not 1 < real("Pareto needs shape > 1", self.shape) < math.inf:
            raise ValueError(
                f"Pareto needs shape > 1, or its mean shape / (shape - 1) is none; got {self.shape}"
            )

    def factor(self, rank: int, seconds: float, rng: np.random.Generator) -> float:
        """One draw of the Pareto distribution that begins at 1."""
        return 1.0 + rng.pareto(self.shape) if _concerns(self.ranks, rank) else 1.0


@dataclass(frozen=True)
class Transient:
    """One rank is `factor` times slower in work that begins from `start` to before `stop` (s)."""

    rank: int
    start: float
    stop: float
    slower: float

    def __post_init__(self) -> None:
        _check_factor("Transient", self.slower)
        rule = "Transient needs 0 <= start < stop in seconds"
        if not 0 <= real(rule, self.start) < real(rule, self.stop):
            raise ValueError(
                f"Transient needs 0 <= start < stop, got start={self.start} and stop={self.stop}"
            )

    @property
    def ranks(self) -> Collection[int]:
        """The rank that it names."""
        return (self.rank,)

    def factor(self, rank: int, seconds: float, rng: np.random.Generator) -> float:
        """`slower` for this rank in this time, else 1."""
        return self.slower if rank == self.rank and self.start <= seconds < self.stop else 1.0


def slowdown_factor(
    slowdowns: Sequence[Slowdown], rank: int, seconds: float, rng: np.random.Generator
) -> float:
    """The product of all factors for this rank's work that starts at `seconds`.

    Raises ValueError if that is no finite number of 0 or more.
    """
    factor = math.prod(slowdown.factor(rank, seconds, rng) for slowdown in slowdowns)
    if not 0 <= factor < math.inf:
        raise ValueError(f"a slowdown factor must be 0 or more, got {factor} for rank {rank}")
    return factor


def check_cluster(
    name: str,
    size: int,
    slowdowns: Sequence[Slowdown],
    crashes: Mapping[int, float],
    seed: int,
    on_failure: str,
) -> None:
    """Raises a sentence, in the name of this cluster, for what no cluster can be made of."""
    if not isinstance(size, Integral) or isinstance(size, bool) or size < 1:
        raise ValueError(f"{name} needs 1 or more ranks, got {size!r}")
    if not isinstance(seed, Integral) or seed < 0:
        raise ValueError(f"seed must be a whole number >= 0, got {seed!r}")
    if on_failure not in ("stop", "continue"):
        raise ValueError(f'on_failure must be "stop" or "continue", got {on_failure!r}')
    if not isinstance(slowdowns, Sequence):
        raise TypeError(f"slowdowns must be a sequence, got {slowdowns!r}; write [{slowdowns!r}]")
    for slowdown in slowdowns:
        if not isinstance(slowdown, Slowdown):
            raise TypeError(f"a slowdown needs factor(rank, seconds, rng), got {slowdown!r}")
        for rank in getattr(slowdown, "ranks", None) or ():
            _check_rank(repr(slowdown), rank, size)
    if not isinstance(crashes, Mapping):
        raise TypeError(f"crashes must be {{rank: seconds}}, got {crashes!r}")
    for rank, seconds in crashes.items():
        _check_rank("crashes", rank, size)
        rule = f"rank {rank} must crash at 0 or more seconds"
        if not 0 <= real(rule, seconds) < math.inf:
            raise ValueError(f"{rule}, got {seconds}")


def _concerns(ranks: Collection[int] | None, rank: int) -> bool:
    return ranks is None or rank in ranks


def _check_factor(name: str, factor: float) -> None:
    if not 0 < real(f"{name} needs factors above 0", factor) < math.inf:
        raise ValueError(f"{name} needs factors above 0, got {factor}")


def _check_ranks(name: str, ranks: Collection[int] | None) -> None:
    if ranks is not None and not isinstance(ranks, Collection):
        raise TypeError(f"{name} needs a collection of ranks, or None for all, got {ranks!r}")


def _check_rank(name: str, rank: int, size: int) -> None:
    if not 0 <= whole(f"{name} names a rank that is no whole number", rank) < size:
        raise ValueError(f"{name} names rank {rank}, but ranks go from 0 to {size - 1}")
