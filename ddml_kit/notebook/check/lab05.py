"""The exercises of lab 05, the batch size."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ddml_kit.cluster.run import Curve
from ddml_kit.cluster.simulated import Simulated
from ddml_kit.cluster.trace import COMPUTE
from ddml_kit.notebook.check.exercise import Case, Exercise, Mutant, Observed
from ddml_kit.problems.quadratic import LeastSquares
from ddml_kit.training.data_parallel import data_parallel
from ddml_kit.training.optimisers import sgd
from ddml_kit.training.schedules import growing, linear_scaling, steps_in, warm_up
from ddml_kit.training.speed_up import speed_up

# ------------------------------------------------------------------ the scaled rate, warmed up


def scaled_rate(step: int, rate: float, batch: int, base_batch: int, warm: int) -> float:
    return linear_scaling(rate, batch, base_batch) * warm_up(warm, base_batch / batch)(step)


def _observe_rate(answer: Callable[..., Any], case: Case) -> Observed:
    steps, settings = case.arguments
    return Observed([answer(step, *settings) for step in steps])


def _rate_case(steps: Sequence[int], rate: float, batch: int, base: int, warm: int) -> Case:
    shown = f"rate = {rate}, batch = {batch}, base_batch = {base}, warm = {warm}"
    return Case(f"{shown}\nat steps {list(steps)}", (list(steps), (rate, batch, base, warm)))


def _drawn_rate(rng: np.random.Generator) -> Case:
    rate, times, warm = rng.integers(1, 9) / 8, int(rng.integers(3, 12)), int(rng.integers(5, 9))
    return _rate_case(range(warm + 3), float(rate), 16 * times, 16, warm)


def _stub_rate(step: int, rate: float, batch: int, base_batch: int, warm: int) -> float: ...  # type: ignore[empty-body]


def _no_warm_up(step: int, rate: float, batch: int, base_batch: int, warm: int) -> float:
    return rate * batch / base_batch


def _by_the_root(step: int, rate: float, batch: int, base_batch: int, warm: int) -> float:
    k = (batch / base_batch) ** 0.5
    return rate * k if step >= warm else rate * (1 + (k - 1) * step / warm)


def _from_nothing(step: int, rate: float, batch: int, base_batch: int, warm: int) -> float:
    return rate * batch / base_batch * (1.0 if step >= warm else step / warm)


def _a_step_early(step: int, rate: float, batch: int, base_batch: int, warm: int) -> float:
    k = batch / base_batch
    return rate * k if step >= warm else rate * (1 + (k - 1) * (step + 1) / warm)


def _never_ends(step: int, rate: float, batch: int, base_batch: int, warm: int) -> float:
    return rate * (1 + (batch / base_batch - 1) * step / max(warm, 1))


def _all_at_once(step: int, rate: float, batch: int, base_batch: int, warm: int) -> float:
    return rate if step < warm else rate * batch / base_batch


def _rate_of_the_batch(step: int, rate: float, batch: int, base_batch: int, warm: int) -> float:
    return rate * batch if step >= warm else rate * (1 + (batch - 1) * step / warm)


SCALED_RATE = Exercise(
    name="scaled_rate",
    question="The rate at a step: scaled with the batch, and reached from the old one in equal "
    "steps.",
    reference=scaled_rate,
    key=warm_up,
    stub=_stub_rate,
    cases=[
        _rate_case([0, 1], 1.0, 32, 16, 0),
        _rate_case(range(5), 1.0, 64, 16, 2),
        _rate_case(range(7), 0.5, 80, 16, 4),
    ],
    drawn=_drawn_rate,
    observe=_observe_rate,
    hints=[
        "How many times as large is the batch? As many times as large is the rate in the end.",
        "At step 0 it is the old rate, at step `warm` the new one. What does a step add?",
        "Before `warm`: old + (new - old) * step / warm. From there on: new.",
    ],
    key_says="It gives a share of the new rate; its start, base_batch / batch, is the old one.",
    mutants=[
        Mutant(_no_warm_up, "expected  [1.0, 2.5, 4.0, 4.0, 4.0]"),
        Mutant(_by_the_root, "not the expected answer"),
        Mutant(_from_nothing, "got       [0.0, 2.0, 4.0, 4.0, 4.0]"),
        Mutant(_a_step_early, "not the expected answer"),
        Mutant(_never_ends, "not the expected answer"),
        Mutant(_all_at_once, "got       [1.0, 1.0, 4.0, 4.0, 4.0]"),
        Mutant(_rate_of_the_batch, "not the expected answer"),
    ],
)

# ----------------------------------------------------------------- the speed-up, from two curves

Pair = tuple[Sequence[float], Sequence[float]]  # seconds, and the losses at these times


def time_to_accuracy(serial: Pair, parallel: Pair, target: float) -> float:
    one, many = (
        Curve(np.arange(len(seconds)), np.asarray(seconds), np.asarray(losses))
        for seconds, losses in (serial, parallel)
    )
    return speed_up(one, many, target)


def _observe_speed_up(answer: Callable[..., Any], case: Case) -> Observed:
    return Observed(answer(*case.arguments))


def _speed_up_case(serial: Pair, parallel: Pair, target: float) -> Case:
    shown = f"serial = {serial}\nparallel = {parallel}\ntarget = {target}"
    return Case(shown, (serial, parallel, target))


def _drawn_speed_up(rng: np.random.Generator) -> Case:
    def curve(a_step: float, falls: float) -> Pair:
        losses = np.round(2.0 * falls ** np.arange(9), 2)
        return np.round(a_step * np.arange(9), 2).tolist(), losses.tolist()

    serial = curve(float(rng.integers(10, 20)) / 10, 0.7)
    return _speed_up_case(serial, curve(float(rng.integers(3, 9)) / 10, 0.6), 0.5)


def _stub_speed_up(serial: Pair, parallel: Pair, target: float) -> float: ...  # type: ignore[empty-body]


def _first(curve: Pair, target: float) -> float:
    return next((t for t, loss in zip(*curve, strict=True) if loss <= target), float("inf"))


def _time_a_step(serial: Pair, parallel: Pair, target: float) -> float:
    a, b = (seconds[-1] / (len(seconds) - 1) for seconds, _ in (serial, parallel))
    return a / b


def _to_the_end(serial: Pair, parallel: Pair, target: float) -> float:
    return serial[0][-1] / parallel[0][-1]


def _steps_alone(serial: Pair, parallel: Pair, target: float) -> float:
    a, b = (next(k for k, x in enumerate(y) if x <= target) for _, y in (serial, parallel))
    return a / b


def _loss_in_the_end(serial: Pair, parallel: Pair, target: float) -> float:
    return serial[1][-1] / parallel[1][-1]


def _upside_down(serial: Pair, parallel: Pair, target: float) -> float:
    return _first(parallel, target) / _first(serial, target)


def _the_last_time(serial: Pair, parallel: Pair, target: float) -> float:
    a, b = (
        max((t for t, loss in zip(*curve, strict=True) if loss > target), default=0.0)
        for curve in (serial, parallel)
    )
    return a / b


def _strictly_below(serial: Pair, parallel: Pair, target: float) -> float:
    a, b = (_first(curve, target - 1e-9) for curve in (serial, parallel))
    return a / b if a < float("inf") else 0.0


def _by_argmax(serial: Pair, parallel: Pair, target: float) -> float:
    a, b = (t[int(np.argmax(np.array(y) <= target))] for t, y in (serial, parallel))
    return a / b


SPEED_UP = Exercise(
    name="speed_up",
    question="How many times as fast the parallel run gets to the target; 0 if it never does.",
    reference=time_to_accuracy,
    key=speed_up,
    stub=_stub_speed_up,
    cases=[
        _speed_up_case(([0, 2, 4], [2.0, 1.0, 0.5]), ([0, 1, 2], [2.0, 1.0, 0.5]), 0.5),
        _speed_up_case(([0, 2, 4], [2.0, 1.0, 0.5]), ([0, 1, 2, 3], [2.0, 1.5, 1.0, 0.8]), 1.0),
        _speed_up_case(([0, 2, 4], [2.0, 1.0, 0.5]), ([0, 1, 2], [2.0, 1.0, 1.5]), 1.0),
        _speed_up_case(([0, 2, 4], [2.0, 1.0, 0.5]), ([0, 1, 2], [2.0, 1.8, 1.7]), 0.5),
    ],
    drawn=_drawn_speed_up,
    observe=_observe_speed_up,
    hints=[
        "A worker that computes twice as fast and needs twice the steps is no faster. What do both "
        "have to have done, to be compared?",
        "When was each of them at the target or below it, for the first time?",
        "If the parallel run never was, its time is infinite, and anything divided by that is 0: "
        'next((...), float("inf")) gives a value where there is none.',
    ],
    key_says="A curve's time_to(level) is the first time at which it was there.",
    mutants=[
        Mutant(_time_a_step, "expected  1.0"),
        Mutant(_to_the_end, "not the expected answer"),
        Mutant(_steps_alone, "got       1.0"),
        Mutant(_loss_in_the_end, "not the expected answer"),
        Mutant(_upside_down, "expected  2.0"),
        Mutant(_the_last_time, "not the expected answer"),
        Mutant(_strictly_below, "not the expected answer"),
        Mutant(_by_argmax, "ZeroDivisionError"),
    ],
)

# ------------------------------------------------------------- a batch that grows, as its steps


def growing_batch(
    batch: int, samples: int, passes: int, after: Sequence[int], factor: int
) -> list[int]:
    size = growing(batch, factor, after=after, samples=samples)
    return [size(step) for step in range(steps_in(passes, samples, size))]


def _observe_growing(answer: Callable[..., Any], case: Case) -> Observed:
    """The sizes of the batches in each pass, as far as there are samples for them; and what a run
    with them costs two workers.
    """
    batch, samples, passes, after, factor = case.arguments
    sizes = [int(size) for size in answer(batch, samples, passes, after, factor)]
    problem = LeastSquares(np.ones((2 * samples, 1)), np.ones(2 * samples))
    run = Simulated(2).run(
        data_parallel, problem, sgd(0.01), steps=len(sizes), batch_size=lambda step: sizes[step]
    )
    computed = run.trace.of(COMPUTE, rank=0)
    taken = _by_pass(sizes, samples)
    cost = {"step": len(computed), "byte": run.bytes}
    return Observed([sorted(set(one)) for one in taken[:passes]], cost)


def _by_pass(sizes: Sequence[int], samples: int) -> list[list[int]]:
    """The sizes pass by pass, as `Problem.batches` takes them: none goes beyond its pass."""
    passes, seen = list[list[int]](), samples
    for size in sizes:
        if seen >= samples:
            passes.append([])
            seen = 0
        passes[-1].append(min(size, samples - seen))
        seen += size
    return passes


def _growing_case(batch: int, samples: int, passes: int, after: list[int], factor: int) -> Case:
    shown = f"batch = {batch}, samples = {samples}, passes = {passes}, after = {after}"
    return Case(
        f"{shown}, factor = {factor}\nthe sizes of the batches, pass by pass",
        (batch, samples, passes, after, factor),
    )


def _drawn_growing(rng: np.random.Generator) -> Case:
    first, more = (int(rng.integers(1, 4)) for _ in range(2))
    return _growing_case(2, 32, first + more + 2, [first, first + more], int(rng.choice([2, 4])))


def _stub_growing(  # type: ignore[empty-body]
    batch: int, samples: int, passes: int, after: Sequence[int], factor: int
) -> list[int]: ...


def _as_many_steps(
    batch: int, samples: int, passes: int, after: Sequence[int], factor: int
) -> list[int]:
    steps = samples // batch
    return [
        batch * factor ** sum(a <= k for a in after) for k in range(passes) for _ in range(steps)
    ]


def _never_grows(
    batch: int, samples: int, passes: int, after: Sequence[int], factor: int
) -> list[int]:
    return [batch] * (passes * samples // batch)


def _one_a_pass(
    batch: int, samples: int, passes: int, after: Sequence[int], factor: int
) -> list[int]:
    return [batch * factor ** sum(a <= k for a in after) for k in range(passes)]


def _adds(batch: int, samples: int, passes: int, after: Sequence[int], factor: int) -> list[int]:
    sizes = [batch + batch * (factor - 1) * sum(a <= k for a in after) for k in range(passes)]
    return [size for size in sizes for _ in range(-(-samples // size))]


def _a_pass_late(
    batch: int, samples: int, passes: int, after: Sequence[int], factor: int
) -> list[int]:
    sizes = [batch * factor ** sum(a < k for a in after) for k in range(passes)]
    return [size for size in sizes for _ in range(samples // size)]


def _shrinks(batch: int, samples: int, passes: int, after: Sequence[int], factor: int) -> list[int]:
    sizes = [max(1, batch // factor ** sum(a <= k for a in after)) for k in range(passes)]
    return [size for size in sizes for _ in range(samples // size)]


def _steps_for_passes(
    batch: int, samples: int, passes: int, after: Sequence[int], factor: int
) -> list[int]:
    return [batch * factor ** sum(a <= k for a in after) for k in range(passes * samples // batch)]


def _whole_batches_alone(
    batch: int, samples: int, passes: int, after: Sequence[int], factor: int
) -> list[int]:
    sizes = [batch * factor ** sum(a <= k for a in after) for k in range(passes)]
    return [size for size in sizes for _ in range(samples // size)]


GROWING_BATCH = Exercise(
    name="growing_batch",
    question="The size of the batch at each step, if it grows where the rate would have decayed.",
    reference=growing_batch,
    key=growing,
    stub=_stub_growing,
    cases=[
        _growing_case(4, 8, 1, [], 2),
        _growing_case(4, 8, 2, [1], 2),
        _growing_case(2, 16, 4, [2], 4),
        _growing_case(2, 16, 5, [1, 3], 2),
        _growing_case(4, 10, 4, [1, 2], 2),  # 4, 4, 2; 8, 2; 10; 10
    ],
    drawn=_drawn_growing,
    observe=_observe_growing,
    offers=[data_parallel, sgd],
    hints=[
        "What does dividing the rate by `factor` do to the noise, and which batch does the same?",
        "Go pass by pass: how large is the batch in it, and how many of these make one pass?",
        "In pass k (from 0) the batch is batch * factor ** (how many of `after` are at most k), "
        "but at most `samples`. What is left over makes one more step: a pass has "
        "-(-samples // that) steps, the division rounded up.",
    ],
    key_says="It is a function of the step: it counts the steps of each phase, and looks up in "
    "which one the step lies.",
    mutants=[
        Mutant(_as_many_steps, "costs too much"),
        Mutant(_never_grows, "not the expected answer"),
        Mutant(_one_a_pass, "not the expected answer"),
        Mutant(_adds, "not the expected answer"),
        Mutant(_a_pass_late, "not the expected answer"),
        Mutant(_shrinks, "not the expected answer"),
        Mutant(_steps_for_passes, "costs too much"),
        Mutant(_whole_batches_alone, "expected  [[2, 4], [2, 8], [10], [10]]"),
    ],
)
