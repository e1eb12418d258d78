"""Locks among ranks that share no memory: the first member grants them, in the order of asking.

It does so in the threads that receive, whatever its program does. When a holder or one who waits
dies, the next in the queue has its turn; when the first member dies, nobody gets the lock any more.
"""

from __future__ import annotations

import time
from collections import defaultdict, deque
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ddml_kit.cluster.distributed.post import Post

WANT, FREE, GRANT, HELD = range(4)  # asked, given back; granted, or who holds it


class Locks:
    """Those that this rank grants, and those that it holds. Its caller has the rank's lock.

    tell: sends (to a rank, number of the lock, one of the four, a rank).
    """

    def __init__(self, rank: int, tell: Callable[[int, int, int, int], None]) -> None:
        self._rank, self._tell = rank, tell
        self._queues: defaultdict[int, deque[int]] = defaultdict(deque)  # the first one holds it
        self.granted: set[int] = set()
        self.holder: dict[int, int] = {}  # of the locks that this rank waits for

    def ask(self, manager: int, number: int) -> None:
        self._say(manager, number, WANT, self._rank)

    def free(self, manager: int, number: int) -> None:
        self._say(manager, number, FREE, self._rank)

    def hear(self, number: int, what: int, rank: int) -> None:
        """What another rank tells."""
        queue = self._queues[number]
        if what == WANT:
            queue.append(rank)
            if queue[0] == rank:
                self._say(rank, number, GRANT, rank)
            else:
                self._say(rank, number, HELD, queue[0])
        elif what == FREE:
            self._leave(number, rank)
        elif what == GRANT:
            self.granted.add(number)
            self.holder[number] = self._rank
        else:
            self.holder[number] = rank

    def bury(self, rank: int) -> None:
        """A rank has died."""
        for number in list(self._queues):
            self._leave(number, rank)

    def _leave(self, number: int, rank: int) -> None:
        queue = self._queues[number]
        if rank not in queue:
            return
        held = queue[0] == rank
        queue.remove(rank)
        if held and queue:
            self._say(queue[0], number, GRANT, queue[0])
            for other in list(queue)[1:]:
                self._say(other, number, HELD, queue[0])

    def _say(self, to: int, number: int, what: int, rank: int) -> None:
        if to == self._rank:
            self.hear(number, what, rank)
        else:
            self._tell(to, number, what, rank)


class RankLock:
    """For `with`. number: which lock, the same on all ranks; manager: who grants it.

    taken: called with the time.monotonic() from which it was asked for, when it is there. given:
    called at its release.
    """

    def __init__(
        self,
        number: int,
        manager: int,
        post: Post,
        taken: Callable[[float], None],
        given: Callable[[], None],
    ) -> None:
        self._number, self._manager, self._post = number, manager, post
        self._taken, self._given = taken, given
        self._busy = False  # a strand of this rank holds it, or asks for it

    def __enter__(self) -> None:
        start = time.monotonic()
        number, post, manager = self._number, self._post, self._manager
        locks, sleep = post.locks, post.waiter.sleep_locked

        def lost() -> bool:
            return bool(post.hopeless(manager, (manager,)))

        with post.changed:
            # other strands call what is given here, too: it only looks
            sleep(lambda: not self._busy, lambda: f"a lock that rank {post.rank} holds")
            self._busy = True
            locks.ask(manager, number)
            sleep(lambda: number in locks.granted or lost(), self._held)
            if number not in locks.granted:
                self._busy = False
                post.changed.notify_all()
                raise post.failure(manager)
            locks.granted.discard(number)
        self._taken(start)

    def __exit__(self, *_: object) -> None:
        with self._post.changed:
            self._post.locks.free(self._manager, self._number)
            self._busy = False
            self._post.changed.notify_all()
        self._given()

    def _held(self) -> str:
        holder = self._post.locks.holder.get(self._number)
        return "a lock" if holder is None else f"a lock that rank {holder} holds"
