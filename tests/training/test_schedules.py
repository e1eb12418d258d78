"""Schedules against torch's, and batches that grow against counting samples."""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ddml_kit.problems import LeastSquares
from ddml_kit.training.schedules import (
    constant,
    cosine,
    growing,
    linear_scaling,
    step_decay,
    steps_in,
    together,
    warm_up,
)


def torch_s(make, steps):
    """The rates of a schedule of torch.optim.lr_scheduler on a rate of 1, (steps,)."""
    optimiser = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    schedule, rates = make(optimiser), []
    for _ in range(steps):
        rates.append(optimiser.param_groups[0]["lr"])
        optimiser.step()
        schedule.step()
    return rates


def ours(schedule, steps):
    return [schedule(k) for k in range(steps)]


@pytest.mark.parametrize(("steps", "start"), [(1, 0.5), (4, 0.25), (10, 1 / 16), (7, 1.0)])
def test_warm_up_is_torch_s_linear(steps, start):
    linear = lambda o: torch.optim.lr_scheduler.LinearLR(o, start, total_iters=steps)  # noqa: E731
    np.testing.assert_allclose(ours(warm_up(steps, start), 15), torch_s(linear, 15))


def test_warm_up_begins_at_its_start_and_ends_at_1():
    schedule = warm_up(4, 0.2)
    np.testing.assert_allclose(ours(schedule, 7), [0.2, 0.4, 0.6, 0.8, 1, 1, 1])
    assert ours(warm_up(0, 0.2), 3) == [1, 1, 1]


def test_step_decay_is_torch_s():
    multi = lambda o: torch.optim.lr_scheduler.MultiStepLR(o, [3, 8], gamma=0.3)  # noqa: E731
    np.testing.assert_allclose(ours(step_decay([3, 8], 0.3), 12), torch_s(multi, 12))
    assert ours(step_decay([], 0.3), 3) == [1, 1, 1] == ours(constant, 3)


def test_cosine_is_torch_s():
    annealing = lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, 9)  # noqa: E731
    np.testing.assert_allclose(ours(cosine(9), 10), torch_s(annealing, 10), atol=1e-12)
    assert cosine(9)(30) == 0


def test_together_is_the_product():
    schedule = together(warm_up(4, 0.5), step_decay([2, 6], 0.5))
    assert ours(schedule, 8) == [warm_up(4, 0.5)(k) * step_decay([2, 6], 0.5)(k) for k in range(8)]
    assert together()(3) == 1


@given(st.floats(1e-4, 10), st.integers(1, 64), st.integers(1, 64))
def test_scaled_rates_keep_the_step_a_sample(rate, batch, base):
    """On gradients that are all alike one step of a batch goes as far as its samples one by one."""
    scaled = linear_scaling(rate, batch, base)
    assert math.isclose(scaled / batch, rate / base)
    assert math.isclose(linear_scaling(rate, base, base), rate)


def sizes_by_pass(batch_size, samples, passes):
    """The batches that a problem makes, pass by pass, by counting its samples."""
    problem = LeastSquares(np.ones((samples, 1)), np.ones(samples))
    steps = steps_in(passes, samples, batch_size)
    sizes = [len(b) for b in problem.batches(np.random.default_rng(0), batch_size, steps)]
    seen = list(itertools.accumulate(sizes))
    cuts = [0, *(seen.index(samples * (k + 1)) + 1 for k in range(passes))]
    assert cuts[-1] == len(sizes), "not a step too many"
    return [sizes[a:b] for a, b in itertools.pairwise(cuts)]


def test_a_batch_grows_after_its_passes_and_takes_fewer_steps():
    size = growing(2, 3, after=[1, 3], samples=12)
    assert sizes_by_pass(size, 12, 5) == [[2] * 6, [6, 6], [6, 6], [12], [12]]  # 18 is too many
    assert steps_in(5, 12, size) == 12
    assert steps_in(5, 12, 2) == 30
    assert size(99) == 12


@given(
    st.integers(1, 9),
    st.integers(1, 4),
    st.sets(st.integers(0, 5), max_size=3),
    st.integers(1, 30),
)
def test_growing_changes_between_passes_alone(batch, factor, after, samples):
    after = sorted(after)
    size = growing(batch, factor, after=after, samples=samples)
    for number, sizes in enumerate(sizes_by_pass(size, samples, 7)):
        wanted = min(samples, batch * factor ** sum(a <= number for a in after))
        assert all(s == wanted for s in sizes[:-1])
        assert 1 <= sizes[-1] <= wanted
        assert sum(sizes) == samples


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: warm_up(-1, 0.5), "takes 0 steps or more, got -1"),
        (lambda: warm_up(3, 1.5), "starts from 0 to 1, got 1.5"),
        (lambda: step_decay([3, 3], 0.5), r"rising steps or passes, got \[3, 3\]"),
        (lambda: step_decay([-1], 0.5), r"rising steps or passes, got \[-1\]"),
        (lambda: step_decay([3], 0.0), "a factor above 0, at most 1, got 0.0"),
        (lambda: cosine(0), "takes 1 step or more, got 0"),
        (lambda: growing(0, 2, after=[1], samples=8), "of 1 or more, got 0, 2 and 8"),
        (lambda: growing(4, 2, after=[2, 1], samples=8), r"got \[2, 1\]"),
        (lambda: linear_scaling(0.1, 0, 16), "1 sample or more, got 0 and 16"),
        (lambda: steps_in(1, 8, 0), "1 sample or more, got 0 at step 0"),
        (lambda: steps_in(2, 8, -3), "1 sample or more, got -3 at step 0"),
        (lambda: steps_in(2, 8, lambda step: 4 - step), "1 sample or more, got 0 at step 4"),
    ],
)
def test_what_makes_no_schedule_gets_a_sentence(call, sentence):
    with pytest.raises(ValueError, match=sentence):
        call()
