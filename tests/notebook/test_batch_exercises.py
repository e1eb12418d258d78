"""The exercises of lab 05: right answers in other words, and what a wrong one costs."""

from __future__ import annotations

import math

from ddml_kit.notebook import check
from ddml_kit.notebook.check.lab05 import GROWING_BATCH
from ddml_kit.training.schedules import warm_up


def test_a_rate_in_other_words() -> None:
    def added_up(step, rate, batch, base_batch, warm):
        new = rate * batch / base_batch
        for _ in range(warm, step, -1):
            new -= (rate * batch / base_batch - rate) / warm
        return new

    def mixed(step, rate, batch, base_batch, warm):
        share = min(1, step / warm) if warm else 1
        return (1 - share) * rate + share * rate * batch / base_batch

    assert check.scaled_rate(added_up)
    assert check.scaled_rate(mixed)


def test_the_library_s_warm_up_is_no_answer() -> None:
    verdict = check.scaled_rate(lambda step, rate, b, base, warm: warm_up(warm, base / b)(step))
    assert verdict.state == "refused"
    assert "warm_up" in verdict.sentence


def test_a_speed_up_in_other_words() -> None:
    def time(curve, target):
        seconds, losses = curve
        for t, loss in zip(seconds, losses, strict=True):
            if loss <= target:
                return t
        return None

    def answer(serial, parallel, target):
        alone, together = time(serial, target), time(parallel, target)
        return alone / together if together is not None else 0

    assert check.speed_up(answer)


def test_time_a_step_is_told_with_two_curves_of_equal_speed() -> None:
    """The parallel run is twice as fast at a step, needs twice the steps, and is no faster."""

    def time_a_step(serial, parallel, target):
        return (serial[0][1] - serial[0][0]) / (parallel[0][1] - parallel[0][0])

    verdict = check.speed_up(time_a_step)
    assert verdict.details["expected"] == "1.0"
    assert verdict.details["got"] == "2.0"
    assert "parallel = ([0, 1, 2, 3], [2.0, 1.5, 1.0, 0.8])" in verdict.details["input"]


def test_batches_in_other_words() -> None:
    def pass_by_pass(batch, samples, passes, after, factor):
        sizes = []
        for k in range(passes):
            if k in after:
                batch *= factor
            sizes += [batch] * math.ceil(samples / batch)
        return sizes

    def by_samples(batch, samples, passes, after, factor):
        """The last batch of a pass as small as it is."""
        seen = 0
        while seen < passes * samples:
            size = batch * factor ** sum(seen >= a * samples for a in after)
            size = min(size, samples - seen % samples)
            yield size
            seen += size

    assert check.growing_batch(pass_by_pass)
    assert check.growing_batch(by_samples)


def test_what_is_left_over_is_part_of_the_pass() -> None:
    def whole_batches_alone(batch, samples, passes, after, factor):
        sizes = [batch * factor ** sum(a <= k for a in after) for k in range(passes)]
        return [size for size in sizes for _ in range(samples // size)]

    verdict = check.growing_batch(whole_batches_alone)
    assert verdict.state == "wrong"
    assert "samples = 10" in verdict.details["input"]


def test_the_last_hint_holds_where_batches_leave_a_remainder() -> None:
    def as_it_says(batch, samples, passes, after, factor):
        for k in range(passes):
            that = min(samples, batch * factor ** sum(a <= k for a in after))
            yield from [that] * -(-samples // that)

    assert check.growing_batch(as_it_says)
    hint = GROWING_BATCH.hints[-1]
    assert "batch * factor **" in hint
    assert "at most `samples`" in hint
    assert "-(-samples // that) steps" in hint


def test_steps_that_are_as_many_as_before_are_counted_from_the_trace() -> None:
    def as_many(batch, samples, passes, after, factor):
        sizes = [batch * factor ** sum(a <= k for a in after) for k in range(passes)]
        return [size for size in sizes for _ in range(samples // batch)]

    verdict = check.growing_batch(as_many)
    assert "the answer is right, but it costs too much" in verdict.sentence
    assert verdict.details["input"].startswith("batch = 4, samples = 8, passes = 2, after = [1]")
    assert (verdict.details["expected"], verdict.details["got"]) == ("3 steps", "4 steps")


def test_a_size_that_is_none_is_a_sentence() -> None:
    verdict = check.growing_batch(lambda batch, samples, passes, after, factor: [0] * passes)
    assert verdict.state == "wrong"
    assert "batch_size must be 1 or more, got 0" in verdict.details["got"]
    for nothing in (lambda *a: [], lambda *a: 8):
        assert check.growing_batch(nothing).state == "wrong"
