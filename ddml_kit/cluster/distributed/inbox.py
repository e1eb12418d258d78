"""What has arrived at this rank and was not received yet, in the order of arrival."""

from __future__ import annotations

from collections import deque

from ddml_kit.cluster.distributed.links import Frame
from ddml_kit.cluster.endpoint import ANY

Box = dict[tuple[int, int], deque[tuple[int, Frame]]]  # by source and tag


class Inbox:
    """Its caller holds a lock. Tags of the kit's own are below ANY, and ANY is none of them."""

    def __init__(self) -> None:
        self._contexts: dict[int, Box] = {}
        self._arrived = 0

    def put(self, source: int, frame: Frame) -> None:
        self._arrived += 1
        box = self._contexts.setdefault(frame.context, {})
        box.setdefault((source, frame.tag), deque()).append((self._arrived, frame))

    def find(self, source: int, tag: int, context: int) -> tuple[int, int] | None:
        """Source and tag of the first frame that fits, either of which may be ANY."""
        box = self._contexts.get(context)
        if not box:
            return None
        if source != ANY and tag != ANY:
            return (source, tag) if (source, tag) in box else None
        fitting = (
            (frames[0][0], key)
            for key, frames in box.items()
            if source in (ANY, key[0]) and (tag == key[1] or (tag == ANY and key[1] >= 0))
        )
        return min(fitting, default=(0, None))[1]

    def take(self, source: int, tag: int, context: int) -> tuple[int, Frame] | None:
        """The first frame that fits, and its source."""
        key = self.find(source, tag, context)
        if key is None:
            return None
        box = self._contexts[context]
        _, frame = box[key].popleft()
        if not box[key]:
            del box[key]
        return key[0], frame

    def sources(self, context: int) -> set[int]:
        """From whom there are frames with tags of the kit's own."""
        return {source for source, tag in self._contexts.get(context, {}) if tag < ANY}

    def drop(self, context: int, above: int) -> None:
        """Forget what has a tag of the kit's own that is above this one: of collectives before."""
        box = self._contexts.get(context, {})
        for key in [key for key in box if above < key[1] < ANY]:
            del box[key]
