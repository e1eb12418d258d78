"""A run on the simulated cluster: its ranks, what becomes of them, and the `Run` in the end."""

from __future__ import annotations

import threading
import traceback
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from greenlet import getcurrent

from ddml_kit.cluster.comm import Comm
from ddml_kit.cluster.endpoint import ANY
from ddml_kit.cluster.errors import Call, Deadlock, RankFailed, deadlock_sentence, reason
from ddml_kit.cluster.faults import Slowdown
from ddml_kit.cluster.network import Network
from ddml_kit.cluster.run import Metric, Run, Snapshot
from ddml_kit.cluster.shipping import Parcel, unpack
from ddml_kit.cluster.thinning import Album, thin
from ddml_kit.cluster.virtual.endpoint import SimulatedEndpoint, matches
from ddml_kit.cluster.virtual.flows import Flows
from ddml_kit.cluster.virtual.isolation import Isolation
from ddml_kit.cluster.virtual.links import Links
from ddml_kit.cluster.virtual.loop import Action, Event, Loop, Outcome
from ddml_kit.cluster.virtual.meeting import Meeting


class Simulation:
    """All of it, in one thread. `over`: nothing runs any more, and `run` and `error` are there."""

    def __init__(
        self,
        parcel: Parcel,
        size: int,
        *,
        network: Network,
        slowdowns: Sequence[Slowdown],
        crashes: Mapping[int, float],
        seed: int,
        goes_on: bool,
    ) -> None:
        self.size, self.seed = size, seed
        self.network, self.slowdowns = network, slowdowns
        self.over = False
        self.run: Run | None = None
        self.error: RankFailed | Deadlock | None = None
        self.failures: dict[int, RankFailed] = {}
        self._goes_on = goes_on
        self._isolation = Isolation(seed)
        self.loop = Loop(self._isolation, size)
        self.links = (Flows if network.fair else Links)(network, size, self.loop)
        self.arrivals: list[Action] = []  # of a message, by rank
        self.endpoints = [SimulatedEndpoint(self, rank) for rank in range(size)]
        self.arrivals += [endpoint.arrive for endpoint in self.endpoints]
        self._results: list[Any] = [None] * size
        self._running = set(range(size))
        self._returned = 0
        self._meetings: dict[tuple[int, int], Meeting] = {}
        self._stopping = False
        self._watched = False
        self._points: list[Metric] = []
        self._album = Album(size)
        self._fresh: list[Metric | Snapshot] = []
        self._begun = False
        self._thread: threading.Thread | None = None
        self._parcel, self._crashes = parcel, crashes

    # ----------------------------------------------------------- for whoever drives it

    def advance(self, watch: bool) -> list[Metric | Snapshot]:
        """Go on to the next point, or to the end if nobody watches; the points, none at the end."""
        if self.over:
            return []
        self._claim()
        self._watched = watch
        self._isolation.arrive()
        try:
            self._begin()
            while not self.over and not (watch and self._fresh):
                wanted = self.loop.run()
                if self._stopping or self.error is not None or not self._running:
                    self._end()
                elif not wanted and not self._fail_those_left():
                    self.error = Deadlock(f"deadlock at {self.loop.now:.6g} s: {self._who_waits()}")
        except BaseException:
            self.stop()
            self._end()
            raise
        finally:
            self._isolation.depart()
        fresh, self._fresh = self._fresh, []
        return fresh

    def stop(self) -> None:
        """End soon; from any thread."""
        self._stopping = True
        for endpoint in self.endpoints:
            endpoint.dead = True
        self.loop.pause = True

    def abandon(self) -> None:
        """Nobody can drive it any more: end what still lives."""
        if self._thread is threading.current_thread() and not self.over:
            self.stop()
            self.advance(watch=False)

    def _claim(self) -> None:
        thread = threading.current_thread()
        if self._thread is None:
            self._thread = thread
        elif self._thread is not thread:
            raise RuntimeError(
                "a simulated run goes on in one thread: it was begun in "
                f"{self._thread.name} and can't be driven from {thread.name}"
            )

    # ------------------------------------------------------------------ for endpoints

    def add(self, point: Metric | Snapshot) -> None:
        """A rank has something to show."""
        if isinstance(point, Metric):
            self._points.append(point)
        else:
            self._album.add(point)
        if self._watched:
            self._fresh.append(point)
            self.loop.show(self.loop.current)

    def meeting(self, context: int, number: int, members: Sequence[int], call: Call) -> Meeting:
        """The number-th collective in this context. Raises RankFailed if a member is dead."""
        meeting = self._meetings.get((context, number))
        if meeting is None:
            meeting = self._meetings[context, number] = Meeting(self.loop, members, call)
        failure = meeting.lost(self.failures) if self.failures else None
        if failure is not None:
            raise failure.again()
        if meeting.missing == 1:
            del self._meetings[context, number]
        return meeting

    def check_alive(
        self, source: int, dest: int, tag: int, members: Sequence[int], context: int
    ) -> None:
        """Raises RankFailed if whoever could send this is dead, and nothing is on its way."""
        failure = self._hopeless(source, dest, members)
        if failure is not None and not self._is_under_way(source, dest, tag, context):
            raise failure.again()

    def program_ended(self, endpoint: SimulatedEndpoint, outcome: Outcome) -> None:
        """A rank's program has returned or raised."""
        rank = endpoint.rank
        error = outcome.error or endpoint.unseen_error()
        if rank in self._running:
            self._running.remove(rank)
            if error is None:
                self._results[rank] = outcome.value
                self._returned += 1
            elif not endpoint.dead:
                self._lose(_failure(rank, error, self.loop.now))
        endpoint.end()
        if not self._running:
            self.loop.pause = True

    # ------------------------------------------------------------------------ the rest

    def _begin(self) -> None:
        """In the thread that drives the run, to which its greenlets then belong."""
        if self._begun:
            return
        self._begun = True
        self.loop.hub.greenlet = getcurrent()
        for rank, seconds in self._crashes.items():
            self.loop.crash_at(seconds, (self._crash, rank, seconds))
        for endpoint in self.endpoints:
            endpoint.begin(self._program(endpoint))

    def _program(self, endpoint: SimulatedEndpoint) -> Callable[[], Any]:
        def body() -> Any:
            program, args, kwargs = unpack(self._parcel)
            return program(Comm(endpoint), *args, **kwargs)

        return body

    def _crash(self, event: Event) -> None:
        _, rank, seconds = event
        if rank in self._running:
            self._running.remove(rank)
            self.endpoints[rank].end()
            why = f"crashed, as crashes={{{rank}: {seconds:g}}} asked"
            self._lose(RankFailed(rank, why, self.loop.now))
            if not self._running:
                self.loop.pause = True

    def _lose(self, failure: RankFailed) -> None:
        """A rank has failed: the end, or news for those who wait for it."""
        self.failures[failure.rank] = failure
        if not self._goes_on:
            self.error = self.error or failure
            self.loop.pause = True
            return
        for key, meeting in list(self._meetings.items()):
            if meeting.lost({failure.rank: failure}):
                del self._meetings[key]
                meeting.abandon(failure)
        self._fail_those_left()

    def _fail_those_left(self) -> bool:
        """Have those who wait for messages of the dead raise RankFailed; whether there are any."""
        any_left = False
        for endpoint in self.endpoints:
            for strand in list(endpoint.receiving):
                source, tag, context = strand.wanted
                failure = self._hopeless(source, endpoint.rank, strand.members)
                if failure is not None and not self._is_under_way(
                    source, endpoint.rank, tag, context
                ):
                    any_left = True
                    self.loop.wake(strand, failure.again())
        return any_left

    def _hopeless(self, source: int, dest: int, members: Sequence[int]) -> RankFailed | None:
        """Why `dest` needn't wait for `source`, or for ANY, that is, for all other members."""
        failures = self.failures
        if source != ANY:
            return failures.get(source)
        if len(failures) < len(members) - 1:
            return None
        others = [member for member in members if member != dest]
        dead = [failures[member] for member in others if member in failures]
        return dead[0] if dead and len(dead) == len(others) else None

    def _is_under_way(self, source: int, dest: int, tag: int, context: int) -> bool:
        return any(
            action is self.arrivals[dest] and matches(message, source, tag, context)
            for action, *message in self.links.under_way()
        )

    def _end(self) -> None:
        """Have all that still lives raise Stopped, and draw up the run."""
        self._watched = False
        self.loop.forget()
        for endpoint in self.endpoints:
            endpoint.end()
        while any(endpoint.lives() for endpoint in self.endpoints):
            self.loop.run()
        self.over = True
        self.run = Run(
            badge="simulated",
            size=self.size,
            seed=self.seed,
            seconds=self.loop.now,
            results=self._results,
            trace=self.loop.recorder.trace(),
            points=self._points,
            snapshots=thin(self._album.snapshots),
            failures=dict(sorted(self.failures.items())),
            stopped=self._stopping and self.error is None and self._returned < self.size,
        )
        if self.error is not None:
            self.error.run = self.run
        if self._isolation.generators.late is not None:
            warnings.warn(self._isolation.generators.late, RuntimeWarning, stacklevel=2)

    def _who_waits(self) -> str:
        return deadlock_sentence(
            {
                endpoint.rank: "has failed"
                if endpoint.rank in self.failures
                else endpoint.waits_for() or "has finished"
                for endpoint in self.endpoints
            }
        )


def _failure(rank: int, error: BaseException, seconds: float) -> RankFailed:
    """With the traceback from the program's own frame on."""
    trace = error.__traceback__
    while trace is not None and _is_ours(trace.tb_frame.f_globals.get("__name__", "")):
        trace = trace.tb_next
    error = error.with_traceback(trace or error.__traceback__)
    text = "".join(traceback.format_exception(error))
    failure = RankFailed(rank, reason(error), seconds, text)
    failure.__cause__ = error
    return failure


def _is_ours(module: str) -> bool:
    return module.startswith(f"{__package__}.")
