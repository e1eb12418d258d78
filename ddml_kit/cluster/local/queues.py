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
import weakref
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ddml_kit.cluster.endpoint import ANY
from ddml_kit.cluster.local.encoding import (
    KEEP,
    LARGE,
    PLAIN,
    VECTOR,
    Encoded,
    read,
    room,
    write,
)
from ddml_kit.cluster.local.memory import OFFSET, SHIFT, Heap, Views
from ddml_kit.cluster.local.system import WEAK, fence
from ddml_kit.cluster.local.wiring import Wiring

HEADER = 64
NUMBER = (1 << 26) - 1  # a word is a number, which tells it from the last, and address >> 6
PLACE = (1 << 37) - 1
OVERDUE = 32  # short pieces that a receiver may owe before it gives them back though not idle
_header = struct.Struct(
    "2qd5q"
)  # previous address, number, when, tag, context, code, bytes, booked
_link = struct.Struct("2q")  # the first two of these

Letter = tuple[float, int, int, int, int, int, int, int]
# when, source, tag, context, code, bytes, booked, address
Received = tuple[Any, int, int, int]


class Hold(weakref.ref):
    """Tells when an array has died whose memory is a piece of `source`'s heap."""

    __slots__ = ("owes",)
    owes: tuple[int, int]


class Mail:
    """One rank's queues to and from all. Any of its strands may use it."""

    def __init__(self, wiring: Wiring, rank: int, heap: Heap, views: Sequence[Views]) -> None:
        control, size = wiring.control, wiring.size
        self._wiring, self._rank, self._heap, self._views = wiring, rank, heap, views
        self._words, self._view, self._own = control.words, control.view, heap.views
        self._mutex = threading.Lock()
        self._row_format = struct.Struct(f"{size}q")
        self._asleep, self._gone_word = control.asleep, control.gone
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
        self._arrived_word = [mine + source for source in range(size)]
        self._arrived_at = slice(mine * 8, (mine + size) * 8)
        self._arrived_row = bytes(size * 8)  # as it was when all was last put into boxes
        self._arrived_words = [0] * size
        self._arrived = [0] * size
        self._boxes: dict[tuple[int, int, int], deque[Letter]] = {}  # by context, source, tag
        self._given_word = [control.returned + s * control.stride + rank for s in range(size)]
        self._given_newest = [0] * size
        self._given = [0] * size
        self._holds: dict[int, Hold] = {}
        self._owed: deque[tuple[int, int]] = deque()  # (source, address) to be given back
        self._due = False  # a long one is among them
        heap.refill = self._collect

    # -------------------------------------------------------------------- the heap itself

    def room(self, size: int) -> int:
        """The address of a piece of this rank's heap."""
        with self._mutex:
            return self._heap.take(size)

    def drop(self, address: int) -> None:
        """Give back such a piece."""
        with self._mutex:
            self._heap.give(address)

    def place(self, rank: int, address: int) -> tuple[mmap.mmap, int]:
        """Where an address of a rank's heap is in this process: a map and the offset in it."""
        return self._views[rank][address >> SHIFT], address & OFFSET

    # ------------------------------------------------------------------------- sending

    def post(self, encoded: Encoded, dest: int, tag: int, context: int, when: float) -> None:
        """Put a message into the queue to `dest`, and wake it if it sleeps.

        when: time.monotonic(), by which messages from several ranks are put in order. A rank that
        has ended gets none: nobody would ever give the memory back.
        """
        if self._words[self._gone_word + dest]:
            return
        code, _, nbytes, booked, content = encoded
        usual = code & 255 == VECTOR and nbytes < LARGE
        if not usual:
            address = self.room(HEADER + room(encoded))
            write(encoded, self._own[address >> SHIFT], (address & OFFSET) + HEADER)
        with self._mutex:
            if usual:  # made short
                address = self._heap.take(HEADER + nbytes)
            view, offset = self._own[address >> SHIFT], address & OFFSET
            if usual:
                view[offset + HEADER : offset + HEADER + nbytes] = content
            number = self._sent[dest] = self._sent[dest] + 1
            previous, self._newest[dest] = self._newest[dest], address
            _header.pack_into(
                view, offset, previous, number, when, tag, context, code, nbytes, booked
            )
            if WEAK:
                fence()
            self._words[self._sent_word[dest]] = (number & NUMBER) << 37 | address >> 6
        if WEAK:
            fence()  # elsewhere, giving back the mutex was one
        if self._words[self._asleep + dest]:
            self._wiring.wake(dest)

    def _collect(self) -> None:
        """Take back into the heap what receivers have given back."""
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

    def receive(self, source: int, tag: int, context: int) -> Received | None:
        """(value, source, tag, payload bytes) of the first message that fits; None if none is here.

        A long value's memory goes back to its sender when the value is gone.
        """
        letter = None
        with self._mutex:
            if self._due or len(self._owed) > OVERDUE:
                self._settle()
            sender = source if source != ANY else self._only_sender()
            word = self._words[self._arrived_word[sender]] if sender != ANY else 0
            if word and word != self._arrived_words[sender] and not self._boxes:
                # the usual case, made short: one message has come, and it is the one
                if WEAK:
                    fence()
                address = (word & PLACE) << 6
                view, offset = self._views[sender][address >> SHIFT], address & OFFSET
                _, number, when, its_tag, its_context, code, nbytes, booked = _header.unpack_from(
                    view, offset
                )
                fits = its_context == context and (its_tag == tag or (tag == ANY and its_tag >= 0))
                if fits and number == self._arrived[sender] + 1:
                    self._arrived[sender] = number
                    self._arrived_words[sender] = word
                    if code & 255 == VECTOR and nbytes < KEEP:
                        self._owed.append((sender, address))
                        start = offset + HEADER
                        content = bytearray(view[start : start + nbytes])
                        return np.frombuffer(content, PLAIN[code >> 8]), sender, its_tag, booked
                    letter = when, sender, its_tag, context, code, nbytes, booked, address
            if letter is None:
                letter = self._take(source, tag, context)
                if letter is None:
                    return None
        _, source, tag, _, code, nbytes, booked, address = letter
        view, start = self._views[source][address >> SHIFT], (address & OFFSET) + HEADER
        value, owner = read(code, nbytes, view, start)
        if owner is None:
            self._owed.append((source, address))
        else:
            hold = Hold(owner, self._gone)
            hold.owes = (source, address)
            self._holds[id(hold)] = hold
        return value, source, tag, booked

    def expects(self, source: int, tag: int, context: int) -> Callable[[], bool]:
        """A test whether `receive` should be tried: something has come, or the letter is there."""
        with self._mutex:  # there is nothing else to do, so this is the time to tidy up
            self._settle()
            self._collect()
        boxes, view, at = self._boxes, self._view, self._arrived_at
        if source == ANY or tag == ANY:
            return lambda: (
                view[at] != self._arrived_row or bool(self._fitting(source, tag, context))
            )
        key, words, word, known = (
            (context, source, tag),
            self._words,
            self._arrived_word[source],
            self._arrived_words,
        )
        return lambda: words[word] != known[source] or key in boxes

    def holds(self, source: int, tag: int, context: int) -> Callable[[], bool]:
        """A test whether such a letter is there; it stays."""

        def there() -> bool:
            with self._mutex:
                if self._view[self._arrived_at] != self._arrived_row:
                    self._sort()
            return bool(self._fitting(source, tag, context))

        return there

    def _take(self, source: int, tag: int, context: int) -> Letter | None:
        """The first letter that fits, out of its box; None if there is none."""
        boxes = self._boxes
        if self._view[self._arrived_at] != self._arrived_row:
            self._sort()
        if not boxes:
            return None
        key = (context, source, tag)
        if source == ANY or tag == ANY:
            fitting = self._fitting(source, tag, context)
            key = min(fitting, key=lambda key: boxes[key][0], default=key)
        box = boxes.get(key)
        if box is None:
            return None
        letter = box.popleft()
        if not box:
            del boxes[key]
        return letter

    def _only_sender(self) -> int:
        """The only rank of which something new has come; ANY if there is none, or more."""
        row = self._view[self._arrived_at]
        if row == self._arrived_row:
            return ANY
        words = self._row_format.unpack(row)
        new = [rank for rank, word in enumerate(words) if word != self._arrived_words[rank]]
        return new[0] if len(new) == 1 else ANY

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
        words = self._row_format.unpack(row)
        for source, word in enumerate(words):
            if word == self._arrived_words[source]:
                continue
            new: list[Letter] = []
            address, number, views = (word & PLACE) << 6, -1, self._views[source]
            while number != self._arrived[source] + 1:
                previous, number, when, tag, context, code, nbytes, booked = _header.unpack_from(
                    views[address >> SHIFT], address & OFFSET
                )
                new.append((when, source, tag, context, code, nbytes, booked, address))
                address = previous
            self._arrived[source] += len(new)
            for letter in reversed(new):
                key = (letter[3], source, letter[2])
                self._boxes.setdefault(key, deque()).append(letter)
        # last: whoever finds nothing new here finds the letters in their boxes
        self._arrived_words[:] = words
        self._arrived_row = row

    def _gone(self, hold: Hold) -> None:
        """Called by the garbage collector, perhaps while this strand holds the mutex."""
        if self._holds.pop(id(hold), None):
            self._owed.append(hold.owes)
            self._due = True

    def _settle(self) -> None:
        """Give back to their senders the pieces that are no longer needed."""
        self._due = False
        while self._owed:
            self._give(*self._owed.popleft())

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
