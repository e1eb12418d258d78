"""A cluster, a run that is under way, and a run that has ended."""

from __future__ import annotations

import hashlib
import io
import json
import os
import zipfile
from abc import ABC, abstractmethod
from collections import namedtuple
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, BinaryIO, Literal, NamedTuple

import numpy as np

from ddml_kit.cluster.errors import RankFailed
from ddml_kit.cluster.trace import EVENT, SEND, Trace

Badge = Literal["simulated", "paced", "measured"]
OnFailure = Literal["stop", "continue"]


class Metric(NamedTuple):
    """A point that a program recorded: `values` by name, at `seconds` since the start."""

    rank: int
    seconds: float
    values: Mapping[str, float]


class Snapshot(NamedTuple):
    """A model on its way: rank's `step`-th snapshot (from 0), at `seconds` since the start."""

    rank: int
    seconds: float
    step: int
    w: np.ndarray


class Curve(NamedTuple):
    """A figure of the model over the run of one rank; three arrays of one length."""

    step: np.ndarray
    seconds: np.ndarray
    value: np.ndarray

    def time_to(self, level: float) -> float:
        """Seconds until the value was first at or below a level; infinity if it never was."""
        below = np.flatnonzero(self.value <= level)
        return float(self.seconds[below[0]]) if len(below) else np.inf


class Cluster(ABC):
    """Where a program runs. Programs are functions of a Comm: program(comm, *args, **kwargs)."""

    size: int

    def run(self, program: Callable[..., Any], *args: Any, **kwargs: Any) -> Run:
        """Run to the end and return what happened; raises what `Running.result` raises.

        An interrupt (KeyboardInterrupt) stops the run before it is passed on.
        """
        running = self.start(program, *args, **kwargs)
        try:
            return running.result()
        except BaseException:
            running.stop()
            raise

    @abstractmethod
    def start(self, program: Callable[..., Any], *args: Any, **kwargs: Any) -> Running:
        """The same, live."""


class Running(ABC):
    """A run under way. Iterate it for metrics and snapshots as they come; one thread at a time."""

    @abstractmethod
    def __iter__(self) -> Iterator[Metric | Snapshot]:
        """Points as they come, until the run has ended; never raises what a rank raised."""

    @abstractmethod
    def stop(self) -> None:
        """End the run soon; from any thread, any number of times. `result` then returns."""

    @abstractmethod
    def result(self) -> Run:
        """Wait for the end. Raises RankFailed or Deadlock, with `.run` up to then.

        After `stop` it returns a Run with `stopped` set, and None for ranks that had not ended.
        """


@dataclass(frozen=True, eq=False)
class Run:
    """What happened: results by rank, metrics, snapshots, and the trace.

    seconds: when the last rank ended, virtual or real. failures: by rank, with
    on_failure="continue" or in the run that an error carries. about: what was run, as whoever
    started it says; a cluster says nothing.
    """

    badge: Badge
    size: int
    seed: int
    seconds: float
    results: Sequence[Any]
    trace: Trace
    points: Sequence[Metric] = ()
    snapshots: Sequence[Snapshot] = ()
    failures: Mapping[int, RankFailed] = field(default_factory=dict)
    stopped: bool = False
    about: Mapping[str, Any] = field(default_factory=dict)

    @property
    def metrics(self) -> dict[str, np.ndarray]:
        """What was recorded, a column a name, with rank and seconds; NaN where a point has none.

        A table that `pandas.DataFrame` takes as it is.
        """
        names = list(dict.fromkeys(name for point in self.points for name in point.values))
        table = {
            "rank": np.array([point.rank for point in self.points], np.int64),
            "seconds": np.array([point.seconds for point in self.points], np.float64),
        }
        for name in names:
            table[name] = np.array([point.values.get(name, np.nan) for point in self.points])
        return table

    def curve(self, evaluate: Callable[[np.ndarray], float], rank: int = 0) -> Curve:
        """evaluate(w) at the snapshots of one rank, over steps and seconds."""
        chosen = [s for s in self.snapshots if s.rank == rank]
        return Curve(
            np.array([s.step for s in chosen], np.int64),
            np.array([s.seconds for s in chosen], np.float64),
            np.array([evaluate(s.w) for s in chosen], np.float64),
        )

    @property
    def messages(self) -> int:
        """How many messages were sent; those inside collectives are not counted."""
        return int(np.count_nonzero(self.trace["kind"] == SEND))

    @property
    def bytes(self) -> int:
        """Payload bytes that all ranks sent, collectives included."""
        return int(self.trace.bytes_by_rank(self.size).sum())

    def __repr__(self) -> str:
        ranks = "1 rank" if self.size == 1 else f"{self.size} ranks"
        parts = [self.badge, ranks, f"{self.seconds:.4g} s"]
        parts += [f"{self.messages} messages", human_bytes(self.bytes)]
        if self.stopped:
            parts.append("stopped")
        parts += [str(failure) for failure in self.failures.values()]
        return f"<Run: {', '.join(parts)}>"

    def save(self, path: str | os.PathLike) -> None:
        """Write the run to one .npz file, without pickle; the same run as the same bytes.

        Equal arrays are written once: a model that every rank has takes the room of one.
        A NamedTuple in a result comes back with its name and fields, but none of its methods.
        Raises TypeError, before writing, for a result, or something in `about`, that is not made of
        arrays, numbers, text, None, lists, tuples and dicts with text keys.
        """
        arrays = _Arrays(trace=self.trace.events)
        head = {
            "badge": self.badge,
            "size": self.size,
            "seed": self.seed,
            "seconds": self.seconds,
            "stopped": self.stopped,
            "results": [
                _encode(value, f"rank {r}'s result", arrays) for r, value in enumerate(self.results)
            ],
            "points": [[p.rank, p.seconds, dict(p.values)] for p in self.points],
            "snapshots": [
                [s.rank, s.seconds, s.step, _encode(s.w, "snapshot", arrays)]
                for s in self.snapshots
            ],
            "failures": [
                [f.rank, f.reason, f.seconds, f.worker_traceback] for f in self.failures.values()
            ],
            "about": _encode(dict(self.about), "about", arrays),
        }
        arrays["head"] = np.frombuffer(json.dumps(head).encode(), np.uint8)
        buffer = io.BytesIO()
        np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]
        with open(path, "wb") as file:
            file.write(buffer.getbuffer())

    @staticmethod
    def load(file: str | os.PathLike | BinaryIO) -> Run:
        """The run that `save` wrote, from a path or an open file; nothing in it is executed.

        Raises ValueError if it is something else, OSError if it can't be read.
        """
        try:
            arrays = _arrays_in(file)
            head = json.loads(arrays["head"].tobytes())
            about = _decode(head.get("about", {"dict": {}}), arrays)
            if not isinstance(about, dict):
                raise ValueError(f"what it is about must be a mapping, got {about!r:.80}")
            return Run(
                badge=head["badge"],
                size=head["size"],
                seed=head["seed"],
                seconds=head["seconds"],
                stopped=head["stopped"],
                results=[_decode(value, arrays) for value in head["results"]],
                trace=Trace(arrays["trace"].view(EVENT)),
                points=[Metric(*point) for point in head["points"]],
                snapshots=[
                    Snapshot(r, t, k, _decode(w, arrays)) for r, t, k, w in head["snapshots"]
                ],
                failures={f[0]: RankFailed(*f) for f in head["failures"]},
                about=about,
            )
        except OSError:
            raise
        except Exception as error:
            name = file if isinstance(file, str | os.PathLike) else getattr(file, "name", "this")
            raise ValueError(f"{name} is not a saved run: {error}") from error

    def to_perfetto(self, path: str | os.PathLike) -> None:
        """Write the trace for ui.perfetto.dev or chrome://tracing."""
        self.trace.to_perfetto(path)


def human_bytes(n: float) -> str:
    """n bytes with a decimal unit: 4.3 MB."""
    if n < 1000:
        return f"{n:.0f} B"
    for unit in ("kB", "MB", "GB"):
        n /= 1000
        if n < 999.5:
            return f"{n:.3g} {unit}"
    return f"{n / 1000:.3g} TB"


class _Arrays(dict[str, np.ndarray]):
    """The arrays of a file by name, each written once however often it comes."""

    def __init__(self, **named: np.ndarray) -> None:
        super().__init__(named)
        self._names: dict[tuple, str] = {}

    def name_of(self, array: np.ndarray) -> str:
        """The name under which this array is written."""
        digest = hashlib.blake2b(np.ascontiguousarray(array).tobytes()).digest()
        key = (array.dtype, array.shape, digest)
        if key not in self._names:
            self._names[key] = name = f"array{len(self)}"
            self[name] = array
        return self._names[key]


def _arrays_in(file: str | os.PathLike | BinaryIO) -> dict[str, np.ndarray]:
    """All arrays of an .npz file."""
    if isinstance(file, str | os.PathLike):
        with open(file, "rb") as opened:  # np.load leaves a file open that is none of its own
            return _arrays_in(opened)
    if not zipfile.is_zipfile(file):
        raise ValueError("a saved run is an .npz file, and this is none")
    file.seek(0)
    with np.load(file, allow_pickle=False) as archive:
        return dict(archive)


def _encode(value: Any, where: str, arrays: _Arrays) -> Any:
    """A JSON tree; what JSON lacks is {"kind": ...}, and an array a reference into `arrays`."""
    if isinstance(value, np.generic) and value.dtype.kind in "biuf" and value.itemsize <= 8:
        return {"scalar": [value.dtype.str, value.item()]}
    if isinstance(value, np.generic) and not value.dtype.hasobject:
        return {"item": _encode(np.asarray(value), where, arrays)}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, np.ndarray) and not value.dtype.hasobject:
        return {"array": arrays.name_of(value)}
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        items = [_encode(item, where, arrays) for item in value]
        return {"named": [type(value).__name__, value._fields, items]}
    if isinstance(value, tuple | list):
        kind = "tuple" if isinstance(value, tuple) else "list"
        return {kind: [_encode(item, where, arrays) for item in value]}
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        return {"dict": {key: _encode(item, where, arrays) for key, item in value.items()}}
    raise TypeError(
        f"{where} can't be saved: a {type(value).__name__} is none of array, number, text, None, "
        "list, tuple, dict with text keys"
    )


def _decode(value: Any, arrays: dict[str, np.ndarray]) -> Any:
    if not isinstance(value, dict):
        return value
    [(kind, content)] = value.items()
    if kind == "array":
        return arrays[content].copy()  # others may have the same one
    if kind == "scalar":
        dtype, number = content
        return np.dtype(dtype).type(number)
    if kind == "item":
        return _decode(content, arrays)[()]
    if kind == "dict":
        return {key: _decode(item, arrays) for key, item in content.items()}
    if kind == "named":
        name, fields, items = content
        return _named(name, tuple(fields))._make(_decode(item, arrays) for item in items)
    items = [_decode(item, arrays) for item in content]
    return tuple(items) if kind == "tuple" else items


@lru_cache(256)
def _named(name: str, fields: tuple[str, ...]) -> Any:
    """One class for all that have this name and these fields."""
    return namedtuple(name, fields)
