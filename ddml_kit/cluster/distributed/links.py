"""What goes between this rank and each other one: frames, in order, over torch.distributed's gloo.

A frame is a head of eight words, a text, and a value as encoding.py writes it. Up to FRAME bytes
it is one message of gloo's. Of a longer one, head and text are a message, the first FRAME bytes of
the value another, and the rest a third, which goes straight into memory that is exactly as long.

gloo moves bytes only once the receiver has said that it is ready for them. So some receives are
asked for beforehand: the next frame need not wait for the one before, and while the first bytes
of a long value travel, the receiver, who knows from the head how long it is, asks for the rest.
Without them the link would be idle for a trip there and back, and on a busy network a long one.

What gloo does, as tried with torch 2.13 (its documentation says little of it):
- `send` copies nothing, never blocks, and forgets what is not on its way yet if its `Work` is let
  go of. `is_completed` is False until someone has waited. So the memory of what is sent is kept,
  and a thread waits for it, if much of it has gathered.
- `recv` takes a message that is shorter than its tensor.
- A wait that is given a timeout breaks all connections when it ends, and nothing but a message or
  the peer's end ends one that has none: `abort` and `shutdown` do not. So each peer has a thread
  that receives, and a frame that says good-bye is the last one, both ways.
- When a peer dies, waits for it raise RuntimeError; those for the others go on.
"""

from __future__ import annotations

import contextlib
import struct
import threading
from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple

from ddml_kit.cluster.distributed.groups import until_done
from ddml_kit.cluster.distributed.pieces import Piece, Pieces
from ddml_kit.cluster.local.encoding import KEEP, Encoded, encode, read, room, write

FRAME = 1 << 18  # bytes of a frame that travels as one message
AHEAD = 4  # receives that are asked for beforehand
LOOSE, MANY = 1 << 20, 32  # bytes, and frames, after which what has been sent is looked after
FRAMES, BODIES = 1, 2  # tags of gloo's
HEAD = struct.Struct("<8q")  # kind, context, tag, code, bytes, booked, room, length of the text
TEXT = 256  # bytes of a text at most
MESSAGE, TENSOR, CALL, ASK, LOCK, CONTROL, LAST, GOODBYE = range(8)
# MESSAGE: of a program or a collective. TENSOR: of a program, and its tensor follows (device.py).
# CALL: what its rank calls, said again; ASK: the same, and "you?". LOCK: see locks.py. CONTROL:
# between a rank and the watcher. LAST: its rank's program has ended. GOODBYE: the last frame.
NOTHING = encode(None)


class Frame(NamedTuple):
    """What has arrived. The value lies at `offset` of `memory`, see `value`."""

    kind: int
    context: int
    tag: int
    text: bytes
    code: int
    nbytes: int
    booked: int
    memory: Any
    offset: int
    piece: Piece | None  # whose memory it is, if that is to be used again


def value(frame: Frame, pieces: Pieces) -> Any:
    """The value of a frame, the caller's own; once."""
    content, owner = read(frame.code, frame.nbytes, frame.memory, frame.offset)
    if frame.piece is not None:
        if owner is None:
            pieces.give(frame.piece)
        else:
            pieces.give_after(owner, frame.piece)
    return content


def to_self(
    pieces: Pieces, kind: int, context: int, tag: int, encoded: Encoded, text: bytes = b""
) -> Frame:
    """The frame that a rank receives which it has sent itself."""
    code, _, nbytes, booked, _ = encoded
    piece = pieces.take(max(1, room(encoded)))
    write(encoded, piece.memory, 0)
    if nbytes >= KEEP:
        return Frame(kind, context, tag, text, code, nbytes, booked, piece.memory, 0, piece)
    content = piece.memory[: room(encoded)]
    pieces.give(piece)
    return Frame(kind, context, tag, text, code, nbytes, booked, content, 0, None)


class Link:
    """The connection with one peer; its thread hands on what comes until the peer's good-bye."""

    def __init__(self, out: Any, into: Any, peer: int, pieces: Pieces) -> None:
        """out, into: gloo's groups, for what is sent and what is received."""
        self.peer = peer
        self._out, self._into, self._pieces = out, into, pieces
        self._sending = threading.Lock()
        self._broken = False
        # What gloo may not be through with, and the memory that is free once it is.
        self._sent: deque[tuple[Any, Piece | None]] = deque()
        self._loose = 0  # bytes of these
        self._much = threading.Semaphore(0)
        self._keeper: threading.Thread | None = None
        self._closing = False
        self._receives: deque[tuple[Any, Piece]] = deque()  # asked for, the next one first
        for _ in range(AHEAD):
            self._ask(pieces.take(FRAME))
        self._thread: threading.Thread | None = None

    def begin(
        self,
        deliver: Callable[[int, Frame], None],
        ended: Callable[[int, bool], None],
        failed: Callable[[BaseException], None],
    ) -> None:
        """Hand on what arrives, from now on.

        deliver: gets each frame, in the link's thread. ended: called last, with whether the
        connection broke. failed: gets an error of this rank's own, as of memory; after one, only
        frames of CONTROL and LAST are handed on.
        """
        self._deliver, self._ended, self._failed = deliver, ended, failed
        self._thread = threading.Thread(target=self._receive, name=f"from {self.peer}", daemon=True)
        self._thread.start()

    # ------------------------------------------------------------------------- sending

    def send(
        self, kind: int, context: int, tag: int, encoded: Encoded = NOTHING, text: bytes = b""
    ) -> None:
        """Copy a frame and have it travel; never waits. To a peer that is gone: nothing."""
        code, _, nbytes, booked, _ = encoded
        length, start = room(encoded), HEAD.size + _padded(len(text))
        whole = start + length <= FRAME
        piece = self._pieces.take(start + length if whole else start)
        HEAD.pack_into(piece.memory, 0, kind, context, tag, code, nbytes, booked, length, len(text))
        if text:
            piece.memory[HEAD.size : HEAD.size + len(text)] = text
        if whole:
            write(encoded, piece.memory, start)
            with self._sending:
                self._push(piece, slice(start + length), FRAMES)
            return
        body = self._pieces.take(length)
        write(encoded, body.memory, 0)
        with self._sending:
            self._push(piece, slice(start), FRAMES)
            self._push(body, slice(min(FRAME, length)), FRAMES, last=length <= FRAME)
            if length > FRAME:
                self._push(body, slice(FRAME, length), BODIES)

    def _push(self, piece: Piece, part: slice, tag: int, last: bool = True) -> None:
        """Have gloo send this part of a piece, which is free afterwards if it is the last one."""
        if self._broken:
            return
        content = piece.tensor[part]
        try:
            work = self._out.send([content], self.peer, tag)
        except RuntimeError:
            self._broken = True
            return
        self._sent.append((work, piece if last else None))
        self._loose += len(content)
        if self._loose > LOOSE or len(self._sent) > MANY:
            self._loose = 0
            if self._keeper is None:
                self._keeper = threading.Thread(
                    target=self._keep, name=f"to {self.peer}", daemon=True
                )
                self._keeper.start()
            self._much.release()

    def _keep(self) -> None:
        """Use the memory again of what has been sent, whenever there is much of it."""
        while not self._closing:
            self._much.acquire()
            self._flush()

    def _flush(self) -> None:
        """Wait until what has been sent until now is on its way, or the peer is gone."""
        for _ in range(len(self._sent)):
            try:
                work, piece = self._sent.popleft()
            except IndexError:  # another thread does the same
                return
            try:
                until_done(work)
            except RuntimeError:
                self._broken = True
            if piece is not None:
                self._pieces.give(piece)

    # ----------------------------------------------------------------------- receiving

    def _ask(self, piece: Piece) -> None:
        """Ask for one more message of FRAMES, into this memory."""
        with contextlib.suppress(RuntimeError):  # the peer is gone; what came before is still here
            work = self._into.recv([piece.tensor[:FRAME]], self.peer, FRAMES)
            self._receives.append((work, piece))

    def _arrived(self) -> Piece:
        """The memory of the next message of FRAMES, once it is there. Raises RuntimeError."""
        if not self._receives:
            raise RuntimeError("the peer is gone")
        work, piece = self._receives.popleft()
        until_done(work)
        return piece

    def _receive(self) -> None:
        broken = True
        try:
            broken = not self._hand_on()
        except BaseException as error:  # else the rank would wait for this peer for ever
            self._failed(error)
        self._ended(self.peer, broken)

    def _hand_on(self) -> bool:
        """Receive until the peer's good-bye; False if it is gone before."""
        failed = False
        while True:
            try:
                frame, free = self._next()
            except RuntimeError:
                return False
            if frame.kind == GOODBYE:
                return True
            try:
                if not failed or frame.kind in (CONTROL, LAST):
                    self._deliver(self.peer, frame)
            except BaseException as error:  # the rest is received, so that the peer can end
                self._failed(error)
                failed = True
            # whoever waits for the frame need not wait for this line
            self._ask(free or self._pieces.take(FRAME))

    def _next(self) -> tuple[Frame, Piece | None]:
        """A frame, and the memory in which it came, if that is free again."""
        piece = self._arrived()
        memory = piece.memory
        kind, context, tag, code, nbytes, booked, length, text = HEAD.unpack_from(memory, 0)
        said = memory[HEAD.size : HEAD.size + text] if text else b""
        offset = HEAD.size + _padded(text)
        own: Piece | None = None
        content: Any = memory
        if offset + length > FRAME:
            own = self._long(length)
            content, offset = own.memory, 0
        elif nbytes < KEEP:
            content, offset = memory[offset : offset + length], 0
        elif length < FRAME // 4:  # or many of them would keep much more memory than they fill
            own = self._pieces.take(length)
            own.tensor[:length] = piece.tensor[offset : offset + length]
            content, offset = own.memory, 0
        else:
            own = piece
        frame = Frame(kind, context, tag, said, code, nbytes, booked, content, offset, own)
        return frame, None if own is piece else piece

    def _long(self, length: int) -> Piece:
        """The value of a frame that is longer than a message: its first bytes, and the rest."""
        own = self._pieces.take(length)
        rest: Any = None
        if length > FRAME:
            rest = self._into.recv([own.tensor[FRAME:length]], self.peer, BODIES)
        first, most = self._arrived(), min(FRAME, length)
        own.tensor[:most] = first.tensor[:most]
        self._ask(first)
        if rest is not None:
            until_done(rest)
        return own

    # ------------------------------------------------------------------------- the end

    def close(self) -> None:
        """Wait for the peer's good-bye, and until all that was sent to it is on its way."""
        if self._thread is not None:
            self._thread.join()
        self._flush()
        if self._keeper is not None:
            self._closing = True
            self._much.release()
            self._keeper.join()


def _padded(nbytes: int) -> int:
    return -(-nbytes // 64) * 64
