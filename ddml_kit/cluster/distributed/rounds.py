"""One collective of a communicator while it is under way in a rank."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from ddml_kit.cluster.distributed import collectives
from ddml_kit.cluster.distributed.links import ASK, CALL
from ddml_kit.cluster.distributed.meetings import tag_of, words
from ddml_kit.cluster.distributed.post import Post
from ddml_kit.cluster.errors import Call, awaited_call
from ddml_kit.cluster.local.encoding import Encoded

NEWS = 5.0  # seconds in which the watcher tells who has died


class Round:
    """For `with`: inside, this rank makes that call. Members and oneself (`me`) by position.

    Raises ValueError where another member makes another call, RankFailed where one is dead.
    """

    def __init__(self, post: Post, members: Sequence[int], context: int, call: Call) -> None:
        self._post, self._context, self._call = post, context, call
        self.members, self.me = members, members.index(post.rank)
        self._came: set[int] = set()

    def __enter__(self) -> Round:
        with self._post.changed:
            self._meeting = self._post.meeting(self._context)
            self._number = self._meeting.begin(words(self._call), self.members)
            if self._meeting.odd is not None:
                error = self._refuse()
                self._forget()
                raise error
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        with self._post.changed:
            if kind is None:
                self._meeting.end(self._post.rank)
            else:
                self._forget()

    def keep(self, encoded: Encoded) -> Any:
        """A copy for oneself."""
        return self._post.copy(encoded)

    def give(self, to: int, encoded: Encoded, phase: int = 0) -> None:
        """Send a copy to the member at that position."""
        tag = tag_of(self._number, phase)
        self._post.send(self.members[to], self._context, tag, encoded, self._meeting.call)

    def take(self, source: int, phase: int = 0) -> Any:
        """What that member has given; waits for it."""
        post, meeting, context = self._post, self._meeting, self._context
        member, tag = self.members[source], tag_of(self._number, phase)

        def ready() -> bool:
            return (
                post.inbox.find(member, tag, context) is not None
                or meeting.odd is not None
                or bool(self._dead())
            )

        with post.changed:
            post.waiter.sleep_locked(ready, lambda: self._awaited(member), impatient=self._ask)
            if meeting.odd is not None:
                raise self._refuse()
            found = post.inbox.take(member, tag, context)
            if found is None:
                raise post.failure(self._dead()[0])
            self._came.add(member)
        return post.open(found[1])

    def together(self, f: Callable[[], Any]) -> Any:
        """f(), in which torch.distributed waits for all members, once all of them are here.

        Such a wait can't be ended. Of one who dies in it the others hear a RuntimeError first.
        """
        collectives.barrier(self)
        try:
            return f()
        except RuntimeError:
            post, deadline = self._post, time.monotonic() + NEWS
            with post.changed:
                if not post.waiter.sleep_locked(lambda: bool(self._dead()), str, deadline):
                    raise
                raise post.failure(self._dead()[0]) from None

    def _dead(self) -> list[int]:
        return [rank for rank in self.members if self._post.hopeless(rank, self.members)]

    def _absent(self) -> list[int]:
        """Members of whose call nothing has come yet."""
        here = self._came | {self._post.rank} | self._post.inbox.sources(self._context)
        return [member for member in self.members if member not in here]

    def _awaited(self, member: int) -> str:
        return awaited_call(self._absent() or [member], self._call[0])

    def _ask(self) -> None:
        """It takes long: say what this rank calls to those who have not come, and ask them."""
        self._say(ASK, self._absent())

    def _refuse(self) -> ValueError:
        """Another calls something else: all others are told what this rank calls."""
        self._say(CALL, [member for member in self.members if member != self._post.rank])
        return self._meeting.mismatch(self._post.rank)

    def _say(self, kind: int, members: Sequence[int]) -> None:
        for member in members:
            self._post.say_locked(member, kind, self._context, self._number, self._meeting.call)

    def _forget(self) -> None:
        """Nothing is left of it; what still comes is forgotten on arrival."""
        self._meeting.over = True
        self._post.inbox.drop(self._context, tag_of(self._number + 1, 0))
