"""What is around an answer: a limit of time, and what it may not call, from wherever."""

from __future__ import annotations

import cProfile
import functools
import pstats
import signal
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from ddml_kit.notebook import check
from ddml_kit.notebook.check.guard import TimeUp, within
from ddml_kit.notebook.check.judge import judge
from ddml_kit.training import hogwild, messages
from ddml_kit.training.calibration import fit, timed

TOTAL, STALENESS = check.total.exercise, check.staleness.exercise
SHORT = 0.05  # seconds

needs_alarm = pytest.mark.skipif(not hasattr(signal, "SIGALRM"), reason="no alarm on Windows")


@pytest.fixture(autouse=True)
def all_is_put_back():
    before = sys.getprofile(), threading.getprofile()
    alarm = signal.getsignal(signal.SIGALRM) if hasattr(signal, "SIGALRM") else None
    yield
    assert (sys.getprofile(), threading.getprofile()) == before
    if alarm is not None:
        assert signal.getsignal(signal.SIGALRM) is alarm
        assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


# ------------------------------------------------------------------------------- time


def for_ever(*args: Any) -> None:
    while True:
        pass


def for_ever_whatever_comes(*args: Any) -> None:
    while True:
        try:
            len(args)
        except BaseException:
            continue


def sending_for_ever(comm: Any, x: Any) -> None:
    while True:
        comm.send(x, 0)


class ForEver:
    """What is returned never ends to be shown."""

    def __repr__(self) -> str:
        return for_ever()  # type: ignore[func-returns-value, return-value]


class ForEverError(Exception):
    def __str__(self) -> str:
        return for_ever()  # type: ignore[func-returns-value, return-value]


def raising(*args: Any) -> None:
    raise ForEverError


@needs_alarm
@pytest.mark.parametrize(
    "answer", [for_ever, for_ever_whatever_comes, lambda *args: ForEver(), raising]
)
def test_what_does_not_end_is_stopped(answer: Any) -> None:
    verdict = judge(replace(STALENESS, seconds=SHORT), answer)
    assert verdict.state == "wrong"
    assert verdict.sentence == "not done after 0.05 s; the smallest case that shows it:"
    assert verdict.details["got"].startswith("nothing yet  (line ")


@needs_alarm
@pytest.mark.parametrize("answer", [for_ever, sending_for_ever])
def test_a_program_that_does_not_end_is_stopped(answer: Any) -> None:
    verdict = judge(replace(TOTAL, seconds=SHORT), answer)
    assert verdict.sentence.startswith("not done after 0.05 s")
    assert verdict.details["input"] == "1 rank, with x = 7"


@needs_alarm
def test_a_late_answer_that_swallows_the_alarm_is_late() -> None:
    def answer(before: Any, after: Any, rank: int) -> int:
        try:
            for_ever()
        except BaseException:
            return int((after - before).sum() - (after - before)[rank])
        return 0

    assert "not done after" in judge(replace(STALENESS, seconds=SHORT), answer).sentence


def test_an_answer_has_ten_seconds() -> None:
    assert {c.exercise.seconds for c in vars(check).values() if isinstance(c, check.Check)} == {10}


@needs_alarm
def test_limits_nest() -> None:
    def outer() -> str:
        with pytest.raises(TimeUp):
            within(SHORT, for_ever)
        assert signal.getitimer(signal.ITIMER_REAL)[0] > 1, "the outer one goes on"
        return "done"

    assert within(60.0, outer) == "done"
    with pytest.raises(TimeUp):
        within(SHORT, lambda: within(60.0, for_ever))


@needs_alarm
def test_the_alarm_never_rings_while_it_rings() -> None:
    """It is set again by who hears it: one with an interval can come before the last is heard."""
    seen = []

    def answer() -> None:
        seen.append(signal.getitimer(signal.ITIMER_REAL))
        try:
            for_ever()
        except TimeUp:
            seen.append(signal.getitimer(signal.ITIMER_REAL))
            for_ever()

    with pytest.raises(TimeUp):
        within(SHORT, answer)
    assert [interval for _, interval in seen] == [0.0, 0.0]
    assert all(left > 0 for left, _ in seen)


@needs_alarm
def test_a_foreign_alarm_rings_all_the_same() -> None:
    rung = []
    before = signal.signal(signal.SIGALRM, lambda number, frame: rung.append(number))
    signal.setitimer(signal.ITIMER_REAL, SHORT)
    try:
        with pytest.raises(TimeUp):
            within(60.0, for_ever)
        while not rung:
            pass
    finally:
        signal.signal(signal.SIGALRM, before)


def test_there_is_no_limit_in_another_thread() -> None:
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(within, 1e-9, lambda: sum(range(10**5))).result() == 4999950000
        right = pool.submit(judge, STALENESS, lambda b, a, rank: (a - b).sum() - (a - b)[rank])
        assert right.result()


# ---------------------------------------------------------------------------- refusals


@functools.wraps(messages.total)
def wrapper(comm: Any, x: Any) -> Any:
    return messages.tree_total(comm, x)


def swallows(comm: Any, x: Any) -> Any:
    try:
        return messages.tree_total(comm, x)
    except BaseException:
        return by_hand(comm, x)


def for_nothing(comm: Any, x: Any) -> Any:
    try:
        messages.broadcast(comm, x)
    finally:
        return by_hand(comm, x)  # noqa: B012


def by_hand(comm: Any, x: Any) -> Any:
    if comm.rank > 0:
        comm.send(x, 0)
        return comm.recv(0).value
    x += sum(comm.recv().value for _ in range(comm.size - 1))
    for other in range(1, comm.size):
        comm.send(x, other)
    return x


@pytest.mark.parametrize(
    "answer",
    [
        messages.tree_total,
        wrapper,
        functools.partial(messages.tree_total),
        lambda comm, x: messages.ring_sum(comm, np.array([x]))[0],
        lambda comm, x: comm.start(messages.tree_total, comm, x).wait(),
        swallows,
        for_nothing,
    ],
)
def test_all_of_the_library_is_refused(answer: Any) -> None:
    verdict = judge(TOTAL, answer)
    assert verdict.state == "refused"
    assert "it calls ddml_kit.training.messages." in verdict.sentence
    assert "which is the library's own" in verdict.sentence
    assert judge(TOTAL, by_hand)


def test_the_library_is_refused_in_a_thread() -> None:
    def answer(before: Any, after: Any, rank: int) -> Any:
        result = []
        thread = threading.Thread(
            target=lambda: result.append(hogwild.staleness(before, after, rank))
        )
        thread.start()
        thread.join()
        return result[0]

    verdict = judge(STALENESS, answer)
    assert verdict.sentence == (
        "it calls ddml_kit.training.hogwild.staleness, which is the library's own"
    )


def test_the_library_is_refused_behind_map_and_the_other_way_round() -> None:
    def mapped(before: Any, after: Any, rank: int) -> Any:
        return next(map(hogwild.staleness, [before], [after], [rank]))

    assert judge(STALENESS, mapped).state == "refused"
    assert judge(check.latency_and_bandwidth.exercise, lambda m, t: fit(m, t)).state == "refused"


def test_what_an_exercise_offers_may_be_called_and_calls_what_it_likes() -> None:
    def answer(comm: Any, x: Any) -> Any:
        return messages.tree_total(comm, x)  # which calls messages.broadcast

    offering = replace(TOTAL, offers=[messages.tree_total])
    assert judge(offering, answer)
    assert judge(offering, lambda comm, x: messages.total(comm, x)).state == "refused"
    assert judge(replace(TOTAL, offers=[messages.broadcast]), answer).state == "refused"


def test_what_is_offered_does_not_cover_what_it_calls_of_the_answer_s() -> None:
    offering = replace(TOTAL, offers=[timed])  # which itself calls comm.barrier
    verdict = judge(offering, lambda comm, x: timed(comm, lambda comm: by_hand(comm, x), 1))
    assert verdict.sentence.startswith("not the expected answer")
    verdict = judge(offering, lambda comm, x: timed(comm, lambda comm: messages.total(comm, x), 1))
    assert verdict.state == "refused"


# --------------------------------------------------------------------------- profilers


def test_a_profile_function_is_put_back_even_after_a_refusal() -> None:
    def profile(frame: Any, event: str, argument: Any) -> None: ...

    sys.setprofile(profile)
    threading.setprofile(profile)
    try:
        for answer in (by_hand, messages.tree_total, lambda comm, x: x / 0):
            judge(TOTAL, answer)
            assert sys.getprofile() is profile
            assert threading.getprofile() is profile
    finally:
        sys.setprofile(None)
        threading.setprofile(None)  # type: ignore[arg-type]


def test_cprofile_goes_on_after_a_check() -> None:
    def afterwards() -> None: ...

    profiler = cProfile.Profile()
    profiler.enable()
    try:
        assert judge(TOTAL, by_hand)
        afterwards()
    finally:
        profiler.disable()
    names = {name for _, _, name in pstats.Stats(profiler).stats}  # type: ignore[attr-defined]
    assert {"judge", "afterwards"} <= names
