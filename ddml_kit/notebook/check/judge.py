"""The judge: runs an answer on the cases of an exercise, and never raises."""

from __future__ import annotations

import copy
import dis
from collections.abc import Callable
from dataclasses import replace
from types import CodeType
from typing import Any

import numpy as np

from ddml_kit.cluster.errors import Deadlock, RankFailed
from ddml_kit.notebook.check.exercise import Case, Exercise, Observed, Verdict
from ddml_kit.notebook.check.guard import Refused, Rule, TimeUp, within
from ddml_kit.notebook.check.words import counted, error_text, line_of, show


def judge(exercise: Exercise, answer: Any, seed: int | None = None) -> Verdict:
    """The verdict on an answer: its value and its cost on each case, smallest first.

    seed: of the drawn case; without one it is another each time.
    """
    if not callable(answer):
        sentence = f"give the check your function, not a {type(answer).__name__}"
        return Verdict(exercise.name, "refused", sentence)
    if is_empty(answer):
        return Verdict(exercise.name, "not attempted", "not attempted yet")
    for own in (exercise.reference, exercise.key):
        if answer is own:
            return Verdict(exercise.name, "refused", f"{_name(own)} is the library's own")
    cases = list(exercise.cases)
    if exercise.drawn is not None:
        cases.append(exercise.drawn(np.random.default_rng(seed)))
    costs = False
    for case in cases:
        expected = observed(exercise, exercise.reference, case)
        costs = costs or bool(expected.cost)
        verdict = _in_time(exercise, answer, case, expected)
        if verdict is not None:
            return verdict
    sentence = f"right on {counted(len(cases), 'case')}" + ", at the right cost" * costs
    return Verdict(exercise.name, "right", sentence)


def observed(exercise: Exercise, answer: Callable[..., Any], case: Case) -> Observed:
    """What an answer does on a copy of a case, which stays as it is for the next."""
    return exercise.observe(answer, replace(case, arguments=copy.deepcopy(case.arguments)))


def _in_time(
    exercise: Exercise, answer: Callable[..., Any], case: Case, expected: Observed
) -> Verdict | None:
    """What is wrong with the answer on one case, that it takes too long included, or None."""
    try:
        return within(exercise.seconds, lambda: _on_case(exercise, answer, case, expected))
    except KeyboardInterrupt:
        sentence = "you stopped it before it ended"
        return Verdict(exercise.name, "wrong", sentence, {"input": case.shown})
    except TimeUp as error:
        why, got = f"not done after {exercise.seconds:g} s", f"nothing yet{line_of(error)}"
    except BaseException as error:  # of what it returned or raised, when that is to be shown
        why, got = "it raised an error", type(error).__name__
    return _wrong(exercise, case, why, show(expected.value), got)


def _on_case(
    exercise: Exercise, answer: Callable[..., Any], case: Case, expected: Observed
) -> Verdict | None:
    """What is wrong with the answer on one case, or None."""

    def attempt() -> tuple[Observed, bool, str]:
        """All that runs code of the learner's, as comparing what was returned may do."""
        got = observed(exercise, answer, case)
        return got, same(got.value, expected.value), show(got.value)

    try:
        got, agrees, shown = _rule(exercise).watch(attempt)
    except (KeyboardInterrupt, TimeUp):
        raise
    except BaseException as error:
        return _failed(exercise, case, error, show(expected.value))
    if not agrees:
        return _wrong(exercise, case, "not the expected answer", show(expected.value), shown)
    for figure, allowed in expected.cost.items():
        spent = got.cost.get(figure, 0)
        if spent > allowed:
            why = exercise.most.get(figure, "the answer is right, but it costs too much")
        elif spent < allowed and figure in exercise.least:
            why = f"{counted(spent, figure)}: {exercise.least[figure]} with fewer than {allowed:,g}"
        else:
            continue
        return _wrong(exercise, case, why, counted(allowed, figure), counted(spent, figure))
    return None


def _failed(exercise: Exercise, case: Case, error: BaseException, expects: str) -> Verdict:
    """The verdict on an answer that has ended with an error."""
    if isinstance(error, Refused):
        return Verdict(exercise.name, "refused", str(error))
    if isinstance(error, Deadlock):
        return _wrong(exercise, case, "it never ends", expects, str(error))
    who, cause = "it", error
    if isinstance(error, RankFailed):
        who, cause = f"rank {error.rank}", error.__cause__ or error
    if isinstance(cause, NotImplementedError):
        return Verdict(exercise.name, "not attempted", "not attempted yet")
    return _wrong(exercise, case, f"{who} raised an error", expects, error_text(cause))


def _wrong(exercise: Exercise, case: Case, why: str, expects: str, got: str) -> Verdict:
    details = {"input": case.shown, "expected": expects, "got": got}
    return Verdict(exercise.name, "wrong", f"{why}; the smallest case that shows it:", details)


def _rule(exercise: Exercise) -> Rule:
    """What an answer may not call: the answers, and what the exercise has it do without."""
    reserved = {
        own: f"it calls {_name(own)}, which is the library's own"
        for own in (exercise.reference, exercise.key)
    }
    for function, instead in exercise.without.items():
        reserved[function] = f"it calls {function.__name__}: {instead}"
    return Rule(reserved, exercise.offers)


def same(a: Any, b: Any) -> bool:
    """Whether two values agree: numbers and arrays to rounding and in shape, the rest by ==."""
    try:
        if isinstance(b, tuple | list):
            is_list = isinstance(a, tuple | list | np.ndarray)
            return is_list and len(a) == len(b) and all(map(same, a, b))
        x, y = np.asarray(a), np.asarray(b)
        if x.shape != y.shape:
            return False
        if x.dtype.kind in "fciub" and y.dtype.kind in "fciub":
            return bool(np.allclose(x, y, rtol=1e-5, atol=1e-8, equal_nan=True))
        return bool(np.all(x == y))
    except Exception:
        return False


def is_empty(answer: Callable[..., Any]) -> bool:
    """Whether a function has no body but a docstring, `...`, `pass` or `return None`."""
    try:
        code = getattr(answer, "__code__", None)
    except Exception:
        return False
    if not isinstance(code, CodeType):
        return False
    steps = [(step.opname, step.argval) for step in dis.get_instructions(code)]
    return all(name in ("RESUME", "NOP", "RETURN_VALUE") or value is None for name, value in steps)


def _name(function: Callable[..., Any]) -> str:
    return f"{function.__module__}.{function.__qualname__}"
