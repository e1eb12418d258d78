"""Exercises whose answer is a program: judged on simulated ranks, by results and trace."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from ddml_kit.notebook import check
from ddml_kit.notebook.check.exercise import Exercise
from ddml_kit.notebook.check.judge import judge
from ddml_kit.notebook.check.program import observe_program
from ddml_kit.training import messages

TOTAL: Exercise = check.total.exercise


@pytest.fixture(autouse=True)
def profile_is_put_back():
    before = sys.getprofile()
    yield
    assert sys.getprofile() is before


def test_results_messages_and_bytes_are_observed() -> None:
    def program(comm, x):
        if comm.rank == 0:
            comm.send([x, x], 1)
            return None
        return comm.recv(0).value[0] + x

    seen = observe_program(program, [1, 20])
    assert (seen.value, seen.cost) == ([None, 21], {"message": 1, "byte": 16})


@pytest.mark.parametrize("collective", ["all_reduce", "all_gather", "broadcast", "shared"])
def test_a_collective_is_not_taken_for_an_answer(collective) -> None:
    verdict = judge(TOTAL, lambda comm, x: getattr(comm, collective)(x))
    assert verdict.state == "refused"
    assert f"it calls {collective}: use send and recv alone" in verdict.sentence


def test_the_library_s_function_is_refused_in_whichever_rank_calls_it() -> None:
    """The other ranks begin before it and end after it, so that it is called among them."""
    for culprit in range(3):

        def answer(comm, x, culprit=culprit):
            comm.send(x, (comm.rank + 1) % comm.size)
            comm.recv((comm.rank - 1) % comm.size)
            if comm.rank == culprit:
                return messages.total(comm, x)
            return 111

        verdict = judge(at_three_ranks(), answer)
        assert verdict.state == "refused", culprit
        assert "messages.total, which is the library's own" in verdict.sentence


def test_it_is_refused_after_other_ranks_have_ended() -> None:
    def answer(comm, x):
        if comm.rank < comm.size - 1:
            comm.send(None, comm.size - 1)
            return 111
        for other in range(comm.size - 1):
            comm.recv(other)
        return messages.total(comm, x)

    assert judge(at_three_ranks(), answer).state == "refused"


def test_it_is_refused_in_a_strand_that_a_rank_starts() -> None:
    verdict = judge(TOTAL, lambda comm, x: comm.start(messages.total, comm, x).wait())
    assert verdict.state == "refused"


def test_shared_memory_is_no_message_in_a_group_either() -> None:
    def answer(comm, x):
        numbers = comm.group(range(comm.size)).shared(np.zeros(comm.size))
        numbers[comm.rank] = x
        return by_hand(comm, x)

    verdict = judge(TOTAL, answer)
    assert verdict.sentence == "it calls shared: use send and recv alone"


def test_a_table_of_all_cases_is_no_answer() -> None:
    table = {len(case.arguments[0]): sum(case.arguments[0]) for case in TOTAL.cases}
    drawn = TOTAL.drawn(np.random.default_rng(1))
    table[len(drawn.arguments[0])] = sum(drawn.arguments[0])
    verdict = judge(TOTAL, lambda comm, x: table[comm.size], seed=1)
    assert "0 messages: nobody can know the sum with fewer than 2" in verdict.sentence

    def with_messages(comm, x):
        by_hand(comm, x)
        return table[comm.size]

    assert judge(TOTAL, with_messages, seed=1), "the table is right for this seed alone"
    assert judge(TOTAL, with_messages, seed=2).details["input"].startswith("5 ranks")


def test_a_deadlock_is_a_sentence_with_the_smallest_case() -> None:
    def answer(comm, x):
        for other in range(comm.size):
            if other != comm.rank:
                x += comm.recv(other).value
        return x

    verdict = judge(TOTAL, answer)
    assert verdict.sentence == "it never ends; the smallest case that shows it:"
    assert verdict.details["input"] == "2 ranks, with x = 1, 10"
    assert "rank 0 waits for a message from rank 1" in verdict.details["got"]
    assert "rank 1 waits for a message from rank 0" in verdict.details["got"]


def test_an_error_in_a_rank_names_the_rank_and_the_learner_s_line() -> None:
    def answer(comm, x):
        if comm.rank == 1:
            return x / 0
        return by_hand(comm, x)

    verdict = judge(TOTAL, answer)
    assert verdict.sentence == "rank 1 raised an error; the smallest case that shows it:"
    assert "ZeroDivisionError: division by zero  (line" in verdict.details["got"]
    assert "return x / 0" in verdict.details["got"]


def test_an_answer_that_takes_other_arguments_is_told_so() -> None:
    verdict = judge(TOTAL, lambda comm: 7)
    assert verdict.state == "wrong"
    assert "takes 1 positional argument but 2 were given" in verdict.details["got"]


def test_not_implemented_in_a_rank_is_not_attempted() -> None:
    def answer(comm, x):
        if comm.size > 1:
            raise NotImplementedError
        return x

    assert judge(TOTAL, answer).state == "not attempted"


def test_other_right_answers() -> None:
    def through_one(comm, x):
        if comm.rank > 0:
            comm.send(x, 0)
            return comm.recv(0).value
        x += sum(comm.recv().value for _ in range(comm.size - 1))
        for other in range(1, comm.size):
            comm.send(x, other)
        return x

    def round_a_ring(comm, x):
        left, right = (comm.rank - 1) % comm.size, (comm.rank + 1) % comm.size
        if comm.size == 1:
            return x
        if comm.rank > 0:
            x += comm.recv(left).value
        if comm.rank < comm.size - 1:
            comm.send(x, right)
            x = comm.recv(left).value
        if comm.rank != comm.size - 2:
            comm.send(x, right)
        return x

    assert judge(TOTAL, through_one)
    assert judge(TOTAL, round_a_ring)
    assert judge(TOTAL, by_hand)


def test_other_right_answers_for_latency_and_bandwidth() -> None:
    def answer(sizes, seconds):
        beta = (sizes[1] - sizes[0]) / (seconds[1] - seconds[0])
        return [seconds[1] - sizes[1] / beta, beta]

    assert check.latency_and_bandwidth(answer)


def by_hand(comm, x):
    if comm.rank > 0:
        x += comm.recv(comm.rank - 1).value
    if comm.rank < comm.size - 1:
        comm.send(x, comm.rank + 1)
        x = comm.recv(comm.rank + 1).value
    if comm.rank > 0:
        comm.send(x, comm.rank - 1)
    return x


def at_three_ranks() -> Exercise:
    """The exercise with the case of three ranks alone."""
    fields = vars(TOTAL) | {"cases": [c for c in TOTAL.cases if len(c.arguments[0]) == 3]}
    return Exercise(**fields)
