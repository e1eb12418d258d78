"""The links of a rank to all others."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from torch.distributed import PrefixStore, ProcessGroupGloo, Store

from ddml_kit.cluster.distributed.links import CONTROL, GOODBYE, Frame, Link
from ddml_kit.cluster.distributed.pieces import Pieces

EVER = timedelta(days=3650)  # a wait that gloo gives up breaks all connections


def connect(store: Store, rank: int, size: int, address: str | None = None) -> tuple[Any, Any]:
    """Connections among all ranks; waits for them.

    Two for each pair: over the first goes what is for the higher rank, over the second what is for
    the lower. gloo's word that a receiver is ready (see links.py) would else queue behind what the
    receiver sends itself, and two ranks that exchange long messages would do so by turns.
    address: of this host, at which the others find it. None: what GLOO_SOCKET_IFNAME or the
    host's name says.
    """
    up, down = (PrefixStore(way, store) for way in ("up", "down"))
    return _group(up, rank, size, address), _group(down, rank, size, address)


def _group(store: Store, rank: int, size: int, address: str | None) -> Any:
    gloo: Any = ProcessGroupGloo  # of which torch's stubs know little
    if address is None:
        return gloo(store, rank, size, EVER)
    options = gloo._Options()
    options._timeout = EVER
    options._devices = [gloo.create_device(hostname=address)]
    return gloo(store, rank, size, options)


class Fabric:
    """All links of a rank.

    Frames between ranks and watcher (CONTROL) are handed on from the moment of `listen`, those of
    the program from the moment of `begin`; what comes earlier waits.
    """

    def __init__(self, groups: tuple[Any, Any], rank: int, size: int) -> None:
        """groups: as `connect` gives them."""
        self.rank, self.size, self.pieces = rank, size, Pieces(size)
        up, down = groups
        self.links = {peer: Link(down, up, peer, self.pieces) for peer in range(rank)}
        self.links |= {peer: Link(up, down, peer, self.pieces) for peer in range(rank + 1, size)}
        self._early: list[Callable[[], None]] | None = []
        self._sorting = threading.Lock()

    def listen(self, control: Callable[[int, Frame], None], lost: Callable[[int], None]) -> None:
        """control: gets rank and frame, in the link's thread. lost: a rank whose link broke."""
        self._control, self._lost = control, lost
        for link in self.links.values():
            link.begin(self._take, self._end)

    def begin(self, deliver: Callable[[int, Frame], None], ended: Callable[[int], None]) -> None:
        """deliver: gets each rank's frames. ended: is told of each rank after its last."""
        with self._sorting:
            self._deliver, self._ended = deliver, ended
            for call in self._early or ():
                call()
            self._early = None

    def _take(self, peer: int, frame: Frame) -> None:
        if frame.kind == CONTROL:
            self._control(peer, frame)
        elif not self._is_early(lambda: self._deliver(peer, frame)):
            self._deliver(peer, frame)

    def _end(self, peer: int, broken: bool) -> None:
        if broken:
            self._lost(peer)
        if not self._is_early(lambda: self._ended(peer)):
            self._ended(peer)

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
