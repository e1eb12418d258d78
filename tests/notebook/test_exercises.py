"""Every exercise of every lab: stub, reference and mutants get the verdict that is due to them."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from ddml_kit.notebook import check
from ddml_kit.notebook.check.exercise import Exercise, Mutant
from ddml_kit.notebook.check.judge import judge, observed, same
from ddml_kit.notebook.check.written import coordinates_written
from ddml_kit.problems.sparse import Sparse

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
        first, again = (observed(exercise, exercise.reference, case) for _ in range(2))
        assert same(first.value, again.value), "a case must not change"
        assert first.cost == again.cost


@pytest.mark.parametrize(
    ("exercise", "mutant"), MUTANTS, ids=lambda x: getattr(x, "name", None) or x.answer.__name__
)
def test_a_mutant_fails_with_the_words_meant_for_it(exercise: Exercise, mutant: Mutant) -> None:
    verdict = judge(exercise, mutant.answer)
    assert verdict.state in ("wrong", "refused")
    assert mutant.says in repr(verdict)


def test_right_answers_in_other_words() -> None:
    def update(w, gradient, lr):
        for i, value in zip(gradient.indices, gradient.values, strict=True):
            w[i] -= lr * value

    def at(w, gradient, lr):
        np.subtract.at(w, gradient.indices, lr * gradient.values)

    def by_lines(sizes, seconds):
        beta, alpha = np.polyfit(sizes, seconds, 1)
        return np.array([alpha, 1 / beta])

    def others(before, after, rank):
        return sum(after[i] - before[i] for i in range(len(before)) if i != rank)

    assert check.sparse_update(update)
    assert check.sparse_update(at)
    assert check.latency_and_bandwidth(by_lines)
    assert check.staleness(others)


def test_an_answer_that_spoils_its_arguments_leaves_the_check_as_it_was() -> None:
    def spoils(w, gradient, lr):
        gradient.values[:] *= lr
        w[gradient.indices] -= gradient.values
        gradient.values[:] = 0
        gradient.indices[:] = 0

    exercise = check.sparse_update.exercise
    assert judge(exercise, spoils)
    for mutant in exercise.mutants:
        assert mutant.says in repr(judge(exercise, mutant.answer))
    assert judge(exercise, in_place)


@pytest.mark.parametrize("check_", ["total", "latency_and_bandwidth", "staleness", "sparse_update"])
def test_hints_end_with_the_library_s_own(check_: str, capsys: pytest.CaptureFixture[str]) -> None:
    exercise = getattr(check, check_).exercise
    fresh = check.Check(exercise)
    last = len(exercise.hints) + 1
    for _ in range(last):
        fresh.hint()
    said = capsys.readouterr().out
    assert [f"Hint {step} of {last}: " in said for step in range(1, last + 1)] == [True] * last
    assert f"def {exercise.key.__name__}" in said.partition(f"Hint {last} of {last}")[2]


def test_hints_begin_vaguely_and_the_last_of_fit_is_for_two_messages() -> None:
    assert check.staleness.exercise.hint(1) == (
        "Hint 1 of 4: Take three workers, and write the two arrays down."
    )
    assert (
        "beta = 1 / slope and alpha = t0 - m0 * slope"
        in check.latency_and_bandwidth.exercise.hint(4)
    )


# What a dense update of w looks like, in its ordinary spellings.
def copyto(w, g, lr):
    np.copyto(w, w - lr * g.dense(len(w)))


def as_array(w, g, lr):
    np.asarray(w)[:] = w - lr * g.dense(len(w))


def view(w, g, lr):
    w.view(np.ndarray)[:] -= lr * g.dense(len(w))


def flat(w, g, lr):
    w.flat[:] = w - lr * g.dense(len(w))


def put_function(w, g, lr):
    np.put(w, np.arange(len(w)), w - lr * g.dense(len(w)))


def put_method(w, g, lr):
    w.put(range(len(w)), w - lr * g.dense(len(w)))


def ravel(w, g, lr):
    r = w.ravel()
    r -= lr * g.dense(len(w))


def reshaped(w, g, lr):
    w.reshape(1, -1)[...] -= lr * g.dense(len(w))


def out(w, g, lr):
    np.subtract(w, lr * g.dense(len(w)), out=w)


def sliced(w, g, lr):
    w[:] = w - lr * g.dense(len(w))


def looped(w, g, lr):
    for i, d in enumerate(g.dense(len(w))):
        w[i] -= lr * d


def listed(w, g, lr):
    w[:] = [x - lr * d for x, d in zip(w.tolist(), g.dense(len(w)).tolist(), strict=True)]


def through_a_copy(w, g, lr):
    new = w.copy()
    new[g.indices] -= lr * g.values
    w[:] = new


def chosen(w, g, lr):
    d = lr * g.dense(len(w))
    w[:] = np.where(d != 0, w - d, w)


def memory(w, g, lr):
    new = w.copy()
    new[g.indices] -= lr * g.values
    memoryview(w)[:] = memoryview(new)


DENSE = [copyto, as_array, view, flat, put_function, put_method, ravel, reshaped, out, sliced]
DENSE += [looped, listed, through_a_copy, chosen, memory]


@pytest.mark.parametrize("answer", DENSE, ids=lambda f: f.__name__)
def test_a_dense_write_is_told_in_every_spelling(answer) -> None:
    verdict = check.sparse_update(answer)
    assert "costs too much" in verdict.sentence
    assert verdict.details["expected"] == "1 coordinate written"
    assert verdict.details["got"] == "3 coordinates written"


def in_place(w, g, lr):
    w[g.indices] -= lr * g.values


def masked(w, g, lr):
    d = g.dense(len(w))
    np.subtract(w, lr * d, out=w, where=d != 0)


def by_mask(w, g, lr):
    d = g.dense(len(w))
    w[d != 0] -= lr * d[d != 0]


def where_it_is_not_zero(w, g, lr):
    for i, d in enumerate(g.dense(len(w))):
        if d:
            w[i] -= lr * d


def through_a_view(w, g, lr):
    np.asarray(w).ravel()[g.indices] -= lr * g.values


def put_sparse(w, g, lr):
    np.put(w, g.indices, w.take(g.indices) - lr * g.values)


SPARSE = [in_place, masked, by_mask, where_it_is_not_zero, through_a_view, put_sparse]


@pytest.mark.parametrize("answer", SPARSE, ids=lambda f: f.__name__)
def test_a_sparse_write_is_right_in_every_spelling(answer) -> None:
    assert repr(check.sparse_update(answer)) == (
        "✓ sparse_update: right on 3 cases, at the right cost"
    )


def test_an_update_is_watched_without_a_trace(capsys: pytest.CaptureFixture[str]) -> None:
    """What it prints is printed once, and a debugger's trace function is put back."""
    seen = []

    def tracer(frame, event, argument):
        seen.append(event)

    def answer(w, g, lr):
        print("w has", len(w))
        in_place(w, g, lr)

    before = sys.gettrace()
    sys.settrace(tracer)
    try:
        verdict = check.sparse_update(answer)
        after = sys.gettrace()
    finally:
        sys.settrace(before)
    assert verdict
    assert after is tracer
    assert capsys.readouterr().out == "w has 1\nw has 3\nw has 5\n"


def test_an_update_that_is_careful_about_its_numbers_is_right() -> None:
    def careful(w, g, lr):
        assert np.isfinite(w).all(), "the other worker's numbers are none"
        in_place(w, g, lr)

    assert check.sparse_update(careful)


def test_coordinates_written_are_counted() -> None:
    def beside(w, g, lr):
        w[g.indices] -= lr * g.values
        w[3] = w[3]
        w[0:2] = 0

    gradient = Sparse(np.array([2, 4], np.int32), np.array([1.0, 2.0]))
    assert coordinates_written(in_place, np.ones(6), gradient, 0.5) == 2
    assert coordinates_written(beside, np.ones(6), gradient, 0.5) == 5
    assert coordinates_written(ravel, np.ones(6), gradient, 0.5) == 6
