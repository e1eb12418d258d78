"""A program and its arguments on their way to the ranks.

Programs are serialised by value (cloudpickle), so functions, classes and lambdas of a notebook
arrive with the helpers and imports that they use. The bytes of arrays travel beside the pickle
(PEP 574, pickle protocol 5), so that all ranks can share one copy. They arrive read-only:
arguments are the caller's, and no rank sees another's changes to them.
"""

from __future__ import annotations

import inspect
import pickle
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import cloudpickle


@dataclass(frozen=True)
class Parcel:
    """`pickled` refers to `buffers`, in order."""

    pickled: bytes
    buffers: Sequence[memoryview]


def pack(program: Callable[..., Any], args: Sequence[Any], kwargs: dict[str, Any]) -> Parcel:
    """The call program(comm, *args, **kwargs), ready to travel.

    Raises TypeError with the argument that can't be sent, or that the program does not take.
    """
    if not callable(program):
        raise TypeError(f"a program is a function of a Comm, got {program!r}")
    _check_arguments(program, args, kwargs)
    buffers: list[pickle.PickleBuffer] = []
    try:
        pickled = cloudpickle.dumps(
            (program, tuple(args), kwargs), protocol=5, buffer_callback=buffers.append
        )
    except Exception as error:
        culprit = _culprit(program, args, kwargs)
        raise TypeError(f"{culprit} can't be sent to the workers: {error}") from error
    return Parcel(pickled, [buffer.raw() for buffer in buffers])


def unpack(parcel: Parcel) -> tuple[Callable[..., Any], tuple, dict[str, Any]]:
    """A rank's own copy of the call; its arrays are read-only views of the parcel's buffers."""
    return pickle.loads(parcel.pickled, buffers=[b.toreadonly() for b in parcel.buffers])


def _check_arguments(program: Callable, args: Sequence[Any], kwargs: dict[str, Any]) -> None:
    try:
        signature = inspect.signature(program)
    except (TypeError, ValueError):  # some of those that are written in C have none
        return
    try:
        signature.bind("comm", *args, **kwargs)
    except TypeError as error:
        name = getattr(program, "__name__", type(program).__name__)
        raise TypeError(f"{name}{signature} can't be called so: {error}") from None


def _culprit(program: Callable[..., Any], args: Sequence[Any], kwargs: dict[str, Any]) -> str:
    named = {"the program": program}
    named |= {f"argument {i + 1}": value for i, value in enumerate(args)}
    named |= {f"argument {name}": value for name, value in kwargs.items()}
    for name, value in named.items():
        try:
            cloudpickle.dumps(value, protocol=5)
        except Exception:
            return f"{name} ({type(value).__name__})"
    return "the call"
