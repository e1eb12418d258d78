"""Real workers on this machine: a process a rank, each computing with one thread."""

from __future__ import annotations

import linecache
import multiprocessing
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import KW_ONLY, dataclass, field
from typing import Any

import cloudpickle

from ddml_kit.cluster.errors import ClusterError
from ddml_kit.cluster.faults import Slowdown, check_cluster
from ddml_kit.cluster.local.freight import Freight
from ddml_kit.cluster.local.launch import launch, warm_up
from ddml_kit.cluster.local.watch import Terms, Watch
from ddml_kit.cluster.local.wiring import MOST_RANKS, Wiring
from ddml_kit.cluster.local.worker import Task
from ddml_kit.cluster.run import Cluster, Metric, OnFailure, Run, Running, Snapshot
from ddml_kit.cluster.shipping import pack

__all__ = ["MOST_RANKS", "Processes", "warm_up"]

BREATH = 1.0  # seconds of waiting after which Windows lets an interrupt through


@dataclass(frozen=True)
class Processes(Cluster):
    """`size` workers on this machine.

    paced: `work(seconds)` lasts that long even where the computing was done sooner, so that
    8 workers on 2 cores behave like 8. slowdowns: models of stragglers; their factors multiply.
    crashes: {rank: seconds since the start} of workers that die. on_failure: "stop" ends the run
    with the first failed rank, "continue" lets the others go on.

    On Linux making one starts, once, the server process that workers are forked from, so that it
    loads its libraries meanwhile; it ends with this process.
    """

    size: int
    _: KW_ONLY
    paced: bool = False
    slowdowns: Sequence[Slowdown] = ()
    crashes: Mapping[int, float] = field(default_factory=dict)
    seed: int = 0
    on_failure: OnFailure = "stop"

    def __post_init__(self) -> None:
        check_cluster(
            "Processes", self.size, self.slowdowns, self.crashes, self.seed, self.on_failure
        )
        if not isinstance(self.paced, bool):
            raise ValueError(f"paced must be True or False, got {self.paced!r}")
        if self.size > MOST_RANKS:
            raise ValueError(
                f"Processes has at most {MOST_RANKS} workers, got {self.size}: each is a process "
                "of its own and takes some 30 MB; Simulated has thousands of ranks"
            )
        warm_up()

    def start(self, program: Callable[..., Any], *args: Any, **kwargs: Any) -> Running:
        """The same, live; returns while the workers are starting.

        Raises TypeError if the program or an argument can't be sent to them.
        """
        with ExitStack() as always, ExitStack() as on_error:
            freight = Freight(pack(program, args, kwargs))
            always.callback(freight.close)
            slowdowns = cloudpickle.dumps(self.slowdowns)
            try:
                wiring = Wiring.create(self.size)
                on_error.callback(wiring.close)
                ends = []
                for _ in range(self.size):
                    ours, theirs = multiprocessing.Pipe()
                    on_error.callback(ours.close)
                    always.callback(theirs.close)
                    ends.append((ours, theirs))
                task = Task(
                    wiring=wiring,
                    freight=freight,
                    slowdowns=slowdowns,
                    paced=self.paced,
                    seed=self.seed,
                    crashes=dict(self.crashes),
                    sources=_sources(),
                )
                crew = launch(task, [theirs for _, theirs in ends])
                on_error.callback(crew.close)
            except OSError as error:
                raise ClusterError(
                    f"{self.size} workers can't be started: {error.strerror}"
                ) from error
            terms = Terms(
                size=self.size,
                seed=self.seed,
                badge="paced" if self.paced else "measured",
                goes_on=self.on_failure == "continue",
                crashes=dict(self.crashes),
            )
            watch = Watch(terms, crew, wiring, [ours for ours, _ in ends])
            on_error.pop_all()
        return _LocalRun(watch)


class _LocalRun(Running):
    """What the caller holds. When it is let go of before the end, the workers are killed."""

    def __init__(self, watch: Watch) -> None:
        self._watch = watch
        weakref.finalize(self, watch.abandon)

    def __iter__(self) -> Iterator[Metric | Snapshot]:
        books = self._watch.books
        while not books.exhausted:
            with self._ending_when_interrupted():
                point = books.next(BREATH)
            if point is not None:
                yield point

    def stop(self) -> None:
        self._watch.stop()

    def result(self) -> Run:
        with self._ending_when_interrupted():
            while not self._watch.wait(BREATH):
                pass
        return self._watch.outcome()

    @contextmanager
    def _ending_when_interrupted(self) -> Iterator[None]:
        try:
            yield
        except KeyboardInterrupt:
            self._watch.stop()
            while not self._watch.wait(BREATH):
                pass
            raise


def _sources() -> dict[str, Any]:
    """Notebook cells and other source text without a file, for the tracebacks of workers."""
    return {
        name: entry
        for name, entry in list(linecache.cache.items())
        if len(entry) == 4 and entry[1] is None
    }
