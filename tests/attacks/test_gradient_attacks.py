"""What liars send: shapes, and the formula of each paper."""

from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm

from ddml_kit.attacks import (
    gaussian,
    inner_product,
    little_is_enough,
    mimic,
    most_deviations,
    nan,
    sign_flip,
    zero,
)

ALL = [gaussian, inner_product, little_is_enough, mimic, nan, sign_flip, zero]
COPIES = [inner_product, little_is_enough, mimic, nan, zero]  # all attackers send the same


def honest(n=7, d=5, seed=0, dtype=np.float64):
    return np.random.default_rng(seed).standard_normal((n, d)).astype(dtype)


def rng():
    return np.random.default_rng(1)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("a", [0, 1, 4, 7])
@pytest.mark.parametrize("attack", ALL)
def test_a_row_for_each_attacker_of_the_dtype_of_the_honest_who_stay_as_they_are(attack, a, dtype):
    seen = honest(dtype=dtype)
    before = seen.copy()
    lies = attack(seen, a, rng())
    assert lies.shape == (a, 5)
    assert lies.dtype == dtype
    np.testing.assert_array_equal(seen, before)
    if attack in COPIES and a:
        np.testing.assert_array_equal(lies, np.tile(lies[0], (a, 1)))
    if a:
        lies[:] = 0  # they are the attackers' own
        np.testing.assert_array_equal(seen, before)


@pytest.mark.parametrize("attack", ALL)
def test_bad_numbers_are_named(attack):
    name = attack.__name__
    with pytest.raises(ValueError, match=f"{name} needs 0 attackers or more, got -1"):
        attack(honest(), -1, rng())
    with pytest.raises(ValueError, match=rf"{name} needs honest gradients .*got shape \(0, 5\)"):
        attack(honest(0), 2, rng())
    with pytest.raises(ValueError, match=rf"{name} needs honest gradients .*got shape \(7,\)"):
        attack(honest()[:, 0], 2, rng())


def test_settings_out_of_bounds_are_named():
    for attack, words in (
        (partial(gaussian, deviation=-1.0), "deviation must be 0 or more, got -1.0"),
        (partial(sign_flip, scale=np.nan), "scale must be 0 or more, got nan"),
        (partial(inner_product, epsilon=-0.1), "epsilon must be 0 or more, got -0.1"),
        (partial(mimic, worker=7), "mimic needs a worker from 0 to 6, got 7"),
        (partial(mimic, worker=-1), "mimic needs a worker from 0 to 6, got -1"),
    ):
        with pytest.raises(ValueError, match=words):
            attack(honest(), 2, rng())


def test_gaussian_is_noise_of_its_deviation_and_of_its_generator():
    lies = gaussian(honest(d=20_000), 3, rng(), deviation=200.0)
    assert abs(lies.mean()) < 3
    assert lies.std() == pytest.approx(200, rel=0.02)
    assert not np.array_equal(lies[0], lies[1])
    np.testing.assert_array_equal(lies, gaussian(honest(1, 20_000), 3, rng()))


def test_sign_flip_turns_honest_gradients_round():
    seen = honest(3)
    np.testing.assert_array_equal(sign_flip(seen, 4, rng(), scale=2.0), -2 * seen[[0, 1, 2, 0]])


@given(st.integers(1, 12), st.integers(1, 5), st.floats(0, 10))
def test_inner_product_points_against_the_mean(n, a, epsilon):
    seen = honest(n, seed=n)
    lies = inner_product(seen, a, rng(), epsilon=epsilon)
    np.testing.assert_allclose(lies[0], -epsilon * seen.mean(axis=0), atol=1e-12)
    all_mean = np.concatenate([seen, lies]).mean(axis=0)
    # The mean of all turns round exactly where the lies outweigh the honest.
    sign = n - a * epsilon
    np.testing.assert_allclose(all_mean * (n + a), sign * seen.mean(axis=0), atol=1e-9)


@given(st.integers(2, 60), st.data())
def test_z_is_that_of_the_paper(n, data):
    a = data.draw(st.integers(1, n // 2))
    supporters = np.floor(n / 2 + 1) - a
    expected = max(0.0, norm.ppf((n - a - supporters) / (n - a)))
    assert most_deviations(n, a) == pytest.approx(expected, abs=1e-9)


def test_z_at_known_places():
    assert most_deviations(11, 4) == pytest.approx(norm.ppf(5 / 7))
    assert most_deviations(50, 24) == pytest.approx(norm.ppf(24 / 26))
    assert most_deviations(11, 1) == 0.0  # half of the honest are further out as it is
    with pytest.raises(ValueError, match=r"0 < a <= n/2 attackers to choose z, got a=6 of n=11"):
        most_deviations(11, 6)


def test_a_little_is_the_mean_less_z_deviations_of_each_coordinate():
    seen = honest(7, 3)
    np.testing.assert_allclose(
        little_is_enough(seen, 4, rng())[2], seen.mean(0) - norm.ppf(5 / 7) * seen.std(0)
    )
    np.testing.assert_allclose(
        little_is_enough(seen, 9, rng(), z=1.5)[0], seen.mean(0) - 1.5 * seen.std(0)
    )
    with pytest.raises(ValueError, match="got a=9 of n=16"):
        little_is_enough(seen, 9, rng())


def test_a_little_finds_its_supporters_among_the_honest():
    seen = honest(7, 4000)
    lie = little_is_enough(seen, 4, rng())[0]
    further = (seen < lie).sum(axis=0)  # on the same side, and worse
    assert further.mean() == pytest.approx(2, abs=0.2)  # with 4 liars, 6 of 11


def test_mimic_copies_whom_it_is_told_or_the_one_furthest_out():
    seen = honest(7, 6) * 0.1
    seen[5] += 3
    np.testing.assert_array_equal(mimic(seen, 2, rng()), seen[[5, 5]])
    np.testing.assert_array_equal(mimic(seen, 2, rng(), worker=3), seen[[3, 3]])
    np.testing.assert_array_equal(mimic(seen[:1], 2, rng()), seen[[0, 0]])
    same = np.ones((4, 3))
    np.testing.assert_array_equal(mimic(same, 1, rng()), same[:1])


@given(st.integers(2, 8), st.integers(1, 6), st.integers(0, 100))
def test_mimic_looks_along_the_direction_of_most_variance(n, d, seed):
    seen = honest(n, d, seed)
    centred = seen - seen.mean(axis=0)
    direction = np.linalg.svd(centred)[2][0]
    along = np.abs(centred @ direction)
    copied = mimic(seen, 1, rng())[0]
    [chosen] = np.flatnonzero((seen == copied).all(axis=1))
    assert along[chosen] == pytest.approx(along.max(), rel=1e-6, abs=1e-9)
