"""What is right on average, divided by tau: it contracts, and costs the same bytes."""

from __future__ import annotations

import numpy as np
import pytest

from ddml_kit.compression import QSGD, Shrunk
from ddml_kit.compression.rows import rows
from ddml_kit.compression.shrunk import bits, tau_of_qsgd


@pytest.mark.parametrize("levels", [1, 7, 127])
def test_it_contracts_where_qsgd_alone_does_not(levels: int) -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=400)
    plain, tau = QSGD(levels), tau_of_qsgd(levels, 400)
    shrunk = Shrunk(plain, tau)
    lost = {
        codec: np.mean(
            [np.sum((codec.decode(codec.encode(x, rng)) - x) ** 2) for _ in range(50)]
        ) / np.sum(x**2)
        for codec in (plain, shrunk)
    }  # fmt: skip
    assert lost[shrunk] < 1 - 1 / tau + 1e-6
    if levels < 20:  # sqrt(d)
        assert lost[plain] > 1
    same = [codec.encode(x, np.random.default_rng(1)).data for codec in (plain, shrunk)]
    assert same[0] == same[1]


def test_a_tau_below_one_is_refused() -> None:
    with pytest.raises(ValueError, match=r"tau must be 1 or more and finite, got tau=0\.5"):
        Shrunk(QSGD(4), 0.5)
    with pytest.raises(TypeError, match="tau is a number, got '2'"):
        Shrunk(QSGD(4), "2")  # type: ignore[arg-type]


@pytest.mark.parametrize("b", [1, 17])
def test_other_numbers_of_bits_are_refused(b: int) -> None:
    with pytest.raises(ValueError, match=f"a number takes 2 to 16 bits, got b={b}"):
        bits(b, 64)


@pytest.mark.parametrize("b", [2, 4, 8, 16])
def test_each_number_takes_so_many_bits(b: int) -> None:
    x = np.random.default_rng(0).normal(size=64)
    assert bits(b, 64).encode(x, np.random.default_rng(0)).nbytes == 8 * b + 4


def test_a_matrix_is_encoded_row_by_row() -> None:
    X = np.random.default_rng(0).normal(size=(3, 16))
    codec = bits(4, 16)
    one, other = (np.random.default_rng(1) for _ in range(2))
    left = rows(codec, one)(X)
    assert left.dtype == np.float64
    np.testing.assert_array_equal(left, [codec.decode(codec.encode(x, other)) for x in X])
