"""What the caller holds of a run in processes that torchrun has started."""

from __future__ import annotations

import signal
import threading
import weakref
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NoReturn

import cloudpickle

from ddml_kit.cluster.distributed import outcome
from ddml_kit.cluster.distributed.fabric import Fabric
from ddml_kit.cluster.distributed.groups import Groups
from ddml_kit.cluster.distributed.member import Member, join
from ddml_kit.cluster.distributed.world import Place, World
from ddml_kit.cluster.errors import ClusterError
from ddml_kit.cluster.faults import Slowdown
from ddml_kit.cluster.local.freight import Freight
from ddml_kit.cluster.local.watch import Terms
from ddml_kit.cluster.run import Metric, OnFailure, Run, Running, Snapshot
from ddml_kit.cluster.shipping import Parcel

BREATH = 1.0  # seconds of waiting after which an interrupt gets through


def begin(
    world: World,
    parcel: Parcel,
    name: str,
    *,
    slowdowns: Sequence[Slowdown],
    paced: bool,
    seed: int,
    crashes: Mapping[int, float],
    on_failure: OnFailure,
) -> Running:
    """This process's part in a run of that program; waits until all ranks are here.

    Raises ClusterError if one does not come, ValueError if one begins another run.
    """
    what = f"{name}, seed {seed}, on_failure {on_failure}, {'' if paced else 'not '}paced"
    store = Place.of(world).meet(what)
    try:
        fabric = Fabric(Groups(store, world.rank, world.size))
    except RuntimeError as error:
        raise ClusterError(
            f"rank {world.rank} can't connect with the others: {error}; GLOO_SOCKET_IFNAME names "
            "the interface to be used"
        ) from error
    terms = Terms(
        size=world.size,
        seed=seed,
        badge="paced" if paced else "measured",
        goes_on=on_failure == "continue",
        crashes=dict(crashes),
    )
    return LaunchedRun(join(fabric, terms, Freight(parcel), cloudpickle.dumps(slowdowns), paced))


class LaunchedRun(Running):
    """On rank 0 the whole run; on the others, points are rank 0's to see, and the rest is the same.

    While it goes on, SIGTERM, with which torchrun ends its processes, stops it and then raises
    SystemExit, if nobody else wants that signal. If a rank has failed, which is why torchrun ends
    them, that is raised.
    """

    def __init__(self, member: Member) -> None:
        self._member = member
        self._outcome: Run | BaseException | None = None
        self._handler: Any = None
        if threading.current_thread() is threading.main_thread():
            handler = signal.getsignal(signal.SIGTERM)
            if handler is signal.SIG_DFL:
                signal.signal(signal.SIGTERM, _terminate)
                self._handler = handler
        weakref.finalize(self, member.stop)

    def __iter__(self) -> Iterator[Metric | Snapshot]:
        watch = self._member.watch
        if watch is not None:
            while not watch.books.exhausted:
                with self._ending_when_interrupted():
                    point = watch.books.next(BREATH)
                if point is not None:
                    yield point
        self._wait()

    def stop(self) -> None:
        self._member.stop()

    def result(self) -> Run:
        self._wait()
        member = self._member
        if member.watch is not None:
            return member.watch.outcome()
        if self._outcome is None:
            try:
                self._outcome = outcome.unpack(member.told, member.trace)
            except ClusterError as error:
                self._outcome = error
        if isinstance(self._outcome, BaseException):
            raise self._outcome
        return self._outcome

    def _wait(self) -> None:
        with self._ending_when_interrupted():
            while not self._member.join(BREATH):
                pass
        self._restore()

    @contextmanager
    def _ending_when_interrupted(self) -> Iterator[None]:
        ending: BaseException | None = None
        try:
            yield
        except (KeyboardInterrupt, SystemExit) as error:
            ending = error
        if ending is not None:
            self._member.stop()
            while not self._member.join(BREATH):
                pass
            self._restore()
            if isinstance(ending, SystemExit):
                self.result()
            raise ending

    def _restore(self) -> None:
        if self._handler is not None:
            signal.signal(signal.SIGTERM, self._handler)
            self._handler = None


def _terminate(signum: int, frame: object) -> NoReturn:
    raise SystemExit(128 + signum)
