"""The judge: runs an answer on the cases of an exercise, and never raises."""

from __future__ import annotations

import dis
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import CodeType, FrameType
from typing import Any

import numpy as np

from ddml_kit.cluster.errors import Deadlock, RankFailed
from ddml_kit.notebook.check.exercise import Case, Exercise, Observed, Verdict


class Refused(BaseException):
    """The answer calls a function that it should have written. Not an Exception: none hides it."""


def judge(exercise: Exercise, answer: Any) -> Verdict:
    """The verdict on an answer: its value and its cost on each case, smallest first."""
    if not callable(answer):
        sentence = f"give the check your function, not a {type(answer).__name__}"
        return Verdict(exercise.name, "refused", sentence)
    if is_empty(answer):
        return Verdict(exercise.name, "not attempted", "not attempted yet")
    reserved = [exercise.reference, exercise.key]
    if answer in reserved:
        return Verdict(exercise.name, "refused", f"{_name(answer)} is the library's own")
    for case in exercise.cases:
        try:
            verdict = _on_case(exercise, answer, case, reserved)
        except KeyboardInterrupt:
            verdict = Verdict(
                exercise.name, "wrong", "you stopped it before it ended", {"input": case.shown}
            )
        if verdict is not None:
            return verdict
    n = len(exercise.cases)
    return Verdict(exercise.name, "right", f"right on {n} case{'s' * (n > 1)}, at the right cost")


def _on_case(
    exercise: Exercise, answer: Callable[..., Any], case: Case, reserved: Sequence[Callable]
) -> Verdict | None:
    """What is wrong with the answer on one case, or None."""
    expected = exercise.observe(exercise.reference, case)
    try:
        with _refusing(reserved):
            got = exercise.observe(answer, case)
    except Refused as error:
        return Verdict(exercise.name, "refused", str(error))
    except Deadlock as error:
        return _wrong(exercise, case, "it never ends", expected, str(error))
    except Exception as error:
        cause = error.__cause__ if isinstance(error, RankFailed) and error.__cause__ else error
        if isinstance(cause, NotImplementedError):
            return Verdict(exercise.name, "not attempted", "not attempted yet")
        who = f"rank {error.rank}" if isinstance(error, RankFailed) else "it"
        return _wrong(exercise, case, f"{who} raised an error", expected, _sentence(cause))
    if got.note:
        return _wrong(exercise, case, got.note, expected, show(got.value))
    if not same(got.value, expected.value):
        return _wrong(exercise, case, "not the expected answer", expected, show(got.value))
    for figure, allowed in expected.cost.items():
        spent = got.cost.get(figure, 0)
        if spent > allowed:
            return Verdict(
                exercise.name,
                "wrong",
                "the answer is right, but it costs too much",
                {
                    "input": case.shown,
                    "expected": f"{allowed:,g} {figure}",
                    "got": f"{spent:,g} {figure}",
                },
            )
    return None


def _wrong(exercise: Exercise, case: Case, why: str, expected: Observed, got: str) -> Verdict:
    details = {"input": case.shown, "expected": show(expected.value), "got": got}
    return Verdict(exercise.name, "wrong", f"{why}; the smallest case that shows it:", details)


def same(a: Any, b: Any) -> bool:
    """Whether two values agree: numbers and arrays to rounding and in shape, the rest by ==."""
    if isinstance(b, tuple | list):
        return isinstance(a, tuple | list) and len(a) == len(b) and all(map(same, a, b))
    try:
        x, y = np.asarray(a), np.asarray(b)
        if x.shape != y.shape:
            return False
        if x.dtype.kind in "fciub" and y.dtype.kind in "fciub":
            return bool(np.allclose(x, y, rtol=1e-5, atol=1e-8, equal_nan=True))
        return bool(np.all(x == y))
    except Exception:
        return False


def show(value: Any) -> str:
    """A value as a learner reads it: short, arrays with a few digits."""
    if isinstance(value, np.ndarray):
        return np.array2string(value, precision=4, threshold=20, edgeitems=3, separator=", ")
    text = repr(value)
    return text if len(text) <= 300 else text[:297] + "..."


def is_empty(answer: Callable[..., Any]) -> bool:
    """Whether a function has no body but a docstring, `...` or `pass`."""
    code = getattr(answer, "__code__", None)
    if not isinstance(code, CodeType):
        return False
    steps = [(step.opname, step.argval) for step in dis.get_instructions(code)]
    return all(name in ("RESUME", "NOP", "RETURN_VALUE") or value is None for name, value in steps)


@contextmanager
def _refusing(reserved: Sequence[Callable]) -> Iterator[None]:
    """Refused is raised as soon as one of these functions is called, in a simulated rank too.

    The ranks of a simulation run as greenlets of this thread and are profiled with it. So the
    profile function belongs around the whole run: set inside a rank, it would be taken off by the
    one that ends first, while the others are still at work.
    """
    codes = {function.__code__: function for function in reserved if hasattr(function, "__code__")}

    def profile(frame: FrameType, event: str, argument: Any) -> None:
        if event == "call" and frame.f_code in codes:
            raise Refused(f"it calls {_name(codes[frame.f_code])}, which is the library's own")

    before = sys.getprofile()
    sys.setprofile(profile)
    try:
        yield
    finally:
        sys.setprofile(before)


def _name(function: Callable) -> str:
    return f"{function.__module__}.{function.__qualname__}"


def _sentence(error: BaseException) -> str:
    """The error with the learner's line that raised it."""
    frames = traceback.extract_tb(error.__traceback__)
    last = next((f for f in reversed(frames) if "ddml_kit" not in f.filename), None)
    where = f"  (line {last.lineno}: {last.line})" if last and last.line else ""
    return f"{type(error).__name__}: {error}{where}"
