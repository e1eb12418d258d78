"""The exercises of lab 00, your cluster."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ddml_kit.cluster.comm import Comm
from ddml_kit.notebook.check.exercise import Case, Exercise, Mutant, Observed
from ddml_kit.notebook.check.program import SEND_AND_RECV_ALONE, observe_program
from ddml_kit.notebook.check.words import counted
from ddml_kit.training.calibration import fit
from ddml_kit.training.messages import total


def latency_and_bandwidth(sizes: Sequence[int], seconds: Sequence[float]) -> tuple[float, float]:
    alpha, beta = fit(sizes, seconds)
    return float(f"{alpha:.9g}"), float(f"{beta:.9g}")  # as one reads them


def _observe_fit(answer: Callable[..., Any], case: Case) -> Observed:
    sizes, seconds = case.arguments
    return Observed(answer(sizes, seconds))


def _fit_case(sizes: tuple[int, int], alpha: float, beta: float) -> Case:
    seconds = tuple(float(f"{alpha + m / beta:.12g}") for m in sizes)
    return Case(f"sizes = {sizes}\nseconds = {seconds}", (sizes, seconds))


def _stub_fit(sizes: tuple[int, int], seconds: tuple[float, float]) -> tuple[float, float]: ...  # type: ignore[empty-body]


def _no_latency(sizes: tuple[int, int], seconds: tuple[float, float]) -> tuple[float, float]:
    return seconds[0], sizes[1] / seconds[1]


def _seconds_a_byte(sizes: tuple[int, int], seconds: tuple[float, float]) -> tuple[float, float]:
    slope = (seconds[1] - seconds[0]) / (sizes[1] - sizes[0])
    return seconds[0] - sizes[0] * slope, slope


def _short_is_latency(sizes: tuple[int, int], seconds: tuple[float, float]) -> tuple[float, float]:
    return seconds[0], (sizes[1] - sizes[0]) / (seconds[1] - seconds[0])


LATENCY_AND_BANDWIDTH = Exercise(
    name="latency_and_bandwidth",
    question="alpha and beta of t = alpha + m / beta, from the times of two messages.",
    reference=latency_and_bandwidth,
    key=fit,
    stub=_stub_fit,
    cases=[
        _fit_case((0, 1000), 1.0, 1000.0),
        _fit_case((1000, 3000), 1.0, 1000.0),
        _fit_case((8, 1_000_000), 50e-6, 1e9),
    ],
    observe=_observe_fit,
    hints=[
        "Two times, two unknowns. What do you get if you subtract one time from the other?",
        "The latency is in both times, so the difference is that of the bytes: "
        "t1 - t0 = (m1 - m0) / beta.",
        "With beta known, the first message tells the latency: alpha = t0 - m0 / beta.",
    ],
    key_says="It takes more messages than two, whose times contradict each other. Two fit exactly: "
    "slope = (t1 - t0) / (m1 - m0), from which beta = 1 / slope and alpha = t0 - m0 * slope.",
    mutants=[
        Mutant(_no_latency, "(1.0, 500.0)"),
        Mutant(_seconds_a_byte, "(1.0, 0.001)"),
        Mutant(_short_is_latency, "(2.0, 1000.0)"),
    ],
)


def _observe_total(answer: Callable[..., Any], case: Case) -> Observed:
    return observe_program(answer, *case.arguments)


def _total_case(*values: int) -> Case:
    ranks = counted(len(values), "rank")
    return Case(f"{ranks}, with x = {', '.join(map(str, values))}", (values,))


def _drawn_total(rng: np.random.Generator) -> Case:
    return _total_case(*rng.integers(2, 1000, 5).tolist())


def _stub_total(comm: Comm, x: float) -> float: ...  # type: ignore[empty-body]


def _everyone_to_everyone(comm: Comm, x: float) -> float:
    others = [rank for rank in range(comm.size) if rank != comm.rank]
    for other in others:
        comm.send(x, other)
    return x + sum(comm.recv(other).value for other in others)


def _receives_first(comm: Comm, x: float) -> float:
    for _ in range(comm.size - 1):
        x += comm.recv((comm.rank - 1) % comm.size).value
        comm.send(x, (comm.rank + 1) % comm.size)
    return x


def _known_to_one(comm: Comm, x: float) -> float | None:
    if comm.rank > 0:
        comm.send(x, 0)
        return None
    return x + sum(comm.recv().value for _ in range(comm.size - 1))


def _twice_round(comm: Comm, x: float) -> float:
    left, right = (comm.rank - 1) % comm.size, (comm.rank + 1) % comm.size
    if comm.rank > 0:
        x += comm.recv(left).value
    comm.send(x, right)
    x = comm.recv(left).value
    if comm.rank < comm.size - 1:
        comm.send(x, right)
    return x


def _all_numbers_travel(comm: Comm, x: float) -> float:
    seen = [x]
    if comm.rank > 0:
        seen = comm.recv(comm.rank - 1).value + seen
    if comm.rank < comm.size - 1:
        comm.send(seen, comm.rank + 1)
        seen = comm.recv(comm.rank + 1).value
    if comm.rank > 0:
        comm.send(seen, comm.rank - 1)
    return sum(seen)


def _beyond_the_last(comm: Comm, x: float) -> float:
    if comm.rank > 0:
        x += comm.recv(comm.rank - 1).value
    comm.send(x, comm.rank + 1)
    return comm.recv(comm.rank + 1).value


def _known_by_heart(comm: Comm, x: float) -> float:
    return {1: 7, 2: 11, 3: 111}[comm.size]


def _known_by_heart_with_messages(comm: Comm, x: float) -> float:
    if comm.rank > 0:
        comm.send(x, 0)
        comm.send(x, 0)
    return {1: 7, 2: 11, 3: 111}.get(comm.size, 0)


def _shared_memory(comm: Comm, x: float) -> float:
    numbers = comm.shared(np.zeros(comm.size))
    numbers[comm.rank] = x
    comm.work(1.0)
    return float(numbers.sum())


def _a_collective(comm: Comm, x: float) -> float:
    return sum(comm.all_gather(x))


TOTAL = Exercise(
    name="total",
    question="The sum of x over all ranks, returned by all: with send and recv alone, at most "
    "2 (n - 1) messages of one number.",
    reference=total,
    key=total,
    stub=_stub_total,
    cases=[_total_case(7), _total_case(1, 10), _total_case(1, 10, 100)],
    drawn=_drawn_total,
    least={"message": "nobody can know the sum"},
    without=SEND_AND_RECV_ALONE,
    observe=_observe_total,
    hints=[
        "Think of the ranks as people in a line. What does the first one say to the second?",
        "Each adds its own number to what it hears and passes the sum on. Rank 0 hears nothing and "
        "begins, so somebody sends before everybody receives.",
        "The last one knows the total, and nobody else does: it has to travel back, from each to "
        "the one before.",
    ],
    mutants=[
        Mutant(_beyond_the_last, "rank 0 raised an error"),
        Mutant(_known_to_one, "[11, None]"),
        Mutant(_receives_first, "rank 0 waits for a message from rank 1"),
        Mutant(_twice_round, "0 messages"),
        Mutant(_everyone_to_everyone, "6 messages"),
        Mutant(_all_numbers_travel, "24 bytes"),
        Mutant(_a_collective, "it calls all_gather: use send and recv alone"),
        Mutant(_shared_memory, "it calls shared: use send and recv alone"),
        Mutant(_known_by_heart, "0 messages: nobody can know the sum with fewer than 2"),
        Mutant(_known_by_heart_with_messages, "5 ranks, with x = "),
    ],
)
