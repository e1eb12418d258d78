"""Elias's recursive code against its definition, and levels through all three codings."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ddml_kit.compression import elias
from ddml_kit.compression.kernels import elias as kernels

CODINGS = {name: getattr(elias, name) for name in ("sparse", "dense", "fixed")}
every = pytest.mark.parametrize("coding", CODINGS.values(), ids=CODINGS)


def by_definition(n: int) -> str:
    """Elias 1975: a 0, before it n in binary, before that its length less one, until that is 1."""
    text = "0"
    while n > 1:
        text, n = f"{n:b}{text}", n.bit_length() - 1
    return text


@pytest.mark.parametrize(("n", "text"), [(1, "0"), (2, "100"), (3, "110"), (16, "10100100000")])
def test_the_first_codes_are_those_of_every_table(n: int, text: str) -> None:
    """Of Elias's omega code: 0; 10 0; 11 0; 10 100 10000 0. So that the definition here is his."""
    assert by_definition(n) == text


@given(st.integers(1, 2**32 + 5))
def test_a_code_is_the_definition_s(n: int) -> None:
    word, bits = kernels.code(n)
    assert f"{int(word):0{int(bits)}b}" == by_definition(n)
    assert elias.code_length(n) == len(by_definition(n))


def test_the_dense_code_is_the_codes_one_after_the_other() -> None:
    levels = np.array([0, -1, 0, 3, -40, 0, 1000], np.int16)
    text = "".join(
        by_definition(abs(level) + 1) + ("" if level == 0 else str(int(level < 0)))
        for level in levels.tolist()
    )
    assert as_text(elias.pack_dense(levels, 1000), len(text)) == text


def test_the_sparse_code_is_distance_sign_and_level() -> None:
    levels = np.zeros(500, np.int16)
    levels[[0, 17, 18, 400]] = [1, -2, 3, -900]
    text = "".join(
        by_definition(distance) + sign + by_definition(level)
        for distance, sign, level in [(1, "0", 1), (17, "1", 2), (1, "0", 3), (382, "1", 900)]
    ) + by_definition(100)
    assert as_text(elias.pack_sparse(levels, 900), len(text)) == text


def as_text(data: bytes, bits: int) -> str:
    """The bits, once it is seen that the last byte is filled up with zeros."""
    text = "".join(f"{byte:08b}" for byte in data)
    assert len(text) - bits < 8
    assert set(text[bits:]) <= {"0"}
    return text[:bits]


@every
@given(
    levels=st.lists(st.one_of(st.just(0), st.integers(-3, 3), st.integers(-32767, 32767))),
    more=st.integers(0, 500),
)
@settings(max_examples=60, deadline=None)
def test_levels_come_back(coding: elias.Coding, levels: list[int], more: int) -> None:
    x = np.array(levels, np.int16)
    s = min(max(1, *abs(x.astype(int)), more) if levels else 1, 32767)
    data = coding.pack(x, s)
    np.testing.assert_array_equal(coding.unpack(data, len(x), s), x)


@every
@pytest.mark.parametrize("s", [1, 3, 64, 32767])
def test_many_levels_come_back(coding: elias.Coding, s: int) -> None:
    x = np.random.default_rng(s).integers(-s, s + 1, 10_001).astype(np.int16)
    np.testing.assert_array_equal(coding.unpack(coding.pack(x, s), len(x), s), x)
    x[np.random.default_rng(0).random(len(x)) < 0.99] = 0
    np.testing.assert_array_equal(coding.unpack(coding.pack(x, s), len(x), s), x)


@every
@given(data=st.binary(max_size=40), d=st.integers(0, 60), s=st.sampled_from([1, 5, 32767]))
@settings(max_examples=200, deadline=None)
def test_other_bytes_are_refused_or_some_levels(
    coding: elias.Coding, data: bytes, d: int, s: int
) -> None:
    try:
        levels = coding.unpack(data, d, s)
    except ValueError:
        return
    assert levels.shape == (d,)
    assert abs(levels.astype(int)).max(initial=0) <= s


@every
def test_a_level_above_s_is_refused(coding: elias.Coding) -> None:
    data = coding.pack(np.array([0, 7, 0], np.int16), 7)
    with pytest.raises(ValueError, match="the payload is"):
        coding.unpack(data, 3, 5)
