"""What a process has once and each rank should have for itself, while ranks share one thread.

torch keeps for each thread whether gradients are recorded; random, NumPy and torch have global
generators. A coroutine that waits inside `torch.no_grad()` would switch off the gradients of all
others. And the number of threads that matrix products use changes their bits (a NumPy product of
256 x 784 x 128 floats in one coordinate of ten between one thread and two), so a run uses one, as
the workers of every cluster do. Not kept apart: what a program sets for good, such as torch's
default dtype, which every rank sets alike; the caller has its own back all the same.
"""

from __future__ import annotations

import sys
from contextlib import ExitStack
from typing import Any

from threadpoolctl import ThreadpoolController

from ddml_kit.cluster.virtual.generators import Generators


class Modes:
    """What a strand that gives way has to find again: torch's modes, where they aren't default."""

    __slots__ = ("defaults", "no_grad")

    def __init__(self) -> None:
        self.no_grad = False
        self.defaults: ExitStack | None = None  # closing it brings the strand's own modes back


class Isolation:
    """Changes places between the caller of a run and its strands.

    While no strand runs, torch's modes are at their defaults. `arrive` and `depart` are called
    when the caller hands over its thread and gets it back, `enter` and `leave` around a strand.
    """

    def __init__(self, seed: int, size: int) -> None:
        self._generators = Generators(seed, size)
        self._controller = ThreadpoolController()
        self._outside = ExitStack()
        self._torch: Any = None
        self._dtype: Any = None

    def arrive(self) -> None:
        """One thread, default modes, the caller's generators set aside."""
        self._generators.arrive()
        if self._torch is not None:  # before the limit, after which torch, too, says 1
            self._arrive_torch()
        elif "torch" in sys.modules:
            self._add_torch()
        self._outside.enter_context(self._controller.limit(limits=1))

    def depart(self) -> None:
        """Everything is the caller's again."""
        if self._torch is not None:
            self._dtype = self._torch.get_default_dtype()
        self._generators.depart()
        self._outside.close()

    def enter(self, rank: int, modes: Modes) -> None:
        """The strand, which runs from now on, finds its own modes and generators."""
        self._generators.enter(rank)
        if modes.no_grad:
            modes.no_grad = False
            self._torch.set_grad_enabled(False)
        elif modes.defaults is not None:
            modes.defaults.close()
            modes.defaults = None

    def leave(self, rank: int, modes: Modes) -> None:
        """The strand gives way, or has ended."""
        self._generators.leave(rank)
        if self._torch is not None:
            if self._is_inference():
                modes.defaults = _default_modes(self._torch)
            elif not self._is_grad():
                modes.no_grad = True
                self._torch.set_grad_enabled(True)
        elif "torch" in sys.modules:
            self._add_torch()

    def _add_torch(self) -> None:
        """torch is loaded by now; if a strand has just loaded it, its modes are at their defaults.

        Its generator is not: what that strand draws before it gives way comes from torch's own
        seed.
        """
        torch = sys.modules["torch"]
        if not hasattr(torch, "default_generator"):
            return  # another thread is in the middle of importing it
        self._torch = torch
        self._is_grad, self._is_inference = torch.is_grad_enabled, torch.is_inference_mode_enabled
        self._generators.add_torch()
        self._dtype = torch.float32
        self._arrive_torch()

    def _arrive_torch(self) -> None:
        torch = self._torch
        self._outside.callback(torch.set_num_threads, torch.get_num_threads())
        torch.set_num_threads(1)
        self._outside.enter_context(_default_modes(torch))
        self._outside.callback(torch.set_default_dtype, torch.get_default_dtype())
        torch.set_default_dtype(self._dtype)


def _default_modes(torch: Any) -> ExitStack:
    stack = ExitStack()
    stack.enter_context(torch.inference_mode(False))
    stack.enter_context(torch.enable_grad())
    return stack
