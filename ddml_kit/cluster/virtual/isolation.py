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

from ddml_kit.cluster.virtual.generators import Generators, RankStates

_modules = sys.modules
_ALL = slice(None)


class Place:
    """What a strand finds again when it goes on: `leave` before it gives way, `enter` after."""

    __slots__ = ("_images", "_isolation", "_modes", "_no_grad", "_states", "_watched")

    def __init__(self, isolation: Isolation, states: RankStates) -> None:
        self._isolation = isolation
        self._states = states  # of the global generators, the rank's
        self._images, self._watched = states.images, states.watched
        self._no_grad = False  # torch's modes, the strand's, where they aren't the defaults
        self._modes: ExitStack | None = None  # closing it brings the strand's modes back

    def enter(self) -> None:
        for memory, image in self._images:
            memory[_ALL] = image
        if self._states.drawn:
            self._isolation.generators.restore(self._states)
        if self._no_grad:
            self._no_grad = False
            self._isolation.torch.set_grad_enabled(False)
        elif self._modes is not None:
            self._modes.close()
            self._modes = None

    def leave(self) -> None:
        isolation = self._isolation
        for view, value in self._watched:
            if view[0] != value:
                isolation.generators.keep(self._states)
                break
        else:
            if self._states.drawn:
                isolation.generators.keep(self._states)
        if isolation.torch is not None or ("torch" in _modules and isolation.find_torch()):
            if isolation.is_inference():
                self._modes = _default_modes(isolation.torch)
            elif not isolation.is_grad():
                self._no_grad = True
                isolation.torch.set_grad_enabled(True)
            if not isolation.has_torch:  # the strand has just loaded it
                isolation.take_torch()


class Isolation:
    """Changes places between the caller of a run and its strands.

    While no strand runs, torch's modes are at their defaults. `arrive` and `depart` are called
    when the caller hands over its thread and gets it back.
    """

    def __init__(self, seed: int) -> None:
        self.generators = Generators(seed)
        self.torch: Any = None  # once it is loaded
        self.is_grad = self.is_inference = _never
        self.has_torch = False  # `arrive` has found it, or `take_torch` was called since
        self._controller = ThreadpoolController()
        self._outside = ExitStack()
        self._dtype: Any = None

    def place(self, rank: int) -> Place:
        """For a strand of this rank."""
        return Place(self, self.generators.begin(rank))

    def arrive(self) -> None:
        """One thread, default modes, the caller's generators set aside."""
        self.generators.arrive()
        if self.torch is not None or self.find_torch():
            self.take_torch()  # before the limit, after which torch, too, says 1
        self._outside.enter_context(self._controller.limit(limits=1))

    def depart(self) -> None:
        """Everything is the caller's again."""
        if self.torch is not None:
            self._dtype = self.torch.get_default_dtype()
        self.generators.depart()
        self._outside.close()

    def find_torch(self) -> bool:
        """Whether torch is loaded by now.

        Where a strand has loaded it, what that one draws before it gives way comes from torch's
        own seed.
        """
        torch: Any = sys.modules.get("torch")
        if not hasattr(torch, "default_generator"):
            return False  # or another thread is in the middle of importing it
        self.torch, self._dtype = torch, torch.float32
        self.is_grad, self.is_inference = torch.is_grad_enabled, torch.is_inference_mode_enabled
        return True

    def take_torch(self) -> None:
        """One thread and default modes; the caller's are set aside. No strand's may be on."""
        torch = self.torch
        if not self.has_torch:
            self.has_torch = True
            self.generators.add_torch()
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


def _never() -> bool:
    return False
