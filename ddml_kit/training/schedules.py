"""What multiplies the learning rate at each step, and batches that grow: functions of the step.

Steps are counted from 0.

Linear scaling and warm-up: P. Goyal et al., "Accurate, Large Minibatch SGD: Training ImageNet in 1
Hour", arXiv 1706.02677, section 2. A batch k times as large gets a rate k times as large, and comes
to it from the old rate in equal steps, over the first few passes.

Growing the batch: S. L. Smith, P.-J. Kindermans, C. Ying, Q. V. Le, "Don't Decay the Learning Rate,
Increase the Batch Size", ICLR 2018, arXiv 1711.00489. The noise in SGD goes with rate / batch, so a
batch f times as large takes as much of it away as a rate divided by f.

The cosine: I. Loshchilov, F. Hutter, "SGDR: Stochastic Gradient Descent with Warm Restarts", ICLR
2017, arXiv 1608.03983, equation 5 (its number from memory), one period, down to 0.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Sequence
from itertools import accumulate

from ddml_kit.problems.problem import BatchSize

Schedule = Callable[[int], float]


def constant(step: int) -> float:
    """The rate stays as it is."""
    return 1.0


def linear_scaling(rate: float, batch: int, base_batch: int) -> float:
    """The rate for a batch, if `rate` is a good one for `base_batch`: as many times as large."""
    if batch < 1 or base_batch < 1:
        raise ValueError(f"batches have 1 sample or more, got {batch} and {base_batch}")
    return rate * batch / base_batch


def warm_up(steps: int, start: float) -> Schedule:
    """From `start` at step 0 up to 1 at step `steps`, by the same amount in each; 1 from then on.

    With a rate that has been scaled by k, a start of 1/k is the old rate. 0 steps: no warm-up.
    """
    if steps < 0:
        raise ValueError(f"a warm-up takes 0 steps or more, got {steps}")
    if not 0 <= start <= 1:
        raise ValueError(f"a warm-up starts from 0 to 1, got {start}")
    return lambda step: 1.0 if step >= steps else start + (1 - start) * step / steps


def step_decay(at: Sequence[int], factor: float) -> Schedule:
    """1, and `factor` times what it was at each of the steps `at`, which rise."""
    steps = _rising(at)
    if not 0 < factor <= 1:
        raise ValueError(f"a decay needs a factor above 0, at most 1, got {factor}")
    return lambda step: factor ** bisect_right(steps, step)


def cosine(steps: int) -> Schedule:
    """From 1 at step 0 down to 0 at step `steps`, along half a period of the cosine; then 0."""
    if steps < 1:
        raise ValueError(f"a cosine takes 1 step or more, got {steps}")
    return lambda step: (1 + math.cos(math.pi * min(step / steps, 1))) / 2


def together(*schedules: Schedule) -> Schedule:
    """The product of some schedules: a warm-up and then a decay."""
    return lambda step: math.prod(schedule(step) for schedule in schedules)


def growing(batch: int, factor: int, *, after: Sequence[int], samples: int) -> Callable[[int], int]:
    """A batch size for each step: `factor` times as large after each of some passes.

    after: whole passes over the data, rising. samples: in a pass; a batch has no more. For a rank
    of several, batch and samples are the rank's own.
    A step of a larger batch takes more of the data, so the same pass has fewer steps.
    """
    if batch < 1 or factor < 1 or samples < 1:
        raise ValueError(
            "batches that grow need batch, factor and samples of 1 or more, got "
            f"{batch}, {factor} and {samples}"
        )
    passes = _rising(after)
    sizes = [min(batch * factor**k, samples) for k in range(len(passes) + 1)]
    lengths = [b - a for a, b in zip([0, *passes], passes, strict=False)]  # of a phase, in passes
    ends = list(
        accumulate(
            length * -(-samples // size) for length, size in zip(lengths, sizes, strict=False)
        )
    )
    return lambda step: sizes[bisect_right(ends, step)]


def steps_in(passes: int, samples: int, batch_size: BatchSize) -> int:
    """How many steps it takes to see each of the samples so many times, with such batches.

    Raises ValueError for a batch of no samples, with which it would take for ever.
    """
    steps = 0
    for _ in range(passes):
        seen = 0
        while seen < samples:
            size = batch_size(steps) if callable(batch_size) else batch_size
            if size < 1:
                raise ValueError(f"a batch has 1 sample or more, got {size} at step {steps}")
            seen += size
            steps += 1
    return steps


def _rising(at: Sequence[int]) -> list[int]:
    """The same as a list; raises ValueError unless they rise from 0 or more."""
    if any(a >= b for a, b in zip([-1, *at], at, strict=False)):
        raise ValueError(f"a schedule changes at rising steps or passes, got {list(at)}")
    return list(at)
