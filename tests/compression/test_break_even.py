"""When compression pays: bytes as a cluster counts them, and the bandwidth of no gain."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ddml_kit.cluster import Simulated
from ddml_kit.compression import Sign
from ddml_kit.compression.break_even import Coding, break_even, exchange, gathered, summed, timed

bytes_ = st.floats(1, 1e9)


@pytest.mark.parametrize("n", [1, 2, 3, 8])
def test_bytes_are_those_that_a_cluster_counts(n: int) -> None:
    x = np.zeros(240, np.float32)
    added = Simulated(n).run(lambda comm: comm.all_reduce(x))
    assert added.trace.bytes_by_rank(n).tolist() == [summed(x.nbytes, n)] * n
    payload = Sign().encode(x)
    heard = Simulated(n).run(lambda comm: comm.all_gather(payload))
    assert heard.trace.bytes_by_rank(n).tolist() == [gathered(payload.nbytes, n)] * n


@given(nbytes=bytes_, n=st.integers(2, 500), ratio=st.floats(1.5, 100))
def test_gathering_costs_more_from_twice_as_many_workers_as_bytes_are_saved(
    nbytes: float, n: int, ratio: float
) -> None:
    if abs(n - 2 * ratio) > 1e-6 * n:
        assert (gathered(nbytes / ratio, n) > summed(nbytes, n)) == (n > 2 * ratio)


@given(before=bytes_, share=st.floats(0, 0.99), seconds=st.floats(1e-6, 10))
def test_at_the_break_even_bandwidth_both_take_as_long(
    before: float, share: float, seconds: float
) -> None:
    after = share * before
    bandwidth = break_even(before, after, seconds)
    assert math.isclose(before / bandwidth, after / bandwidth + seconds, rel_tol=1e-9)


def test_an_exchange_takes_as_long_as_no_compression_at_the_break_even_bandwidth() -> None:
    made, n, everything = Coding(125_000, 3e-4, 2e-4), 8, 4_000_000
    before, after = summed(everything, n), gathered(made.nbytes, n)
    bandwidth = break_even(before, after, made.encode + n * made.decode)
    assert math.isclose(exchange(made, n, bandwidth), before / bandwidth)
    assert exchange(made, n, 0.9 * bandwidth) < before / (0.9 * bandwidth)
    assert exchange(made, n, 1.1 * bandwidth) > before / (1.1 * bandwidth)


def test_what_never_pays_and_what_always_does() -> None:
    assert break_even(100, 100, 1e-3) == break_even(100, 120, 0) == 0
    assert break_even(100, 50, 0) == math.inf


def test_a_codec_is_timed_here() -> None:
    made = timed(Sign(), np.ones(1000, np.float32), repeats=3)
    assert made.nbytes == 129
    assert made.encode > 0
    assert made.decode > 0


def test_refusals() -> None:
    with pytest.raises(ValueError, match="1 worker or more, got n=0"):
        summed(10, 0)
    with pytest.raises(ValueError, match="1 worker or more, got n=0"):
        gathered(10, 0)
    with pytest.raises(ValueError, match="of 0 or more, got -1, 1, 1"):
        break_even(-1, 1, 1)
    with pytest.raises(ValueError, match="0 or more, got 1, 1, nan"):
        break_even(1, 1, math.nan)
    with pytest.raises(ValueError, match="1 repeat or more, got 0"):
        timed(Sign(), np.ones(3, np.float32), repeats=0)
