"""Messages from rank to rank: for each pair a linked queue in the sender's heap.

A message is a node: a header of eight words, its head, its content. A node points back to the one
sent before it to the same rank, and the pair's word in the control area points to the newest. One
aligned store of that word publishes a message; one load finds all that are new, newest first. What
has been received goes back the same way, linked through the same headers, in any order. Each word
has one writer, so no lock is needed between processes, and a send never waits.
"""

from __future__ import annotations

import mmap
import struct
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from ddml_kit.cluster.endpoint import ANY
from ddml_kit.cluster.local.encoding import Encoded, decode, write
from ddml_kit.cluster.local.memory import OFFSET, SHIFT, Heap, Views
from ddml_kit.cluster.local.system import WEAK, fence
from ddml_kit.cluster.local.wiring import Wiring

HEADER = 64
KEEP = 1 << 15  # bytes from which content is received where it lies
NUMBER = (1 << 26) - 1  # a word is a number, which tells it from the last, and address >> 6
PLACE = (1 << 37) - 1
_header = struct.Struct("8q")  # previous address, number, ns, tag, context, kind, bytes, booked
_link = struct.Struct("2q")  # the first two of these

Letter = tuple[int, int, int, int, int, int, int]  # ns, source, tag, kind, bytes, booked, address


class Hold(weakref.ref):
    """Tells when an array has died whose memory is a piece of `source`'s heap."""

    __slots__ = ("address", "source")
    source: int
    address: int


class Mail:
    """One rank's queues to and from all. Any of its strands may use it."""

    def __init__(self, wiring: Wiring, rank: int, heap: Heap, views: Sequence[Views]) -> None:
        control, size = wiring.control, wiring.size
        self._wiring, self._rank, self._heap, self._views = wiring, rank, heap, views
        self._words, self._view = control.words, control.view
        self._mutex = threading.Lock()
        self._row_format = struct.Struct(f"{size}q")
        # outgoing
        self._sent_word = [control.sent + dest * control.stride + rank for dest in range(size)]
        self._newest = [0] * size  # address of the last node sent to each rank
        self._sent = [0] * size  # how many
        mine = control.returned + rank * control.stride
        self._returned_at = slice(mine * 8, (mine + size) * 8)
        self._returned_row = bytes(size * 8)
        self._returned_words = [0] * size
        self._returned = [0] * size
        # incoming
        mine = control.sent + rank * control.stride
        self._arrived_at = slice(mine * 8, (mine + size) * 8)
        self._arrived_row = bytes(size * 8)
        self._arrived_words = [0] * size
        self._arrived = [0] * size
        self._boxes: dict[tuple[int, int, int], deque[Letter]] = {}  # by context, source, tag
        self._given_word = [control.returned + s * control.stride + rank for s in range(size)]
        self._given_newest = [0] * size
        self._given = [0] * size
        self._holds: dict[int, Hold] = {}
        self._dropped: deque[Hold] = deque()  # filled by the garbage collector, at any moment

    # -------------------------------------------------------------------- the heap itself

    def room(self, size: int) -> int:
        """The address of a piece of this rank's heap."""
        with self._mutex:
            self._collect()
            return self._heap.take(size)

    def drop(self, address: int) -> None:
        """Give back such a piece."""
        with self._mutex:
            self._heap.give(address)

    def place(self, rank: int, address: int) -> tuple[mmap.mmap, int]:
        """Where an address of a rank's heap is in this process: a map and the offset in it."""
        return self._views[rank][address >> SHIFT], address & OFFSET

    # ------------------------------------------------------------------------- sending

    def post(self, encoded: Encoded, dest: int, tag: int, context: int) -> None:
        """Put a message into the queue to `dest`, and wake it if it sleeps."""
        kind, head, nbytes, booked, _ = encoded
        room = -(-len(head) // 64) * 64 + HEADER
        address = self.room(room + nbytes)
        view, offset = self._heap.views[address >> SHIFT], address & OFFSET
        view[offset + HEADER : offset + HEADER + len(head)] = head
        write(encoded, view, offset + room)
        with self._mutex:
            number = self._sent[dest] = self._sent[dest] + 1
            _header.pack_into(
                view,
                offset,
                self._newest[dest],
                number,
                time.monotonic_ns(),
                tag,
                context,
                kind | len(head) << 8,
                nbytes,
                booked,
            )
            self._newest[dest] = address
            if WEAK:
                fence()
            self._words[self._sent_word[dest]] = (number & NUMBER) << 37 | address >> 6
        fence()
        self._wiring.wake(dest)

    def _collect(self) -> None:
        """Take back into the heap what receivers have given back."""
        if self._dropped:
            self._give_dropped()
        row = self._view[self._returned_at]
        if row == self._returned_row:
            return
        if WEAK:
            fence()
        for dest, word in enumerate(self._row_format.unpack(row)):
            if word == self._returned_words[dest]:
                continue
            self._returned_words[dest] = word
            before = self._returned[dest]
            address, number, count = (word & PLACE) << 6, -1, 0
            while number != before + 1:
                previous, number = _link.unpack_from(
                    self._heap.views[address >> SHIFT], address & OFFSET
                )
                self._heap.give(address)
                address, count = previous, count + 1
            self._returned[dest] = before + count
        self._returned_row = row

    # ------------------------------------------------------------------------ receiving

    def take(self, source: int, tag: int, context: int) -> Letter | None:
        """The first letter that fits, out of its box; None if there is none."""
        with self._mutex:
            if self._dropped:
                self._give_dropped()
            if self._view[self._arrived_at] != self._arrived_row:
                self._sort()
            key = (context, source, tag)
            if source == ANY or tag == ANY:
                fitting = self._fitting(source, tag, context)
                key = min(fitting, key=lambda key: self._boxes[key][0], default=key)
            box = self._boxes.get(key)
            if box is None:
                return None
            letter = box.popleft()
            if not box:
                del self._boxes[key]
            return letter

    def expects(self, source: int, tag: int, context: int) -> Callable[[], bool]:
        """A test whether `take` should be tried: something has come, or the letter is there."""
        boxes, view, at = self._boxes, self._view, self._arrived_at
        if source == ANY or tag == ANY:
            return lambda: (
                view[at] != self._arrived_row or bool(self._fitting(source, tag, context))
            )
        key = (context, source, tag)
        return lambda: view[at] != self._arrived_row or key in boxes

    def holds(self, source: int, tag: int, context: int) -> Callable[[], bool]:
        """A test whether such a letter is there; it stays."""

        def there() -> bool:
            with self._mutex:
                if self._view[self._arrived_at] != self._arrived_row:
                    self._sort()
            return bool(self._fitting(source, tag, context))

        return there

    def open(self, letter: Letter) -> Any:
        """The value of a letter that was taken; its memory goes back when the value is gone."""
        _, source, _, kind, nbytes, _, address = letter
        view, offset = self._views[source][address >> SHIFT], address & OFFSET
        length = kind >> 8
        start = offset + HEADER
        head = view[start : start + length]
        value, owner = decode(
            kind & 255, head, nbytes, view, start + -(-length // 64) * 64, nbytes >= KEEP
        )
        if owner is None:
            with self._mutex:
                self._give(source, address)
        else:
            hold = Hold(owner, self._gone)
            hold.source, hold.address = source, address
            self._holds[id(hold)] = hold
        return value

    def _fitting(self, source: int, tag: int, context: int) -> list[tuple[int, int, int]]:
        """The boxes of letters that fit. ANY does not fit the kit's own tags, below 0."""
        return [
            (c, s, t)
            for c, s, t in list(self._boxes)
            if c == context and source in (ANY, s) and (t == tag or (tag == ANY and t >= 0))
        ]

    def _sort(self) -> None:
        """Put all that has come into boxes."""
        row = self._view[self._arrived_at]
        if WEAK:
            fence()
        for source, word in enumerate(self._row_format.unpack(row)):
            if word == self._arrived_words[source]:
                continue
            self._arrived_words[source] = word
            before = self._arrived[source]
            address, number, letters = (word & PLACE) << 6, -1, []
            while number != before + 1:
                previous, number, when, tag, context, kind, nbytes, booked = _header.unpack_from(
                    self._views[source][address >> SHIFT], address & OFFSET
                )
                letters.append((context, (when, source, tag, kind, nbytes, booked, address)))
                address = previous
            self._arrived[source] = before + len(letters)
            for context, letter in reversed(letters):
                key = (context, source, letter[2])
                box = self._boxes.get(key)
                if box is None:
                    self._boxes[key] = deque((letter,))
                else:
                    box.append(letter)
        self._arrived_row = row  # last: whoever sees it finds the letters in their boxes

    def _gone(self, hold: Hold) -> None:
        """Called by the garbage collector, perhaps while this strand holds the mutex."""
        self._holds.pop(id(hold), None)
        self._dropped.append(hold)

    def _give_dropped(self) -> None:
        while self._dropped:
            hold = self._dropped.popleft()
            self._give(hold.source, hold.address)

    def _give(self, source: int, address: int) -> None:
        """Give a node back to its sender."""
        number = self._given[source] = self._given[source] + 1
        _link.pack_into(
            self._views[source][address >> SHIFT],
            address & OFFSET,
            self._given_newest[source],
            number,
        )
        self._given_newest[source] = address
        if WEAK:
            fence()
        self._words[self._given_word[source]] = (number & NUMBER) << 37 | address >> 6
