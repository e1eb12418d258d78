"""LIBSVM files, good and bad."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import dump_svmlight_file, load_svmlight_file

from ddml_kit.problems import Data, load_libsvm, sparse_logistic


def load(tmp_path: Path, text: str | bytes, **options) -> Data:
    path = tmp_path / "some.svm"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return load_libsvm(path, **options)


def test_a_small_file_by_hand(tmp_path: Path) -> None:
    text = "+1 1:0.5 3:2 # a comment\n\n-1 qid:7 2:-1e-3\n# only a comment\n1\n"
    data = load(tmp_path, text)
    expected = np.array([[0.5, 0, 2], [0, -1e-3, 0], [0, 0, 0]], np.float32)
    np.testing.assert_array_equal(data.x.to_scipy().toarray(), expected)
    assert data.y.tolist() == [1, 0, 1]
    assert data.name == "some.svm"


@pytest.mark.parametrize("zero_based", [False, True])
def test_what_scikit_learn_writes_we_read_as_it_does(tmp_path: Path, zero_based: bool) -> None:
    data = sparse_logistic(40, 25, 6, seed=0)
    file = io.BytesIO()
    dump_svmlight_file(data.x.to_scipy(), data.y, file, zero_based=zero_based)
    ours = load(tmp_path, file.getvalue(), features=25, zero_based=zero_based)
    file.seek(0)
    x, y = load_svmlight_file(file, n_features=25, zero_based=zero_based, dtype=np.float32)
    np.testing.assert_array_equal(ours.x.to_scipy().toarray(), x.toarray())
    np.testing.assert_array_equal(ours.x.values, data.x.values)
    np.testing.assert_array_equal(ours.y, y)
    types = ours.x.values.dtype, ours.x.indices.dtype, ours.x.indptr.dtype, ours.y.dtype
    assert types == (np.float32, np.int32, np.int64, np.int64)


def test_features_widen_what_a_file_shows(tmp_path: Path) -> None:
    assert load(tmp_path, "1 2:1\n").x.shape == (1, 2)
    assert load(tmp_path, "1 2:1\n", features=9).x.shape == (1, 9)
    assert load(tmp_path, "1\n").x.shape == (1, 0)


@pytest.mark.parametrize(
    ("labels", "expected", "kind"),
    [
        ("-1 +1 -1", [0, 1, 0], np.int64),
        ("1 1", [1, 1], np.int64),
        ("-1 -1", [0, 0], np.int64),
        ("3 1 2", [3, 1, 2], np.int64),
        ("-1 0 1", [-1, 0, 1], np.int64),
        ("0.5 2", [0.5, 2], np.float32),
    ],
)
def test_labels(tmp_path: Path, labels: str, expected: list, kind: type) -> None:
    data = load(tmp_path, "".join(f"{label} 1:1\n" for label in labels.split()))
    assert data.y.tolist() == expected
    assert data.y.dtype == kind


@pytest.mark.parametrize(
    ("line", "options", "message"),
    [
        ("1 3", {}, "a feature is index:value, got '3'"),
        ("1 3:", {}, "a value is a finite number, got ''"),
        ("1 3:x", {}, "a value is a finite number, got 'x'"),
        ("1 3:nan", {}, "a value is a finite number, got 'nan'"),
        ("1 3:-inf", {}, "a value is a finite number, got '-inf'"),
        ("1 3:1e39", {}, "a value is a finite number, got '1e39'"),
        ("nan 3:1", {}, "a label is a finite number, got 'nan'"),
        ("1,2 3:1", {}, "a label is a finite number, got '1,2'"),
        ("1 -3:1", {}, "an index is a whole number, got '-3'"),
        ("1 1.5:1", {}, "an index is a whole number, got '1.5'"),
        ("1 0:1", {}, "indices count from 1 unless zero_based=True, got 0"),
        ("1 3:1 2:1", {}, "indices must rise within a line, got 2 after a larger one"),
        ("1 3:1 3:1", {}, "indices must rise within a line, got 3"),
        ("1 6:1", {"features": 5}, "an index must be at most 5, got 6"),
        ("1 5:1", {"features": 5, "zero_based": True}, "an index must be at most 4, got 5"),
        ("1 99999999999:1", {}, "an index must be at most 2147483648, got 99999999999"),
        ("1 " + "7" * 5000 + ":1", {}, "an index is a whole number, got '7777"),
        ("1 \xff\xfe:1", {}, "an index is a whole number"),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, line: str, options: dict, message: str) -> None:
    with pytest.raises(ValueError, match="line 3") as caught:
        load(tmp_path, f"1 1:1\n\n{line}\n".encode("latin-1"), **options)
    assert message in str(caught.value)
    assert str(tmp_path / "some.svm") in str(caught.value)
    assert len(str(caught.value)) < len(str(tmp_path)) + 150


def test_no_samples(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least one sample, got none"):
        load(tmp_path, "# nothing\n")


def test_a_binary_file_gets_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="line 1: a label is a finite number"):
        load(tmp_path, b"\x1f\x8b\x08\0garbage" * 100)
