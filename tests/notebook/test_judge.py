"""The judge on a toy exercise: right, wrong, dear, empty, refused, raising, stopped."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from ddml_kit.notebook.check.exercise import Case, Exercise, Observed
from ddml_kit.notebook.check.judge import judge


def total(numbers: list[int], fetch: Any) -> int:
    """The library's own: each number fetched once."""
    return sum(fetch(i) for i in range(len(numbers)))


def observe(answer: Any, case: Case) -> Observed:
    (numbers,) = case.arguments
    fetched = []

    def fetch(i: int) -> int:
        fetched.append(i)
        return numbers[i]

    value = answer(numbers, fetch)
    return Observed(value, {"numbers fetched": len(fetched)})


def stub(numbers, fetch):
    """Your code."""


EXERCISE = Exercise(
    name="total",
    question="Add the numbers up, fetching each once.",
    reference=total,
    key=total,
    stub=stub,
    cases=[Case("[]", ([],)), Case("[3]", ([3],)), Case("[3, 4]", ([3, 4],))],
    observe=observe,
    hints=["Loop."],
    mutants=[],
)


def test_right() -> None:
    verdict = judge(EXERCISE, lambda numbers, fetch: sum(map(fetch, range(len(numbers)))))
    assert verdict
    assert repr(verdict) == "✓ total: right on 3 cases, at the right cost"


def test_wrong_shows_the_smallest_case() -> None:
    verdict = judge(EXERCISE, lambda numbers, fetch: fetch(0) if numbers else 0)
    assert verdict.state == "wrong"
    assert verdict.details == {"input": "[3, 4]", "expected": "7", "got": "3"}


def test_right_but_dear() -> None:
    verdict = judge(EXERCISE, lambda n, fetch: sum(fetch(i) + 0 * fetch(i) for i in range(len(n))))
    assert verdict.sentence == "the answer is right, but it costs too much"
    assert verdict.details["expected"] == "1 numbers fetched"
    assert verdict.details["got"] == "2 numbers fetched"


def not_implemented(numbers, fetch):
    raise NotImplementedError


def passes(numbers, fetch):
    pass


@pytest.mark.parametrize("answer", [stub, not_implemented, passes])
def test_a_stub_is_not_attempted(answer: Any) -> None:
    assert judge(EXERCISE, answer).state == "not attempted"


def test_the_library_is_refused_as_it_is_and_wrapped_and_renamed() -> None:
    mine = total
    for answer in (total, lambda n, f: total(n, f), lambda n, f: [mine][0](n, f)):
        verdict = judge(EXERCISE, answer)
        assert verdict.state == "refused"
        assert "total" in verdict.sentence


def test_a_wrapper_that_swallows_errors_is_refused_too() -> None:
    def answer(numbers: Any, fetch: Any) -> Any:
        try:
            return total(numbers, fetch)
        except Exception:
            return None

    assert judge(EXERCISE, answer).state == "refused"


def test_an_error_is_shown_as_a_sentence() -> None:
    verdict = judge(EXERCISE, lambda numbers, fetch: 1 / len(numbers))
    assert "ZeroDivisionError" in verdict.details["got"]
    assert "division by zero" in repr(verdict)


@pytest.mark.parametrize("answer", [None, 3, "text", np.zeros(3)])
def test_what_is_no_function_is_refused(answer: Any) -> None:
    assert judge(EXERCISE, answer).state == "refused"


def test_an_interrupt_ends_the_check_not_the_notebook() -> None:
    def answer(numbers: Any, fetch: Any) -> Any:
        raise KeyboardInterrupt

    assert "stopped" in judge(EXERCISE, answer).sentence


def test_hints_come_in_steps_and_end_with_the_source() -> None:
    assert EXERCISE.hint(1) == "Hint 1 of 2: Loop."
    assert "def total" in EXERCISE.hint(2)
    with pytest.raises(ValueError, match="from 1, got 0"):
        EXERCISE.hint(0)


def test_html_escapes_what_the_learner_returned() -> None:
    verdict = judge(EXERCISE, lambda numbers, fetch: "<script>")
    assert "<script>" not in verdict._repr_html_()
