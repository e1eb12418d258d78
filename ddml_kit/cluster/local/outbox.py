"""What a worker sends to its parent: metrics and snapshots as they come, last the outcome.

One message is one pickle (protocol 5, PEP 574) over a `multiprocessing` connection. The bytes of
large arrays travel beside it in a memfd, a file in memory without a name, which the receiver reads
at the speed of memory; where the system has none, they follow in the connection.
"""

from __future__ import annotations

import errno
import os
import pickle
import socket
import struct
import threading
import time
from collections.abc import Sequence
from itertools import accumulate, pairwise
from multiprocessing.connection import Connection
from typing import Any, Literal, NamedTuple

import cloudpickle
import numpy as np

from ddml_kit.cluster.local.system import MEMFD

INLINE = 16_000  # bytes; a message of up to this much is one write, which no kill can cut
WORD = struct.Struct("=q")


class Ready(NamedTuple):
    """The worker has unpacked its program and waits for the start."""


class Value(NamedTuple):
    """What the program returned or raised; `End` follows."""

    content: Any


class End(NamedTuple):
    """The worker's last word. seconds: since the start of the run. events: bytes of its trace."""

    how: Literal["returned", "failed", "stopped", "crashed"]
    seconds: float
    events: np.ndarray
    reason: str = ""
    traceback: str = ""


class Outbox:
    """The worker's end; any thread of the worker may use it."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._lock = threading.Lock()

    def put(self, message: Any) -> None:
        """Send `message`; waits only while the connection is full.

        Raises what pickling raises, before anything is sent.
        """
        parts = parts_of(message)
        sizes = [part.nbytes for part in parts]
        if sum(sizes) <= INLINE or not MEMFD:
            whole = joined(parts)
            with self._lock:
                self._connection.send_bytes(whole)
            return
        memory = write_memory(parts)
        try:
            with self._lock:
                self._connection.send_bytes(_head(-len(sizes), sizes))
                with socket.socket(fileno=os.dup(self._connection.fileno())) as wire:
                    send_descriptors(wire, [memory])
        finally:
            os.close(memory)


def parts_of(message: Any) -> list[memoryview]:
    """A message's pickle, and the bytes of the arrays in it. Raises what pickling raises."""
    buffers: list[pickle.PickleBuffer] = []
    try:
        pickled = pickle.dumps(message, 5, buffer_callback=buffers.append)
    except Exception:  # a class or function of a notebook's cell travels by value
        buffers.clear()
        pickled = cloudpickle.dumps(message, 5, buffer_callback=buffers.append)
    return [memoryview(pickled), *(buffer.raw() for buffer in buffers)]


def joined(parts: Sequence[memoryview]) -> bytes:
    """A message as one piece; `take_joined` reads it."""
    sizes = [part.nbytes for part in parts]
    return b"".join([_head(len(sizes), sizes), *parts])


def take(connection: Connection) -> Any:
    """The next message of a worker; waits for it. Raises EOFError when there will be none.

    Arrays in it are new and writable.
    """
    try:
        data = memoryview(connection.recv_bytes())
        [count] = WORD.unpack_from(data)
        parts = None
        if count < 0:
            sizes = data[WORD.size : WORD.size * (1 - count)].cast("q")
            parts = _receive_memory(connection, sizes)
    except OSError as error:  # the worker's end broke off
        raise EOFError from error
    return take_joined(data) if parts is None else pickle.loads(parts[0], buffers=parts[1:])


def take_joined(data: bytes | memoryview) -> Any:
    """A message that came as one piece."""
    data = memoryview(data)
    [count] = WORD.unpack_from(data)
    body = WORD.size * (1 + count)
    bounds = accumulate(data[WORD.size : body].cast("q"), initial=body)
    parts = [bytearray(data[a:b]) for a, b in pairwise(bounds)]
    return pickle.loads(parts[0], buffers=parts[1:])


def _head(count: int, sizes: Sequence[int]) -> bytes:
    """How many parts (negative: they are in memory), and the bytes of each."""
    return struct.pack(f"={1 + len(sizes)}q", count, *sizes)


def write_memory(parts: Sequence[memoryview], align: int = 1) -> int:
    """The descriptor of a memfd with these parts one after the other, each from a multiple of
    `align` bytes on; the caller's to close.
    """
    descriptor = os.memfd_create("ddml_kit", os.MFD_CLOEXEC)
    try:
        offset = 0
        for part in parts:
            offset += -offset % align
            written = 0
            while written < part.nbytes:  # one call writes 2 GiB at most
                written += os.pwrite(descriptor, part[written:], offset + written)
            offset += part.nbytes
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def send_descriptors(wire: socket.socket, descriptors: Sequence[int]) -> None:
    """Send copies of these with a message of one byte; waits while too many are under way."""
    while True:
        try:
            socket.send_fds(wire, [b"\0"], descriptors)
        except OSError as error:
            if error.errno != errno.ETOOMANYREFS:
                raise
            time.sleep(0.001)  # until whoever receives them takes some out
        else:
            return


def _receive_memory(connection: Connection, sizes: Sequence[int]) -> list[memoryview]:
    with socket.socket(fileno=os.dup(connection.fileno())) as wire:
        _, descriptors, _, _ = socket.recv_fds(wire, 1, 1)
    if not descriptors:
        raise EOFError
    [descriptor] = descriptors
    try:
        parts, offset = [], 0
        for size in sizes:
            part = np.empty(size, np.uint8).data  # not set to zero first
            read = 0
            while read < size:  # one call reads 2 GiB at most
                read += os.preadv(descriptor, [part[read:]], offset + read)
            parts.append(part)
            offset += size
        return parts
    finally:
        os.close(descriptor)
