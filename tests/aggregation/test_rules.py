"""What all rules share: the caller's kind of vector, bad input, lies that are plain, any order."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from ddml_kit.aggregation import (
    BOUNDS,
    bulyan,
    centred_clipping,
    geometric_median,
    krum,
    mean,
    median,
    multi_krum,
    norm_clipping,
    smallest_n,
    trimmed_mean,
)

RULES = {
    "mean": mean,
    "median": median,
    "trimmed_mean": trimmed_mean,
    "krum": krum,
    "multi_krum": multi_krum,
    "bulyan": bulyan,
    "geometric_median": geometric_median,
    "centred_clipping": partial(centred_clipping, radius=2.0, steps=3),
    "norm_clipping": partial(norm_clipping, radius=2.0),
}
names = pytest.mark.parametrize("name", RULES)
liars = pytest.mark.parametrize("lie", [np.nan, np.inf, -np.inf])


def normal(n, d, dtype=np.float64, seed=0):
    return np.random.default_rng(seed).standard_normal((n, d)).astype(dtype)


def enough(name, f):
    return BOUNDS[name].least(f)


# ------------------------------------------------------------------------------------- kinds


@names
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_tensor_gives_a_tensor_with_the_bits_that_an_array_gives(name, dtype):
    x = normal(11, 700, dtype)
    before = x.copy()
    of_array, of_tensor = RULES[name](x, 2), RULES[name](torch.from_numpy(x), 2)
    assert of_array.dtype == dtype
    assert of_array.shape == (700,)
    assert of_tensor.dtype == torch.from_numpy(x).dtype
    np.testing.assert_array_equal(of_array, of_tensor.numpy())
    np.testing.assert_array_equal(x, before)
    of_array += 1  # the caller's own: what was given stays as it is
    of_tensor += 1
    np.testing.assert_array_equal(x, before)


@names
def test_half_precision_is_computed_in_float32_and_given_back_as_it_came(name):
    x = normal(11, 50, np.float16)
    wanted = RULES[name](x.astype(np.float32), 2)
    assert RULES[name](x, 2).dtype == np.float16
    np.testing.assert_array_equal(RULES[name](x, 2), wanted.astype(np.float16))
    halves = torch.from_numpy(x).to(torch.bfloat16).requires_grad_()
    assert RULES[name](halves, 2).dtype == torch.bfloat16
    assert not RULES[name](halves, 2).requires_grad


@names
def test_a_list_of_vectors_or_strided_rows_are_as_good_as_an_array(name):
    x = normal(11, 40)
    wanted = RULES[name](x, 2)
    np.testing.assert_array_equal(RULES[name](list(x), 2), wanted)
    np.testing.assert_array_equal(RULES[name](list(torch.from_numpy(x)), 2).numpy(), wanted)
    np.testing.assert_array_equal(RULES[name](np.asfortranarray(x), 2), wanted)


@names
@pytest.mark.parametrize("d", [1, 3, 127, 128, 129, 511, 513, 1030])
def test_gradients_that_agree_are_the_answer(name, d):
    one = np.linspace(-0.01, 0.01, d)
    rule = RULES[name] if name != "centred_clipping" else partial(centred_clipping, radius=1e3)
    np.testing.assert_allclose(rule(np.tile(one, (11, 1)), 2), one, rtol=1e-14)


# --------------------------------------------------------------------------------- any order


@names
@given(
    x=arrays.arrays(np.float32, (11, 3), elements=st.integers(-3, 3).map(float)),
    order=st.permutations(range(11)),
)
def test_the_order_of_the_gradients_does_not_matter(name, x, order):
    wanted = RULES[name](x, 2)
    got = RULES[name](x[list(order)], 2)
    if name in ("median", "trimmed_mean", "krum"):
        np.testing.assert_array_equal(got, wanted)
    elif name != "geometric_median":  # which is one of many where gradients lie on a line
        np.testing.assert_allclose(got, wanted, atol=1e-6)


# --------------------------------------------------------------------------------- bad input


@names
@pytest.mark.parametrize("f", [0, 1, 2, 3])
def test_too_few_gradients_are_refused_and_just_enough_are_not(name, f):
    n = enough(name, f)
    assert np.isfinite(RULES[name](normal(n, 4), f)).all()
    if n > 1:
        with pytest.raises(ValueError, match=rf"^{name} needs n >= .*, got n={n - 1} with f={f}$"):
            RULES[name](normal(n - 1, 4), f)


def test_the_sentence_names_rule_and_value():
    with pytest.raises(ValueError, match=r"^krum needs n >= 2f \+ 3 gradients, got n=4 with f=1$"):
        krum(normal(4, 2), 1)


@names
def test_f_is_a_whole_number_of_liars(name):
    with pytest.raises(ValueError, match=r"^f must be 0 or more, got -1$"):
        RULES[name](normal(11, 4), -1)
    for f in (1.0, True, None):
        with pytest.raises(TypeError, match="f must be a whole number, got"):
            RULES[name](normal(11, 4), f)
    RULES[name](normal(11, 4), np.int64(1))


@names
def test_gradients_must_be_vectors_of_one_length(name):
    rule = RULES[name]
    with pytest.raises(ValueError, match=r"gradients must be of one length, got \[3, 4\]"):
        rule([np.zeros(3)] * 10 + [np.zeros(4)], 1)
    with pytest.raises(ValueError, match="got none"):
        rule([], 0)
    for shape in ((11, 0), (0, 4), (11,), (11, 2, 2)):
        with pytest.raises(ValueError, match=r"gradients must have shape \(n, d\)"):
            rule(np.zeros(shape), 1)
    for wrong in (np.zeros((11, 2), int), torch.zeros((11, 2), dtype=torch.int32)):
        with pytest.raises(TypeError, match="floating-point numbers, got"):
            rule(wrong, 1)
    with pytest.raises(TypeError, match="arrays or tensors, got str"):
        rule("abc", 0)


# --------------------------------------------------------------------------------- plain lies


@names
@liars
@pytest.mark.parametrize("place", [0, 5, 10])
@pytest.mark.parametrize("d", [1, 40, 1500])
def test_one_that_is_not_finite_is_left_out_and_counted_as_a_liar(name, lie, place, d):
    x = normal(11, d, np.float32)
    x[place, d // 3] = lie
    wanted = RULES[name](np.delete(x, place, axis=0), 1)
    np.testing.assert_array_equal(RULES[name](x, 2), wanted)


@names
@liars
def test_more_of_them_than_f_are_refused(name, lie):
    x = normal(11, 40)
    x[[1, 7, 9], [3, 3, 20]] = lie
    with pytest.raises(
        ValueError, match="at most f gradients may lie, got 3 that are not finite with f=2"
    ):
        RULES[name](x, 2)


@names
def test_a_liar_of_the_greatest_finite_number_spoils_nothing_but_the_mean(name):
    x = normal(11, 40, np.float32)
    x[:2] = np.finfo(np.float32).max
    got = RULES[name](x, 2)
    assert np.isfinite(got).all()
    assert (np.abs(got).max() > 1e37) == (name == "mean")


@pytest.mark.parametrize(("rule", "same"), [(krum, 50), (multi_krum, 50), (bulyan, 0)])
def test_to_krum_it_is_infinitely_far_and_to_bulyan_it_is_not_there(rule, same):
    alike = 0
    for seed in range(50):
        x = normal(11, 3, seed=seed)
        far = x.copy()
        x[4], far[4] = np.nan, 1e30
        alike += np.array_equal(rule(x, 2), rule(far, 2))
    assert alike == same


# ------------------------------------------------------------------------------------- bounds


def test_the_table_has_every_rule_with_its_source():
    assert list(BOUNDS) == list(RULES)
    for bound in BOUNDS.values():
        assert bound.source
        assert bound.needs.startswith("n >= ")


@pytest.mark.parametrize(
    ("rule", "fewest"),
    [
        ("mean", [1, None, None]),
        ("median", [1, 3, 5]),
        ("trimmed_mean", [1, 3, 5]),
        ("krum", [3, 5, 7]),
        ("multi_krum", [3, 5, 7]),
        ("bulyan", [3, 7, 11]),
        ("geometric_median", [1, 3, 5]),
        ("centred_clipping", [1, 10, 20]),
        ("norm_clipping", [1, None, None]),
    ],
)
def test_the_fewest_gradients_that_are_proved_to_be_enough(rule, fewest):
    assert [smallest_n(rule, f) for f in range(3)] == fewest
    for f, n in enumerate(fewest):
        assert n is None or n >= enough(rule, f), "what is proved is not refused"


@pytest.mark.parametrize("name", [name for name in RULES if name not in ("mean", "norm_clipping")])
@pytest.mark.parametrize("f", [1, 2, 3])
def test_at_its_bound_a_rule_stays_near_the_honest_wherever_liars_agree_to_be(name, f):
    n = enough(name, f)
    rule = (
        RULES[name]
        if name != "centred_clipping"
        else partial(centred_clipping, radius=2.0, steps=50)
    )
    for distance in (10, 1e3, 1e6):
        x = normal(n, 20) / np.sqrt(20)
        x[n - f :] = distance
        assert np.linalg.norm(rule(x, f)) < 10
    with_a_majority = normal(n, 20)
    with_a_majority[: n // 2 + 1] = 1e6
    assert np.linalg.norm(rule(with_a_majority, f)) > 10
