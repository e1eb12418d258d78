"""Events in virtual time, and the coroutines that they wake: the engine of the simulated cluster.

Discrete events in the order of (time, priority, count), so that a run is the same every time; the
scheme is SimPy's (simpy.readthedocs.io, "Time and Scheduling"). Of most events there are as many
at one time as there are ranks, so arrivals are kept in a list for each time, and only the times in
a heap. What runs is a strand: a program, or what a program has started, as a greenlet of its own.
A strand that has to wait takes the next event itself and changes places with the strand that it
wakes. The hub, the greenlet of whoever iterates over the run, comes in only where there is
something to be shown or decided.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from heapq import heappop, heappush
from itertools import count
from typing import TYPE_CHECKING, Any

from greenlet import getcurrent, greenlet

from ddml_kit.cluster.errors import Stopped
from ddml_kit.cluster.trace import EVENT, Recorder
from ddml_kit.cluster.virtual.isolation import Isolation, Place

if TYPE_CHECKING:
    from ddml_kit.cluster.virtual.endpoint import SimulatedEndpoint

# At one time crashes come first, then arrivals, then the end of work and of patience: a message
# that comes at the last moment counts.
CRASH, ARRIVAL, TIMER = range(3)
TRIAL = 64  # events a rank, during which every rank draws that ever does (see generators.py)
IDLE = object()  # what the hub is handed when nothing is due

# An event: (action, ...). When its time has come, action(event) gives the strand that runs next, or
# None. A message on its way is an event, too (see endpoint.py).
Event = tuple[Any, ...]
Action = Callable[[Event], "Strand | None"]


class Strand:
    """A coroutine of a rank, what it waits for, and how it ended."""

    __slots__ = (
        "blocked",
        "endpoint",
        "error",
        "greenlet",
        "members",
        "number",
        "outcome",
        "place",
        "queue",
        "ready",
        "value",
        "wanted",
    )

    def __init__(self, endpoint: SimulatedEndpoint | None, number: int) -> None:
        self.endpoint = endpoint
        self.number = number  # 0: the program; 1, 2, ...: what it has started
        self.greenlet: greenlet = None
        self.place: Place | NoPlace = NoPlace()
        self.value: Any = None  # what it is handed when it is woken
        self.error: BaseException | None = None  # what it raises then
        self.wanted: Any = None  # the message it waits for: (source, tag, context)
        self.members: Sequence[int] = ()  # of the communicator in which it waits for it
        self.blocked: Callable[[], str] | None = None  # what else it waits for, in words
        self.queue: list[Strand] | deque[Strand] | None = None  # in which it waits
        self.ready = False  # is among those that are to go on
        self.outcome = Outcome()


class Outcome:
    """How a strand ended."""

    __slots__ = ("error", "over", "seen", "value", "waiting")

    def __init__(self) -> None:
        self.value: Any = None
        self.error: BaseException | None = None
        self.over = False
        self.seen = False  # by whoever waited for it
        self.waiting: list[Strand] = []


class NoPlace:
    """The hub's: what is around it when it gives way, it finds as the strands have left it."""

    def enter(self) -> None: ...

    def leave(self) -> None: ...


class Timer:
    """Wakes a strand; it is off once that is None."""

    __slots__ = ("strand",)

    def __init__(self, strand: Strand) -> None:
        self.strand: Strand | None = strand


class Loop:
    """Virtual time, what is due, and who is running."""

    def __init__(self, isolation: Isolation, size: int) -> None:
        self.now = 0.0
        self.recorder = Recorder()
        self.hub = Strand(None, 0)
        self.current = self.hub
        self.pause = False  # the hub is wanted
        self._isolation = isolation
        self._relax_at = TRIAL * size * EVENT.itemsize
        self._ready: deque[Strand] = deque()
        self._arrivals: dict[float, list[Event]] = {}  # by time, as they were announced
        self._times: list[float] = []  # the same times, a heap
        self._timers: list[tuple[float, int, int, Event]] = []  # a heap: time, priority, count
        self._count = count()
        self._due: Iterator[Event] = iter(())  # what happens now

    # ------------------------------------------------------------------- scheduling

    def arrive_at(self, time: float, event: Event) -> None:
        """Something that reaches a rank."""
        events = self._arrivals.get(time)
        if events is None:
            self._arrivals[time] = [event]
            heappush(self._times, time)
        else:
            events.append(event)

    def take_back(self, time: float, event: Event) -> None:
        """Have this event, which was to arrive, not happen."""
        events = self._arrivals[time]
        del events[next(k for k, other in enumerate(events) if other is event)]

    def crash_at(self, time: float, event: Event) -> None:
        heappush(self._timers, (time, CRASH, next(self._count), event))

    def wake_at(self, time: float, strand: Strand) -> Timer:
        """A timer that wakes `strand`."""
        timer = Timer(strand)
        heappush(self._timers, (time, TIMER, next(self._count), (_ring, timer)))
        return timer

    def expire_at(self, time: float, strand: Strand, error: Callable[[], BaseException]) -> Timer:
        """A timer that has `strand` raise error()."""
        timer = Timer(strand)
        heappush(self._timers, (time, TIMER, next(self._count), (self._expire, timer, error)))
        return timer

    def arrivals(self) -> list[Event]:
        """Those that are still to come."""
        now = list(self._due)
        self._due = iter(now)
        return now + [event for events in self._arrivals.values() for event in events]

    def forget(self) -> None:
        """Nothing is due any more."""
        self._due = iter(())
        for due in (self._arrivals, self._times, self._timers):
            due.clear()

    def wake(self, strand: Strand, error: BaseException | None = None) -> None:
        """Have `strand` go on now, after those that are already to do so; or raise `error`."""
        strand.error = error
        self.unqueue(strand)
        if not strand.ready:
            strand.ready = True
            self._ready.append(strand)

    def wake_all(self, strands: list[Strand]) -> None:
        """Have those that wait in no queue, nor are woken yet, go on now, in this order."""
        for strand in strands:
            strand.ready = True
        self._ready.extend(strands)

    def unqueue(self, strand: Strand) -> None:
        """Take it out of the queue in which it waits."""
        if strand.queue is not None:
            strand.queue.remove(strand)
            strand.queue = None

    def _expire(self, event: Event) -> Strand | None:
        _, timer, error = event
        if timer.strand is not None:
            self.unqueue(timer.strand)
            timer.strand.error = error()
        return timer.strand

    # ---------------------------------------------------------------- changing places

    def start(self, strand: Strand, body: Callable[[], Any]) -> None:
        """Have body() run as `strand`, from now on; its outcome goes into `strand.outcome`."""
        strand.greenlet = greenlet(lambda: self._live(strand, body), self.hub.greenlet)
        strand.ready = True
        self._ready.append(strand)

    def block(self, strand: Strand) -> Any:
        """Wait until `strand`, which is running, is woken; what it is handed, or raises."""
        ready, hub = self._ready, self.hub
        while True:
            if self.pause:
                other = hub
                break
            if ready:
                # A greenlet begins on the stack of the one that starts it, which should be short.
                other = ready[0]
                if other.greenlet or strand is hub:
                    other.ready = False
                    ready.popleft()
                else:
                    other = hub
                break
            event = next(self._due, None)
            if event is not None:
                woken = event[0](event)
                if woken is not None:
                    other = woken
                    break
            elif not self._advance():
                other, hub.value = hub, IDLE
                break
        if other is not strand:
            strand.place.leave()
            other.greenlet.switch()
            strand.place.enter()
            self.current = strand
        if strand.error is not None:
            error, strand.error = strand.error, None
            raise error
        value, strand.value = strand.value, None
        return value

    def show(self, strand: Strand) -> None:
        """Let the hub have a look; then `strand`, which is running, goes on before all others."""
        self.pause = True
        strand.ready = True
        self._ready.appendleft(strand)
        self.block(strand)

    def run(self) -> bool:
        """Called by the hub: True when it is wanted, False when nothing is due any more."""
        self.hub.greenlet = getcurrent()
        self.current = self.hub
        while not self.pause:
            if self.block(self.hub) is IDLE:
                return False
        self.pause = False
        return True

    def _advance(self) -> bool:
        """Go on to the next time at which something is due; False if there is none."""
        if len(self.recorder.buffer) > self._relax_at:
            self._relax_at = sys.maxsize
            running = self.current.endpoint
            self._isolation.generators.relax(None if running is None else running.rank)
        times, timers = self._times, self._timers
        if times and not (timers and timers[0][:2] < (times[0], ARRIVAL)):
            time = heappop(times)
            events = self._arrivals.pop(time)
            if events:  # else all were taken back
                self.now = time
            self._due = iter(events)
        elif timers:
            self.now, _, _, event = heappop(timers)
            self._due = iter((event,))
        else:
            return False
        return True

    def _live(self, strand: Strand, body: Callable[[], Any]) -> None:
        """What a greenlet does."""
        endpoint, outcome = strand.endpoint, strand.outcome
        assert endpoint is not None
        strand.place = self._isolation.place(endpoint.rank)
        strand.place.enter()
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
            strand.place.leave()
            getcurrent().parent = self.hub.greenlet  # which may have changed since the start


def _ring(event: Event) -> Strand | None:
    return event[1].strand
