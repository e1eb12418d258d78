"""A run of workers of this machine, from the call to what the caller holds."""

from __future__ import annotations

import linecache
import multiprocessing
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from multiprocessing.connection import Connection
from typing import Any

import cloudpickle

from ddml_kit.cluster.errors import ClusterError
from ddml_kit.cluster.faults import Slowdown
from ddml_kit.cluster.local.freight import Freight
from ddml_kit.cluster.local.launch import launch
from ddml_kit.cluster.local.watch import Hold, Terms, Watch
from ddml_kit.cluster.local.worker import Task
from ddml_kit.cluster.run import Metric, OnFailure, Run, Running, Snapshot
from ddml_kit.cluster.shipping import Parcel

BREATH = 1.0  # seconds of waiting after which Windows lets an interrupt through


def begin(
    parcel: Parcel,
    size: int,
    task: type[Task],
    join: Callable[[Sequence[Connection]], Hold],
    *,
    slowdowns: Sequence[Slowdown],
    paced: bool,
    seed: int,
    crashes: Mapping[int, float],
    on_failure: OnFailure,
) -> Running:
    """A run of this call on `size` workers that are starting.

    task: what each is told, of a kind that knows what to do with the wiring. join: makes that
    wiring, which is the watcher's hold of the ranks, too; it gets the parent's ends of the pipes
    to the workers, by rank. Raises ClusterError if they can't be started.
    """
    with ExitStack() as always, ExitStack() as on_error:
        freight = Freight(parcel)
        always.callback(freight.close)
        pickled = cloudpickle.dumps(slowdowns)
        try:
            ours, theirs = [], []
            for _ in range(size):
                one, other = multiprocessing.Pipe()
                on_error.callback(one.close)
                always.callback(other.close)
                ours.append(one)
                theirs.append(other)
            wiring = join(ours)
            on_error.callback(wiring.close)
            crew = launch(
                task(
                    wiring=wiring,
                    freight=freight,
                    slowdowns=pickled,
                    paced=paced,
                    seed=seed,
                    crashes=dict(crashes),
                    sources=_sources(),
                ),
                theirs,
            )
            on_error.callback(crew.close)
        except OSError as error:
            raise ClusterError(f"{size} workers can't be started: {error.strerror}") from error
        terms = Terms(
            size=size,
            seed=seed,
            badge="paced" if paced else "measured",
            goes_on=on_failure == "continue",
            crashes=dict(crashes),
        )
        watch = Watch(terms, crew, wiring, ours)
        on_error.pop_all()
    return LocalRun(watch)


class LocalRun(Running):
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
