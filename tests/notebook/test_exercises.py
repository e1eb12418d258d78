"""Every exercise of every lab: stub, reference and mutants get the verdict that is due to them."""

from __future__ import annotations

import numpy as np
import pytest

from ddml_kit.notebook import check
from ddml_kit.notebook.check.exercise import Exercise, Mutant
from ddml_kit.notebook.check.judge import judge
from ddml_kit.notebook.check.recorded import Recorded

EXERCISES = [c.exercise for c in vars(check).values() if isinstance(c, check.Check)]
MUTANTS = [(exercise, mutant) for exercise in EXERCISES for mutant in exercise.mutants]


@pytest.mark.parametrize("exercise", EXERCISES, ids=lambda e: e.name)
def test_the_stub_is_not_attempted_and_the_library_is_refused(exercise: Exercise) -> None:
    assert judge(exercise, exercise.stub).state == "not attempted"
    assert judge(exercise, exercise.reference).state == "refused"
    assert judge(exercise, exercise.key).state == "refused"
    assert judge(exercise, lambda *args: exercise.reference(*args)).state == "refused"
    assert exercise.mutants


@pytest.mark.parametrize("exercise", EXERCISES, ids=lambda e: e.name)
def test_the_reference_is_right_on_its_own_cases(exercise: Exercise) -> None:
    for case in exercise.cases:
        first, again = (exercise.observe(exercise.reference, case) for _ in range(2))
        assert np.array_equal(first.value, again.value), "a case must not change"
        assert first.cost == again.cost


@pytest.mark.parametrize(
    ("exercise", "mutant"), MUTANTS, ids=lambda x: getattr(x, "name", None) or x.answer.__name__
)
def test_a_mutant_fails_with_the_words_meant_for_it(exercise: Exercise, mutant: Mutant) -> None:
    verdict = judge(exercise, mutant.answer)
    assert verdict.state == "wrong"
    assert mutant.says in repr(verdict)


def test_right_answers_in_other_words() -> None:
    def update(w, gradient, lr):
        for i, value in zip(gradient.indices, gradient.values, strict=True):
            w[i] -= lr * value

    def at(w, gradient, lr):
        np.subtract.at(w, gradient.indices, lr * gradient.values)

    def others(before, after, rank):
        return sum(after[i] - before[i] for i in range(len(before)) if i != rank)

    assert check.sparse_update(update)
    assert check.sparse_update(at)
    assert check.staleness(others)


def test_hints_are_printed_one_by_one(capsys: pytest.CaptureFixture[str]) -> None:
    fresh = check.Check(check.sparse_update.exercise)
    for _ in range(3):
        fresh.hint()
    said = capsys.readouterr().out
    assert "Hint 1 of 3" in said
    assert "def add_to" in said


def test_recorded_knows_what_was_written_through_views_and_in_place() -> None:
    w = Recorded.of(np.zeros(6))
    w[1] = 3.0
    part = w[3:5]
    part += 1
    assert w.written.tolist() == [False, True, False, True, True, False]
    doubled = w * 2
    doubled[0] = 1
    assert not w.written[0]
    w -= 1
    assert w.written.all()
    assert w.tolist() == [-1, 2, -1, 0, 0, -1]
