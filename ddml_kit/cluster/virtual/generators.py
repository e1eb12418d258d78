"""The global generators of random, NumPy and torch, kept apart for each rank of one process.

Ranks change places at every message, in about a microsecond, while to read and write the state of
the three generators by their own functions takes 140. So a rank that has not drawn from a
generator (most never do) has its seeded state put in place as bytes, and when it gives way, two
words of memory tell whether it has drawn since. Only then do the slow functions come in. Where a
generator keeps its words is found at run time and tried out; where that fails, it is saved and
restored by its own functions at every change: slower, with the same numbers.

All three are Mersenne twisters: 624 words and a position (M. Matsumoto, T. Nishimura, "Mersenne
Twister", ACM TOMACS 8(1), 1998). Those bytes, 2,500 each, are still a quarter of what a message
costs, so they stay where they are once all ranks have had time to draw and none has: a state that
stands for all, rank 0's. If another rank does draw later, its numbers until it gives way are not
those that it would have had on another cluster, which the run says in a warning; from then on all
ranks have their own again.
"""

from __future__ import annotations

import ctypes
import random
import sys
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np

from ddml_kit.cluster.seeding import global_seeds

WORDS = 624


class GlobalGenerator(ABC):
    """One library's.

    memory: a view of its words as bytes, None if they were not found. watched: views of two words
    each; between them they change at every draw and every seeding.
    """

    name: str  # the library's, in global_seeds
    before: int  # how many words lie between the start of the view and the 624
    after: int  # and between these and its end
    position: int  # which word of the view is the position
    watch: tuple[int, ...]  # where in the view there are two words to be watched

    def __init__(self) -> None:
        self.memory: memoryview | None = None
        self.watched: list[memoryview] = []
        state = self.state()
        try:
            self._find()
        finally:
            self.restore(state)

    def arrive(self) -> None:  # noqa: B027 - for most there is nothing to do
        """Be the one from which the library draws."""

    def depart(self) -> None:  # noqa: B027
        """The caller's is, as before `arrive`."""

    @abstractmethod
    def state(self) -> Any:
        """All of the state, by the library's own function."""

    @abstractmethod
    def restore(self, state: Any) -> None:
        """Undo everything since `state`."""

    @abstractmethod
    def seed(self, seed: int) -> None: ...

    @abstractmethod
    def is_plain(self, state: Any) -> bool:
        """Whether the words are all there is to it: no number kept for the next draw."""

    @abstractmethod
    def _words(self) -> bytes:
        """The 624 words, by the library's own function."""

    @abstractmethod
    def _addresses(self) -> Sequence[int]:
        """Where the 624 words may begin in memory."""

    @abstractmethod
    def _draw(self) -> Any:
        """One number."""

    def _find(self) -> None:
        """Look for the words, and keep the place if memory written there brings back the draws."""
        self.seed(20240229)
        words = self._words()
        for address in self._addresses():
            if ctypes.string_at(address, len(words)) == words:
                break
        else:
            return
        length = self.before + WORDS + self.after
        region = (ctypes.c_uint32 * length).from_address(address - 4 * self.before)
        memory = memoryview(region).cast("B")
        seeded = bytes(memory)
        position = memory.cast("I")[self.position]
        drawn = [self._draw() for _ in range(3)]
        moved = memory.cast("I")[self.position] != position
        memory[:] = seeded
        if moved and drawn == [self._draw() for _ in range(3)]:
            self.memory = memory
            self.watched = [memory[4 * i : 4 * i + 8].cast("Q") for i in self.watch]


class PythonGenerator(GlobalGenerator):
    """That of `random`, whose object holds a position and then the words."""

    name, before, after, position = "random", 1, 0, 0
    watch = (0, WORDS - 1)  # the first word is the same after every seeding

    def state(self) -> Any:
        return random.getstate()

    def restore(self, state: Any) -> None:
        random.setstate(state)

    def seed(self, seed: int) -> None:
        random.seed(seed)

    def is_plain(self, state: Any) -> bool:
        return state[2] is None  # the second of two normal numbers

    def _words(self) -> bytes:
        return np.array(random.getstate()[1][:WORDS], np.uint32).tobytes()

    def _addresses(self) -> Sequence[int]:
        generator = getattr(random, "_inst", None)
        if generator is None or sys.implementation.name != "cpython":
            return ()
        begin = id(generator) + object.__basicsize__
        end = id(generator) + type(generator).__basicsize__ - 4 * WORDS
        return range(begin, end + 1, 4)

    def _draw(self) -> Any:
        return random.random()


class NumpyGenerator(GlobalGenerator):
    """NumPy's legacy one: the words, then a position.

    The caller may have put a generator of another kind there (numpy.random.set_bit_generator). In
    a run there is a twister all the same, as in the workers of other clusters.
    """

    name, before, after, position = "numpy", 0, 1, WORDS
    watch = (WORDS - 1,)

    def __init__(self) -> None:
        current = np.random.mtrand.get_bit_generator()
        self._owner = current if isinstance(current, np.random.MT19937) else np.random.MT19937()
        self._callers: tuple[Any, Any] | None = None  # what stood there, and its state
        self.arrive()
        try:
            super().__init__()
        finally:
            self.depart()

    def arrive(self) -> None:
        current = np.random.mtrand.get_bit_generator()
        if current is not self._owner:
            self._callers = current, self.state()
            np.random.mtrand.set_bit_generator(self._owner)

    def depart(self) -> None:
        if self._callers is not None:
            current, state = self._callers
            np.random.mtrand.set_bit_generator(current)
            self.restore(state)
            self._callers = None

    def state(self) -> Any:
        return np.random.get_state(legacy=False)  # noqa: NPY002

    def restore(self, state: Any) -> None:
        np.random.set_state(state)  # noqa: NPY002

    def seed(self, seed: int) -> None:
        np.random.seed(seed)  # noqa: NPY002

    def is_plain(self, state: Any) -> bool:
        return not state["has_gauss"]

    def _words(self) -> bytes:
        return self.state()["state"]["key"].astype(np.uint32).tobytes()

    def _addresses(self) -> Sequence[int]:
        return (self._owner.ctypes.state_address,)

    def _draw(self) -> Any:
        return np.random.random_sample()  # noqa: NPY002


class TorchGenerator(GlobalGenerator):
    """torch's on the CPU: seed (2 words), what is left, whether seeded, next, then the words."""

    name, before, after, position = "torch", 5, 0, 2
    watch = (4,)  # next, and the first word
    # In the bytes of get_state: initial seed, left, seeded, next, 624 words of 64 bits, three
    # doubles, and whether there is a normal number for later; then the same for floats.
    _first_word, _kept = 24, slice(24 + 8 * WORDS + 24, None)

    def __init__(self) -> None:
        self.generator = sys.modules["torch"].default_generator
        super().__init__()

    def state(self) -> Any:
        return self.generator.get_state()

    def restore(self, state: Any) -> None:
        self.generator.set_state(state)

    def seed(self, seed: int) -> None:
        self.generator.manual_seed(seed)

    def is_plain(self, state: Any) -> bool:
        return not state.numpy()[self._kept].any()

    def _words(self) -> bytes:
        bits = self.state().numpy().tobytes()
        return np.frombuffer(bits, np.uint64, WORDS, self._first_word).astype(np.uint32).tobytes()

    def _addresses(self) -> Sequence[int]:
        address = getattr(self.generator, "_cdata", 0)
        return range(address + 4 * self.before, address + 256, 4) if address else ()

    def _draw(self) -> Any:
        return sys.modules["torch"].rand(()).item()


class RankStates:
    """One rank's states of the global generators.

    Whoever changes places puts the images in place by hand, and looks at what is watched: that is
    all there is to do for a rank that has not drawn.
    """

    __slots__ = ("drawn", "images", "rank", "seeded", "watched")

    def __init__(self, rank: int) -> None:
        self.rank = rank
        # Of the generators from which it has not drawn: what to put where, and which words then
        # stay as they are. Of the others: the state.
        self.images: list[tuple[memoryview, bytes]] = []
        self.watched: list[tuple[memoryview, int]] = []
        self.drawn: dict[GlobalGenerator, Any] = {}
        # Images and watched words as they were, while rank 0's stand for all.
        self.seeded: tuple[list[tuple[memoryview, bytes]], list[tuple[memoryview, int]]] = [], []


class Generators:
    """The global generators, with states for each rank and for the caller of the run."""

    def __init__(self, seed: int) -> None:
        self.late: str | None = None  # a sentence, once a rank has drawn from what stood for all
        self._seed = seed
        self._all: list[GlobalGenerator] = [PythonGenerator(), NumpyGenerator()]
        self._ranks: dict[int, RankStates] = {}
        self._outside: dict[GlobalGenerator, tuple[Any, bytes]] = {}
        self._standing: list[tuple[memoryview, bytes]] = []  # what stands for all ranks

    def add_torch(self) -> None:
        """Once torch is loaded: its generator, too."""
        self._tighten()
        torch = TorchGenerator()
        self._all.append(torch)
        self._set_aside(torch)
        for states in self._ranks.values():
            self._seed_new(states, [torch])

    def arrive(self) -> None:
        """Set aside the caller's states, to bring them back in `depart`."""
        for generator in self._all:
            generator.arrive()
            self._set_aside(generator)
        for memory, image in self._standing:
            memory[:] = image

    def depart(self) -> None:
        """The caller's states are as they were."""
        for generator, (state, memory) in self._outside.items():
            if memory and generator.memory is not None:
                generator.memory[:] = memory
            else:
                generator.restore(state)
            generator.depart()

    def begin(self, rank: int) -> RankStates:
        """The rank's states, seeded at the first call."""
        if rank not in self._ranks:
            self._ranks[rank] = RankStates(rank)
            self._seed_new(self._ranks[rank], self._all)
        return self._ranks[rank]

    def relax(self, running: int | None) -> None:
        """Let rank 0's states stand for all ranks, if none has drawn.

        running: the rank that is about to give way, if it is one; it may just have drawn.
        """
        if 0 not in self._ranks or any(states.drawn for states in self._ranks.values()):
            return
        if running is not None and self._changed(self._ranks[running]):
            return
        first = self._ranks[0]
        self._standing, watched = first.images[:], first.watched[:]
        for states in self._ranks.values():
            states.seeded = states.images[:], states.watched[:]
            states.images.clear()
            states.watched[:] = watched
        for memory, image in self._standing:
            memory[:] = image

    def restore(self, states: RankStates) -> None:
        """Put in place the states of those from which the rank has drawn."""
        for generator, state in states.drawn.items():
            generator.restore(state)

    def keep(self, states: RankStates) -> None:
        """Keep what a rank has drawn from; no number kept for a next draw stays behind."""
        self._find_drawn(states)
        for generator in states.drawn:
            state = states.drawn[generator] = generator.state()
            if not generator.is_plain(state):
                generator.seed(0)

    def _tighten(self) -> None:
        """Every rank has its own again."""
        if self._standing:
            self._standing = []
            for states in self._ranks.values():
                states.images[:], states.watched[:] = states.seeded

    @staticmethod
    def _changed(states: RankStates) -> set[int]:
        """The id of each view in which there is something else now."""
        return {id(view) for view, value in states.watched if view[0] != value}

    def _find_drawn(self, states: RankStates) -> None:
        """Move the generators from which the rank has drawn to those that are kept in full."""
        changed = self._changed(states)
        if self._standing and changed:
            self._tighten()
            if states.rank:
                self.late = (
                    f"rank {states.rank} was the first to draw from a global generator, late in "
                    "the run: its first numbers are not those of other clusters; those of "
                    "comm.stream(name) are"
                )
        for generator in self._all:
            own = set(map(id, generator.watched))
            if not changed.isdisjoint(own):
                states.drawn[generator] = None
                states.images[:] = [i for i in states.images if i[0] is not generator.memory]
                states.watched[:] = [w for w in states.watched if id(w[0]) not in own]

    def _set_aside(self, generator: GlobalGenerator) -> None:
        memory = b"" if generator.memory is None else bytes(generator.memory)
        if memory and self._outside.get(generator, (None, b""))[1] == memory:
            return  # nobody has drawn since
        state = generator.state()
        plain = generator.is_plain(state)
        self._outside[generator] = state, memory if plain else b""
        if not plain:
            generator.seed(0)  # drops the number that was kept for the next draw

    def _seed_new(self, states: RankStates, new: list[GlobalGenerator]) -> None:
        seeds = global_seeds(self._seed, states.rank)
        for generator in new:
            generator.seed(seeds[generator.name])
            if generator.memory is None:
                states.drawn[generator] = generator.state()
            else:
                states.images.append((generator.memory, bytes(generator.memory)))
                states.watched += [(view, view[0]) for view in generator.watched]
