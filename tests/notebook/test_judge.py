"""The judge on a toy exercise: right, wrong, dear, empty, refused, raising."""

from __future__ import annotations

import io
import sys
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from ddml_kit.notebook.check.exercise import Case, Exercise, Observed
from ddml_kit.notebook.check.judge import judge, same
from ddml_kit.notebook.check.words import counted, show


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
    return Observed(value, {"number fetched": len(fetched)})


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
    assert verdict.sentence.startswith("the answer is right, but it costs too much")
    assert verdict.details["expected"] == "1 number fetched"
    assert verdict.details["got"] == "2 numbers fetched"


def test_cheaper_than_possible() -> None:
    exercise = replace(EXERCISE, least={"number fetched": "nobody can know the sum"})
    verdict = judge(exercise, lambda numbers, fetch: sum(numbers))
    assert verdict.state == "wrong"
    assert "0 numbers fetched: nobody can know the sum with fewer than 1;" in verdict.sentence
    assert verdict.details == {
        "input": "[3]",
        "expected": "1 number fetched",
        "got": "0 numbers fetched",
    }
    assert judge(EXERCISE, lambda numbers, fetch: sum(numbers)), "where the exercise sets no least"


def test_cost_is_only_spoken_of_where_there_is_one() -> None:
    def free(answer: Any, case: Case) -> Observed:
        return Observed(answer(*case.arguments, None))

    exercise = replace(EXERCISE, reference=lambda n, fetch: sum(n), observe=free)
    assert judge(exercise, lambda n, fetch: sum(n)).sentence == "right on 3 cases"
    one = replace(exercise, cases=exercise.cases[:1])
    assert judge(one, lambda n, fetch: sum(n)).sentence == "right on 1 case"


def test_a_drawn_case_comes_last_and_is_another_each_time() -> None:
    drawn: list[int] = []

    def draw(rng: np.random.Generator) -> Case:
        drawn.append(int(rng.integers(2**62)))
        return Case("drawn", ([drawn[-1]],))

    exercise = replace(EXERCISE, drawn=draw)
    assert "4 cases" in judge(exercise, lambda n, fetch: sum(map(fetch, range(len(n))))).sentence
    table = {0: 0, 1: 3, 2: 7}
    verdict = judge(exercise, lambda n, fetch: [table[len(n)], *map(fetch, range(len(n)))][0])
    assert verdict.details["input"] == "drawn"
    assert drawn[0] != drawn[1]
    judge(exercise, sum_of_all, seed=1)
    judge(exercise, sum_of_all, seed=1)
    assert drawn[2] == drawn[3]


def sum_of_all(numbers: Any, fetch: Any) -> int:
    return sum(map(fetch, range(len(numbers))))


def test_an_answer_can_not_change_the_cases() -> None:
    def answer(numbers: Any, fetch: Any) -> int:
        result = sum_of_all(numbers, fetch)
        numbers.clear()
        return result

    assert judge(EXERCISE, answer)
    assert [case.arguments for case in EXERCISE.cases] == [([],), ([3],), ([3, 4],)]
    assert judge(EXERCISE, lambda numbers, fetch: 0).state == "wrong"


def docstring_and_pass(numbers, fetch):
    """Your code."""
    pass


def dots(numbers, fetch): ...


def passes(numbers, fetch):
    # your code
    pass


def returns(numbers, fetch):
    return


def returns_none(numbers, fetch):
    return None


def not_implemented(numbers, fetch):
    raise NotImplementedError


def not_implemented_yet(numbers, fetch):
    """Your code."""
    raise NotImplementedError("your code")


STUBS = [
    stub,
    docstring_and_pass,
    dots,
    passes,
    returns,
    returns_none,
    not_implemented,
    not_implemented_yet,
    lambda numbers, fetch: None,
]


@pytest.mark.parametrize("answer", STUBS, ids=lambda f: f.__name__)
def test_a_stub_is_not_attempted(answer: Any) -> None:
    assert repr(judge(EXERCISE, answer)) == "○ total: not attempted yet"


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


class OddError(BaseException):
    """No Exception."""


class MuteError(Exception):
    def __str__(self) -> str:
        raise ValueError("no text")


class Fatal(Exception):
    def __str__(self) -> str:
        raise OddError


@pytest.mark.parametrize(
    "error", [SystemExit(3), GeneratorExit(), OddError("x"), MuteError(), Fatal(), MemoryError()]
)
def test_whatever_an_answer_raises_is_a_verdict(error: BaseException) -> None:
    def answer(numbers: Any, fetch: Any) -> Any:
        raise error

    verdict = judge(EXERCISE, answer)
    assert verdict.sentence == "it raised an error; the smallest case that shows it:"
    assert type(error).__name__ in repr(verdict) or "OddError" in repr(verdict)


@pytest.mark.parametrize("leave", [lambda: sys.exit(), lambda: quit(), lambda: exit(2)])
def test_an_answer_that_ends_python_ends_itself_alone(
    leave: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO())  # quit and exit close it
    verdict = judge(EXERCISE, lambda numbers, fetch: leave())
    assert verdict.details["got"].startswith("SystemExit")


class Mute:
    def __repr__(self) -> str:
        raise ValueError("nothing to show")


class FatallyMute:
    def __repr__(self) -> str:
        raise OddError


class Incomparable:
    """Raises when it is compared, as a function and as a result."""

    def __call__(self, numbers: Any, fetch: Any) -> Any:
        return self

    def __eq__(self, other: object) -> bool:
        raise OddError

    def __getattr__(self, name: str) -> Any:
        raise ValueError(name)

    __hash__ = None  # type: ignore[assignment]


def test_results_that_raise_when_shown_or_compared_are_wrong() -> None:
    verdict = judge(EXERCISE, lambda numbers, fetch: Mute())
    assert verdict.details["got"] == "a Mute that can't be shown (ValueError)"
    assert "OddError" in repr(judge(EXERCISE, lambda numbers, fetch: FatallyMute()))
    assert judge(EXERCISE, Incomparable()).state == "wrong"


def test_numbers_and_pairs_in_other_types_are_the_same() -> None:
    assert same(np.array([1.0, 1000.0]), (1.0, 1000.0))
    assert same([np.float32(1), 1000], (1.0, 1000.0))
    assert same(np.int64(6), 6)
    assert same(6.0, 6)
    assert not same(np.array([[1.0, 1000.0]]), (1.0, 1000.0))
    assert not same(np.float64(1.0), (1.0, 1000.0))
    assert not same({1.0, 1000.0}, (1.0, 1000.0))


def test_numpy_s_numbers_are_shown_as_plain_ones() -> None:
    assert show(np.int64(6)) == "6"
    assert show((np.float64(0.5), [np.int32(3)], None, np.bool_(True))) == "(0.5, [3], None, True)"
    assert show(np.array([1.0, 2.0])) == "[1., 2.]"


def test_one_is_singular() -> None:
    assert counted(1, "message") == "1 message"
    assert counted(0, "message") == "0 messages"
    assert counted(1, "coordinate written") == "1 coordinate written"
    assert counted(2000, "coordinate written") == "2,000 coordinates written"


def test_hints_come_in_steps_and_end_with_the_source() -> None:
    assert EXERCISE.hint(1) == "Hint 1 of 2: Loop."
    assert EXERCISE.hint(2).startswith("Hint 2 of 2: the library's own.\n\ndef total")
    assert EXERCISE.hint(3) == EXERCISE.hint(2)
    spoken = replace(EXERCISE, key_says="It adds up.")
    assert spoken.hint(2).startswith("Hint 2 of 2: the library's own. It adds up.\n\ndef total")
    with pytest.raises(ValueError, match="from 1, got 0"):
        EXERCISE.hint(0)


def test_html_escapes_what_the_learner_returned() -> None:
    verdict = judge(EXERCISE, lambda numbers, fetch: "<script>")
    assert "<script>" not in verdict._repr_html_()
