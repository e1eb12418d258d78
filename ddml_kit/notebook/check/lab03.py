"""The exercises of lab 03, the parameter server."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ddml_kit.cluster.faults import Exponential
from ddml_kit.cluster.simulated import Simulated
from ddml_kit.cluster.trace import COMPUTE
from ddml_kit.notebook.check.exercise import Case, Exercise, Mutant, Observed
from ddml_kit.problems.logistic import Logistic
from ddml_kit.problems.synthetic import sparse_logistic
from ddml_kit.training.optimisers import sgd
from ddml_kit.training.parameter_server import parameter_server
from ddml_kit.training.stragglers import best_backup
from ddml_kit.training.waiting import SSP, Progress, Waiting

WORKERS, CLOCKS = 4, 12

# ------------------------------------------------------------------------- the bound on clocks


def may_go(clock: int, clocks: list[int], staleness: int) -> bool:
    return SSP(staleness).lets_go(0, clock, Progress(dict(enumerate(clocks))))


@dataclass(frozen=True)
class _Answered(Waiting):
    """The learner's condition as a policy."""

    answer: Callable[..., Any]
    staleness: int

    def lets_go(self, worker: int, clock: int, progress: Progress) -> bool:
        return bool(self.answer(clock, list(progress.clocks.values()), self.staleness))


def _observe_may_go(answer: Callable[..., Any], case: Case) -> Observed:
    clock, clocks, staleness = case.arguments
    if clocks is not None:
        return Observed(answer(clock, clocks, staleness))
    data = sparse_logistic(WORKERS * 4, 20, 3, seed=0)
    run = Simulated(WORKERS + 1, slowdowns=[Exponential(range(WORKERS))]).run(
        parameter_server,
        Logistic(data.x, data.y),
        sgd(0.1),
        clocks=CLOCKS,
        batch_size=1,
        waiting=_Answered(answer, staleness),
    )
    work = [run.trace.of(COMPUTE, rank=k) for k in range(WORKERS)]
    gap = max(
        clock - int(np.searchsorted(other["stop"], start, side="right"))
        for mine in work
        for clock, start in enumerate(mine["start"])
        for other in work
    )
    return Observed(
        f"{WORKERS} × {CLOCKS} clocks, nobody more than {gap} ahead",
        {
            "microsecond": round(1e6 * run.seconds),
            "message": run.messages,
            "byte": run.bytes,
        },
    )


def _may_go_case(clock: int, clocks: list[int], staleness: int) -> Case:
    shown = f"clock = {clock}\nclocks = {clocks}\nstaleness = {staleness}"
    return Case(shown, (clock, clocks, staleness))


def _stub_may_go(clock: int, clocks: list[int], staleness: int) -> bool: ...  # type: ignore[empty-body]


def _one_less(clock: int, clocks: list[int], staleness: int) -> bool:
    return clock - min(clocks) < staleness


def _fastest(clock: int, clocks: list[int], staleness: int) -> bool:
    return max(clocks) - clock <= staleness


def _mean_of_all(clock: int, clocks: list[int], staleness: int) -> bool:
    return clock - sum(clocks) / len(clocks) <= staleness


def _everyone_near(clock: int, clocks: list[int], staleness: int) -> bool:
    return max(clocks) - min(clocks) <= staleness


SSP_CONDITION = Exercise(
    name="ssp_condition",
    question="May a worker begin clock `clock`, if the workers have come to `clocks`?",
    reference=may_go,
    key=Progress.ahead,
    stub=_stub_may_go,
    cases=[
        _may_go_case(0, [0, 0], 0),
        _may_go_case(1, [1, 0], 0),
        _may_go_case(1, [1, 0], 1),
        _may_go_case(5, [5, 3, 9], 2),
        _may_go_case(3, [3, 3, 7, 3], 2),
        _may_go_case(6, [6, 3, 9], 2),
        Case(f"a run of {WORKERS} workers with staleness 2", (None, None, 2)),
    ],
    observe=_observe_may_go,
    offers=[parameter_server, sgd],
    hints=[
        "Whom does a worker that runs ahead leave behind furthest?",
        "Compare its clock with that of the slowest worker. How far ahead may it be?",
    ],
    key_says="A worker may go on where this is at most the staleness.",
    mutants=[
        Mutant(_one_less, "expected  True"),
        Mutant(_fastest, "not the expected answer"),
        Mutant(_mean_of_all, "not the expected answer"),
        Mutant(_everyone_near, "not the expected answer"),
    ],
)

# ---------------------------------------------------------------------- a push, with momentum


def push_with_momentum(
    w: np.ndarray, velocity: np.ndarray, gradient: np.ndarray, lr: float, momentum: float
) -> None:
    velocity[...] = momentum * velocity + gradient
    w -= lr * velocity


def _observe_push(answer: Callable[..., Any], case: Case) -> Observed:
    w, gradients, lr, momentum = case.arguments
    velocity = np.zeros_like(w)
    for gradient in gradients:
        answer(w, velocity, gradient, lr, momentum)
    return Observed((w, velocity))


def _push_case(w: list[float], gradients: list[list[float]], lr: float, momentum: float) -> Case:
    shown = f"w = {w}, velocity = 0\npushed, one after the other: {gradients}\n"
    shown += f"lr = {lr}, momentum = {momentum}; then (w, velocity)"
    return Case(shown, (np.array(w), [np.array(g) for g in gradients], lr, momentum))


def _stub_push(
    w: np.ndarray, velocity: np.ndarray, gradient: np.ndarray, lr: float, momentum: float
) -> None: ...


def _forgets(
    w: np.ndarray, velocity: np.ndarray, gradient: np.ndarray, lr: float, momentum: float
) -> None:
    velocity = momentum * velocity + gradient
    w -= lr * velocity


def _no_momentum(
    w: np.ndarray, velocity: np.ndarray, gradient: np.ndarray, lr: float, momentum: float
) -> None:
    velocity[...] = gradient
    w -= lr * gradient


def _averages(
    w: np.ndarray, velocity: np.ndarray, gradient: np.ndarray, lr: float, momentum: float
) -> None:
    velocity[...] = momentum * velocity + (1 - momentum) * gradient
    w -= lr * velocity


def _step_first(
    w: np.ndarray, velocity: np.ndarray, gradient: np.ndarray, lr: float, momentum: float
) -> None:
    w -= lr * velocity
    velocity[...] = momentum * velocity + gradient


def _new_model(
    w: np.ndarray, velocity: np.ndarray, gradient: np.ndarray, lr: float, momentum: float
) -> np.ndarray:
    velocity[...] = momentum * velocity + gradient
    w = w - lr * velocity
    return w


MOMENTUM = Exercise(
    name="push_with_momentum",
    question="velocity = momentum * velocity + gradient; w -= lr * velocity; both in place.",
    reference=push_with_momentum,
    key=push_with_momentum,
    stub=_stub_push,
    cases=[
        _push_case([1.0], [[2.0]], 0.5, 0.0),
        _push_case([0.0], [[1.0], [1.0]], 1.0, 0.5),
        _push_case([1.0, -1.0], [[1.0, 0.0], [0.0, 2.0], [4.0, 4.0]], 0.1, 0.9),
    ],
    observe=_observe_push,
    hints=[
        "The server keeps the velocity from push to push. What becomes of it if you write "
        "velocity = ...?",
        "velocity[...] = ... changes the array itself, as w -= ... does.",
    ],
    mutants=[
        Mutant(_forgets, "not the expected answer"),
        Mutant(_no_momentum, "not the expected answer"),
        Mutant(_averages, "not the expected answer"),
        Mutant(_step_first, "not the expected answer"),
        Mutant(_new_model, "not the expected answer"),
    ],
)

# ------------------------------------------------------------------------------ backup workers


def backup_workers(times: np.ndarray, overhead: float) -> int:
    return best_backup(times, overhead)


def _observe_backup(answer: Callable[..., Any], case: Case) -> Observed:
    times, overhead = case.arguments
    return Observed(answer(times, overhead))


def _backup_case(times: list[list[float]], overhead: float) -> Case:
    return Case(f"times = {times}\noverhead = {overhead}", (np.array(times), overhead))


def _drawn_backup(rng: np.random.Generator) -> Case:
    times = np.round(1 + rng.pareto(1.5, (6, 5)), 2)
    return _backup_case(times.tolist(), 0.5)


def _stub_backup(times: np.ndarray, overhead: float) -> int: ...  # type: ignore[empty-body]


def _shortest_round(times: np.ndarray, overhead: float) -> int:
    return times.shape[1] - 1


def _by_worker(times: np.ndarray, overhead: float) -> int:
    arrival = np.sort(times.mean(axis=0))
    n = len(arrival)
    return n - 1 - int(np.argmin((overhead + arrival) / np.arange(1, n + 1)))


def _no_overhead(times: np.ndarray, overhead: float) -> int:
    arrival = np.sort(times, axis=1).mean(axis=0)
    return len(arrival) - 1 - int(np.argmin(arrival / np.arange(1, len(arrival) + 1)))


def _how_many_used(times: np.ndarray, overhead: float) -> int:
    arrival = np.sort(times, axis=1).mean(axis=0)
    return 1 + int(np.argmin((overhead + arrival) / np.arange(1, len(arrival) + 1)))


BACKUP = Exercise(
    name="backup_workers",
    question="How many workers to leave out, so that a gradient takes the least time?",
    reference=backup_workers,
    key=best_backup,
    stub=_stub_backup,
    cases=[
        _backup_case([[1.0, 1.0]], 1.0),
        _backup_case([[1.0, 1.0, 9.0]], 1.0),
        _backup_case([[9.0, 1.0, 1.0], [1.0, 1.0, 9.0]], 1.0),
        _backup_case([[1.0, 2.0, 4.0, 8.0]], 0.1),
        _backup_case([[1.0, 2.0, 4.0, 8.0]], 4.0),
    ],
    drawn=_drawn_backup,
    observe=_observe_backup,
    hints=[
        "With b left out a round lasts until the (n - b)-th has arrived, and the overhead. How "
        "many gradients does it bring?",
        "Not the same worker is late in every round: sort within each round, and then average "
        "over rounds.",
        "np.sort(times, axis=1).mean(axis=0) is when the first, the second, ... arrives. Divide "
        "by how many gradients there are then.",
    ],
    mutants=[
        Mutant(_shortest_round, "expected  0"),
        Mutant(_by_worker, "expected  1"),
        Mutant(_no_overhead, "not the expected answer"),
        Mutant(_how_many_used, "not the expected answer"),
    ],
)
