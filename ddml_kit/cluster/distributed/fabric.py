"""The links of a rank to all others."""

from __future__ import annotations

import threading
from collections.abc import Callable

from ddml_kit.cluster.distributed.groups import Groups
from ddml_kit.cluster.distributed.links import CONTROL, GOODBYE, LAST, Frame, Link
from ddml_kit.cluster.distributed.pieces import Pieces


class Fabric:
    """All links of a rank; making one connects it with all others, and waits for them.

    There are two groups: over the first goes what is for a higher rank, over the second what is
    for a lower. gloo's word that a receiver is ready (see links.py) would else queue behind what
    the receiver sends itself, and two ranks that exchange long messages would do so by turns.
    Frames between ranks and watcher (CONTROL) are handed on from the moment of `listen`, those of
    the program from the moment of `begin`; what comes earlier waits.
    """

    def __init__(self, groups: Groups) -> None:
        self.groups, self.rank, self.size = groups, groups.rank, groups.size
        self.pieces, rank, size = Pieces(groups.size), groups.rank, groups.size
        up, down = (groups.gloo(way, rank, size) for way in ("up", "down"))
        self.links = {peer: Link(down, up, peer, self.pieces) for peer in range(rank)}
        self.links |= {peer: Link(up, down, peer, self.pieces) for peer in range(rank + 1, size)}
        self._early: list[Callable[[], None]] | None = []
        self._sorting = threading.Lock()

    def listen(
        self,
        control: Callable[[int, Frame], None],
        over: Callable[[int], None],
        lost: Callable[[int], None],
    ) -> None:
        """All three are called in the link's thread, before the rest is handed on.

        control: gets rank and frame. over: is told of a rank that says its program is over. lost:
        of one whose link has broken.
        """
        self._control, self._over, self._lost = control, over, lost
        for link in self.links.values():
            link.begin(self._take, self._end, self._fail)

    def begin(
        self,
        deliver: Callable[[int, Frame], None],
        ended: Callable[[int], None],
        failed: Callable[[BaseException], None],
    ) -> None:
        """deliver: gets each rank's frames. ended: is told of each rank after its last. failed:
        of an error for which this rank receives no more.
        """
        with self._sorting:
            self._deliver, self._ended, self._failed = deliver, ended, failed
            for call in self._early or ():
                call()
            self._early = None

    def _take(self, peer: int, frame: Frame) -> None:
        if frame.kind == CONTROL:
            self._control(peer, frame)
            return
        if frame.kind == LAST:
            self._over(peer)
        if not self._is_early(lambda: self._deliver(peer, frame)):
            self._deliver(peer, frame)

    def _end(self, peer: int, broken: bool) -> None:
        if broken:
            self._lost(peer)
        if not self._is_early(lambda: self._ended(peer)):
            self._ended(peer)

    def _fail(self, error: BaseException) -> None:
        if not self._is_early(lambda: self._failed(error)):
            self._failed(error)

    def _is_early(self, call: Callable[[], None]) -> bool:
        """Whether it has to wait; then it will be called."""
        if self._early is None:
            return False
        with self._sorting:
            if self._early is not None:
                self._early.append(call)
            return self._early is not None

    def close(self) -> None:
        """Say good-bye to all, and wait until all have, or are gone."""
        for link in self.links.values():
            link.send(GOODBYE, 0, 0)
        for link in self.links.values():
            link.close()
        self.links.clear()
