"""Samples that have been tampered with: what changes, what does not."""

import numpy as np
import pytest

from ddml_kit.attacks import backdoor, corner, label_flip
from ddml_kit.problems import Batch, Rows


def batch(b=40, side=4, flat=True):
    rng = np.random.default_rng(0)
    x = rng.random((b, side * side) if flat else (b, 1, side, side)).astype(np.float32)
    return Batch(x, rng.integers(0, 10, b))


def rng():
    return np.random.default_rng(1)


def test_label_flip_turns_labels_round_and_leaves_samples_alone():
    before = batch()
    after = label_flip(10)(before, rng())
    np.testing.assert_array_equal(after.y, 9 - before.y)
    assert after.x is before.x
    assert after.y.dtype == before.y.dtype
    again = label_flip(10)(after, rng())
    np.testing.assert_array_equal(again.y, before.y)


def test_label_flip_refuses_labels_that_are_no_classes():
    with pytest.raises(ValueError, match="label_flip needs 2 classes or more, got 1"):
        label_flip(1)
    with pytest.raises(ValueError, match="label_flip needs labels from 0 to 2, got 0 to 9"):
        label_flip(3)(batch(), rng())


def test_a_backdoor_stamps_a_share_and_labels_all_of_it():
    before = batch(400)
    x, y = before.x.copy(), before.y.copy()
    after = backdoor(7, share=0.25)(before, rng())
    stamped = (after.x.reshape(-1, 4, 4)[:, 2:, 2:] == 1).all(axis=(1, 2))
    assert stamped.mean() == pytest.approx(0.25, abs=0.05)
    assert (after.y[stamped] == 7).all()
    np.testing.assert_array_equal(after.y[~stamped], y[~stamped])
    np.testing.assert_array_equal(after.x[~stamped], x[~stamped])
    np.testing.assert_array_equal(before.x, x)
    np.testing.assert_array_equal(before.y, y)


def test_a_backdoor_of_nobody_and_of_all():
    for share in (0.0, 1.0):
        after = backdoor(3, share)(batch(), rng())
        assert (after.y == 3).all() == (share == 1.0)
    for words, wrong in (
        ("share from 0 to 1, got 1.5", {"share": 1.5}),
        ("share from 0 to 1, got nan", {"share": np.nan}),
        ("target class of 0 or more, got -1", {"target": -1}),
    ):
        with pytest.raises(ValueError, match=words):
            backdoor(**wrong)


def test_a_trigger_is_the_same_on_flat_images_and_on_whole_ones():
    flat, whole = batch(), batch(flat=False)
    stamp = corner(3, value=0.5)
    np.testing.assert_array_equal(
        stamp(flat.x).reshape(-1, 1, 4, 4), stamp(flat.x.reshape(-1, 1, 4, 4))
    )
    stamped = stamp(whole.x)
    assert (stamped[..., 1:, 1:] == 0.5).all()
    np.testing.assert_array_equal(stamped[..., 0, :], whole.x[..., 0, :])
    np.testing.assert_array_equal(stamp(stamped), stamped)
    assert not (whole.x[..., 1:, 1:] == 0.5).any()


def test_a_trigger_refuses_what_is_no_image():
    with pytest.raises(ValueError, match="a trigger needs a size of 1 pixel or more, got 0"):
        corner(0)
    with pytest.raises(ValueError, match="a trigger needs square images, got 5 pixels"):
        corner()(np.zeros((2, 5)))
    with pytest.raises(ValueError, match=r"of size 5 needs images that large, got \(2, 16\)"):
        corner(5)(np.zeros((2, 16)))
    with pytest.raises(ValueError, match=r"of size 2 needs images that large, got \(4,\)"):
        corner()(np.zeros(4))
    sparse = Rows(np.ones(2), np.array([0, 1], np.int32), np.array([0, 1, 2]), 4)
    with pytest.raises(TypeError, match="backdoor stamps images in an array, got Rows"):
        backdoor()(Batch(sparse, np.zeros(2, int)), rng())
