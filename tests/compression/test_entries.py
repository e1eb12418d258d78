"""Some entries: the largest, random ones, those above a threshold; and where they are."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from ddml_kit.compression import Payload, RandomK, Threshold, TopK, bits, entries
from ddml_kit.compression.random_k import random_entries
from ddml_kit.compression.top_k import SAMPLE, largest

PLACES = {"whole": entries.whole, "gaps": entries.gaps}
both = pytest.mark.parametrize("places", PLACES.values(), ids=PLACES)


def by_sorting(x: np.ndarray, k: int) -> np.ndarray:
    return np.sort(np.argsort(-abs(x), kind="stable")[:k])


def test_the_top_thousandth_of_a_million_is_615_times_smaller() -> None:
    x = np.random.default_rng(0).normal(size=1_000_000).astype(np.float32)
    payload = TopK(0.001).encode(x)
    assert payload.nbytes == 1000 * (32 + 20) / 8
    assert x.nbytes / payload.nbytes == pytest.approx(615.4, abs=0.05)
    in_gaps = TopK(0.001, entries.gaps).encode(x)
    assert x.nbytes / in_gaps.nbytes == pytest.approx(735, abs=3)
    kept = TopK(0.001).decode(payload)
    np.testing.assert_array_equal(kept, TopK(0.001, entries.gaps).decode(in_gaps))
    np.testing.assert_array_equal(np.flatnonzero(kept), by_sorting(x, 1000))


@given(
    x=hnp.arrays(np.float32, st.integers(1, 60), elements=st.sampled_from([0, 1, -1, 2, -2, 0.5])),
    share=st.floats(0, 1),
)
def test_of_equals_the_lowest_index_is_kept(x: np.ndarray, share: float) -> None:
    k = max(1, round(share * len(x)))
    np.testing.assert_array_equal(largest(x, k), by_sorting(x, k))


LONG = 4 * SAMPLE + 37


@pytest.mark.parametrize("k", [1, 2, 500, LONG // 100, LONG // 9, LONG // 2, LONG])
@pytest.mark.parametrize(
    "make",
    [
        lambda rng: rng.normal(size=LONG),
        lambda rng: rng.integers(-5, 6, LONG),  # many equals
        lambda rng: np.ones(LONG),
        lambda rng: np.where(np.arange(LONG) % (LONG // SAMPLE), 1.0, 9.0),  # misleads the sample
        lambda rng: np.where(np.arange(LONG) % (LONG // SAMPLE), rng.random(LONG), 0),
        lambda rng: np.where(np.arange(LONG) == LONG - 1, 1.0, 0),
        lambda rng: np.sort(rng.normal(size=LONG)),
    ],
)
def test_the_largest_are_exact_however_the_sample_falls(make, k: int) -> None:
    x = make(np.random.default_rng(0)).astype(np.float32)
    np.testing.assert_array_equal(largest(x, k), by_sorting(x, k))


@given(x=hnp.arrays(np.float32, 50, elements=st.floats(-1e6, 1e6, width=32)), k=st.integers(1, 50))
@settings(deadline=None)
def test_top_k_contracts_by_1_less_k_over_d(x: np.ndarray, k: int) -> None:
    lost = x - TopK(k).decode(TopK(k).encode(x))
    square = np.square(x, dtype=float).sum()
    assert np.square(lost, dtype=float).sum() <= (1 - k / 50) * square + 1e-9 * square


def test_random_k_contracts_so_on_average_and_unbiased_is_right_on_average() -> None:
    x, rng = np.random.default_rng(0).normal(size=50), np.random.default_rng(1)
    plain, unbiased = RandomK(10), RandomK(10, unbiased=True)
    kept = np.array([plain.decode(plain.encode(x, rng)) for _ in range(4000)], float)
    lost = np.square(x - kept).sum(1).mean()
    assert lost == pytest.approx((1 - 10 / 50) * np.square(x).sum(), rel=0.02)
    found = np.array([unbiased.decode(unbiased.encode(x, rng)) for _ in range(4000)], float)
    assert (abs(found.mean(0) - x) < 5 * 2 * abs(x) / np.sqrt(4000) + 1e-6).all()


def test_of_random_entries_the_seed_travels() -> None:
    x = np.random.default_rng(0).normal(size=1000)
    payload = RandomK(0.05).encode(x, np.random.default_rng(1))
    assert payload.nbytes == 8 + 50 * 4
    kept = RandomK(0.05).decode(payload)
    where = np.flatnonzero(kept)
    seed = int(np.frombuffer(payload.data, "<u8", 1)[0])
    assert sorted(random_entries(seed, 1000, 50)) == where.tolist()
    np.testing.assert_array_equal(kept[where], x[where].astype(np.float32))
    other = RandomK(0.05).encode(x, np.random.default_rng(2))
    assert other.data[:8] != payload.data[:8]


@pytest.mark.parametrize("codec", [TopK, RandomK])
def test_k_is_a_count_or_a_fraction(codec) -> None:
    rng = np.random.default_rng(0)
    x = np.arange(1.0, 201.0)
    for k, many in [(1, 1), (200, 200), (1.0, 200), (0.29, 58), (0.001, 1), (np.int64(7), 7)]:
        assert np.count_nonzero(codec(k).decode(codec(k).encode(x, rng))) == many
    for k in (0, -3):
        with pytest.raises(ValueError, match=f"k as a count is at least 1, got k={k}"):
            codec(k)
    for k in (0.0, 1.5, float("nan")):
        with pytest.raises(ValueError, match=f"above 0 and at most at 1, got k={k}"):
            codec(k)
    for k in (True, "3", None):
        with pytest.raises(TypeError, match=r"k is a count \(int\) or a fraction \(float\)"):
            codec(k)
    with pytest.raises(ValueError, match="at most the length of the vector, got k=201 with d=200"):
        codec(201).encode(x, rng)


@given(
    x=hnp.arrays(np.float32, st.integers(0, 60), elements=st.floats(-2, 2, width=32)),
    tau=st.floats(0, 2.5),
)
@settings(deadline=None)
def test_a_threshold_keeps_what_reaches_it(x: np.ndarray, tau: float) -> None:
    kept = Threshold(tau).decode(Threshold(tau).encode(x))
    np.testing.assert_array_equal(kept, np.where(abs(x.astype(float)) >= tau, x, 0))


def test_the_bytes_of_a_threshold_follow_the_vector() -> None:
    x = np.zeros(1000)
    assert Threshold(1.0).encode(x).nbytes == 4
    x[:8] = 2
    assert Threshold(1.0).encode(x).nbytes == 4 + 8 * 4 + 10
    for tau in (-1.0, np.inf, np.nan):
        with pytest.raises(ValueError, match=f"0 or more and finite, got tau={tau}"):
            Threshold(tau)
    with pytest.raises(ValueError, match="3 entries can't be 255"):
        Threshold(1.0).decode(Payload(b"\xff\0\0\0" + bytes(9), 3))


@both
@given(data=st.data(), d=st.one_of(st.integers(1, 50), st.integers(1, 2**32 - 1)))
@settings(deadline=None)
def test_indices_come_back(places: entries.Places, data: st.DataObject, d: int) -> None:
    some = data.draw(st.sets(st.integers(0, d - 1), max_size=50))
    indices = np.array(sorted(some), np.uint32)
    packed = places.pack(indices, d)
    np.testing.assert_array_equal(places.unpack(packed, len(indices), d), indices)
    if len(indices) and len(packed):
        with pytest.raises(ValueError, match="truncated"):
            places.unpack(packed[:-1], len(indices), d)


def test_an_index_beyond_the_vector_is_refused() -> None:
    values = np.ones(1, "<f4").tobytes()
    with pytest.raises(ValueError, match="have indices below that, got a larger one"):
        TopK(1).decode(Payload(values + b"\x07", 6))


@given(data=st.data(), width=st.integers(1, 32))
def test_numbers_of_any_width_come_back(data: st.DataObject, width: int) -> None:
    numbers = data.draw(
        hnp.arrays(np.uint32, st.integers(0, 70), elements=st.integers(0, 2**width - 1))
    )
    packed = bits.pack(numbers, width)
    assert len(packed) == -(-len(numbers) * width // 8)
    whole = sum(int(number) << i * width for i, number in enumerate(numbers))
    assert int.from_bytes(packed, "little") == whole
    np.testing.assert_array_equal(bits.unpack(packed, len(numbers), width), numbers)


def test_the_fewest_bits() -> None:
    assert [bits.width(n) for n in (1, 2, 3, 4, 5, 256, 257, 1_000_000)] == [
        0,
        1,
        2,
        2,
        3,
        8,
        9,
        20,
    ]
