"""Which snapshots of a model are kept, when a program offers one each step."""

from __future__ import annotations

from collections.abc import Sequence

from ddml_kit.cluster.run import Snapshot

BUDGET = 128_000_000  # bytes of snapshots that a run keeps
MOST, LEAST = 256, 8  # snapshots a rank


class Thinning:
    """One rank's rule: every k-th, and k doubles when there are too many. The same every time."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._step = -1
        self._kept = 0
        self.stride = 1

    def keep(self, nbytes: int) -> int | None:
        """The number of the step that is offered now, or None if it is passed over."""
        self._step += 1
        if self._step % self.stride:
            return None
        most = max(LEAST, min(MOST, BUDGET // max(1, nbytes * self._size)))
        if self._kept >= most:
            self.stride *= 2
            self._kept = (self._kept + 1) // 2
            if self._step % self.stride:
                return None
        self._kept += 1
        return self._step


def thin(snapshots: Sequence[Snapshot]) -> list[Snapshot]:
    """Those that the rule of their rank, at its last stride, would have kept.

    The stride is read off the last two snapshots of a rank: the least power of two not below their
    distance.
    """
    steps: dict[int, list[int]] = {}
    for snapshot in snapshots:
        steps.setdefault(snapshot.rank, []).append(snapshot.step)
    strides = {}
    for rank, taken in steps.items():
        stride = 1
        while len(taken) > 1 and taken[-1] - taken[-2] > stride:
            stride *= 2
        strides[rank] = stride
    return [s for s in snapshots if s.step % strides[s.rank] == 0]


class Album:
    """The snapshots of a run of `size` ranks; thinned whenever there are twice as many."""

    def __init__(self, size: int) -> None:
        self.snapshots: list[Snapshot] = []
        self._least = LEAST * size
        self._thin_at = 2 * self._least

    def add(self, snapshot: Snapshot) -> bool:
        """Take one in; whether others have been thrown out."""
        self.snapshots.append(snapshot)
        if len(self.snapshots) < self._thin_at:
            return False
        self.snapshots = thin(self.snapshots)
        self._thin_at = 2 * max(len(self.snapshots), self._least)
        return True
