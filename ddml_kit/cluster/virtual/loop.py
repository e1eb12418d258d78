"""Events in virtual time, and the coroutines that they wake: the engine of the simulated cluster.

Discrete events from a heap keyed (time, priority and count), so that a run is the same every time;
the scheme is SimPy's (simpy.readthedocs.io, "Time and Scheduling"). What runs is a strand: a
program, or what a program has started, as a greenlet of its own. A strand that has to wait takes
the next event from the heap itself and changes places with the strand that this one wakes. The
hub, the greenlet of whoever iterates over the run, comes in only where there is something to be
shown or decided.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from heapq import heappop, heappush
from itertools import count
from typing import TYPE_CHECKING, Any

from greenlet import getcurrent, greenlet

from ddml_kit.cluster.errors import Stopped
from ddml_kit.cluster.trace import Recorder
from ddml_kit.cluster.virtual.isolation import Isolation, Modes

if TYPE_CHECKING:
    from ddml_kit.cluster.virtual.endpoint import SimulatedEndpoint

# At one time crashes come first, then arrivals, then the end of work and of patience: a message
# that comes at the last moment counts.
CRASH, ARRIVAL, TIMER = (priority << 48 for priority in range(3))


class Strand:
    """A coroutine of a rank, and what it waits for."""

    __slots__ = (
        "blocked",
        "endpoint",
        "error",
        "greenlet",
        "modes",
        "number",
        "outcome",
        "queue",
        "value",
        "wanted",
    )

    def __init__(self, endpoint: SimulatedEndpoint | None, number: int) -> None:
        self.endpoint = endpoint
        self.number = number  # 0: the program; 1, 2, ...: what it has started
        self.greenlet: greenlet = None
        self.modes = Modes()
        self.value: Any = None  # what it is handed when it is woken
        self.error: BaseException | None = None  # what it raises then
        self.wanted: Any = None  # the message it waits for: (source, tag, context)
        self.blocked: Callable[[], str] | None = None  # what else it waits for, in words
        self.queue: list[Strand] | deque[Strand] | None = None  # in which it waits
        self.outcome: Outcome | None = None


class Outcome:
    """How a strand ended."""

    __slots__ = ("error", "over", "seen", "value", "waiting")

    def __init__(self) -> None:
        self.value: Any = None
        self.error: BaseException | None = None
        self.over = False
        self.seen = False  # by whoever waited for it
        self.waiting: list[Strand] = []


class Loop:
    """Virtual time, what is due, and who is running."""

    def __init__(self, isolation: Isolation) -> None:
        self.now = 0.0
        self.recorder = Recorder()
        self.hub = Strand(None, 0)
        self.current = self.hub
        self.pause = False  # the hub is wanted
        self._isolation = isolation
        self._heap: list[tuple[float, int, Callable[[Any], Strand | None], Any]] = []
        self._ready: deque[Strand] = deque()
        self._crashes, self._arrivals = count(CRASH), count(ARRIVAL)
        self._timers = count(TIMER)

    # ------------------------------------------------------------------- scheduling

    def crash_at(self, time: float, action: Callable[[Any], Strand | None], argument: Any) -> None:
        heappush(self._heap, (time, next(self._crashes), action, argument))

    def arrive_at(self, time: float, action: Callable[[Any], Strand | None], argument: Any) -> None:
        heappush(self._heap, (time, next(self._arrivals), action, argument))

    def wake_at(self, time: float, strand: Strand) -> list[Strand | None]:
        """A timer that wakes `strand`; it is off once its one item is None."""
        timer: list[Strand | None] = [strand]
        heappush(self._heap, (time, next(self._timers), _ring, timer))
        return timer

    def expire_at(
        self, time: float, strand: Strand, error: Callable[[], BaseException]
    ) -> list[Strand | None]:
        """A timer that has `strand` raise error()."""

        def ring(timer: list[Strand | None]) -> Strand | None:
            if timer[0] is not None:
                self.unqueue(strand)
                strand.error = error()
            return timer[0]

        timer: list[Strand | None] = [strand]
        heappush(self._heap, (time, next(self._timers), ring, timer))
        return timer

    def wake(self, strand: Strand, error: BaseException | None = None) -> None:
        """Have `strand` go on now, after those that are already to do so; or raise `error`."""
        strand.error = error
        self.unqueue(strand)
        if strand not in self._ready:
            self._ready.append(strand)

    def wake_all(self, strands: list[Strand]) -> None:
        """Have those that wait in no queue go on now, in this order."""
        self._ready.extend(strands)

    def unqueue(self, strand: Strand) -> None:
        """Take it out of the queue in which it waits."""
        if strand.queue is not None:
            strand.queue.remove(strand)
            strand.queue = None

    def due(self) -> list[tuple[Callable[[Any], Strand | None], Any]]:
        """What is still to happen: actions and their arguments."""
        return [(action, argument) for _, _, action, argument in self._heap]

    def forget(self) -> None:
        """Nothing is due any more."""
        self._heap.clear()

    # ---------------------------------------------------------------- changing places

    def start(self, strand: Strand, body: Callable[[], Any]) -> None:
        """Have body() run as `strand`, from now on; its outcome goes into `strand.outcome`."""
        strand.outcome = Outcome()
        strand.greenlet = greenlet(lambda: self._live(strand, body), self.hub.greenlet)
        self._ready.append(strand)

    def block(self, strand: Strand) -> Any:
        """Wait until `strand`, which is running, is woken; what it is handed, or raises."""
        other = self._next()
        if other is not strand:
            rank, modes, isolation = strand.endpoint.rank, strand.modes, self._isolation  # type: ignore[union-attr]
            isolation.leave(rank, modes)
            other.greenlet.switch()
            isolation.enter(rank, modes)
            self.current = strand
        if strand.error is not None:
            error, strand.error = strand.error, None
            raise error
        return strand.value

    def show(self, strand: Strand) -> None:
        """Let the hub have a look; then `strand`, which is running, goes on before all others."""
        self.pause = True
        self._ready.appendleft(strand)
        self.block(strand)

    def run(self) -> bool:
        """Called by the hub: True when it is wanted, False when nothing is due any more."""
        hub = self.hub
        if hub.greenlet is not getcurrent():
            hub.greenlet = getcurrent()
        while True:
            strand = self._next()
            if strand is hub:
                wanted, self.pause = self.pause, False
                return wanted
            strand.greenlet.switch()

    def _next(self) -> Strand:
        """The strand that runs next; the hub if it is wanted or nothing is due."""
        heap, ready = self._heap, self._ready
        while not self.pause:
            if ready:
                return ready.popleft()
            if not heap:
                break
            self.now, _, action, argument = heappop(heap)
            strand = action(argument)
            if strand is not None:
                return strand
        return self.hub

    def _live(self, strand: Strand, body: Callable[[], Any]) -> None:
        endpoint, outcome = strand.endpoint, strand.outcome
        assert endpoint is not None
        assert outcome is not None
        self._isolation.enter(endpoint.rank, strand.modes)
        self.current = strand
        try:
            if strand.error is not None:
                raise strand.error
            outcome.value = body()
        except (Exception, SystemExit, Stopped) as error:
            outcome.error = error
        except BaseException as error:  # an interrupt: it goes on to the hub, and ends the run
            outcome.error = error
            endpoint.dead = True
            raise
        finally:
            endpoint.strand_ended(strand)
            self._isolation.leave(endpoint.rank, strand.modes)
            getcurrent().parent = self.hub.greenlet  # which may have changed since the start


def _ring(timer: list[Strand | None]) -> Strand | None:
    return timer[0]
