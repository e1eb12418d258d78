"""What ships with the kit, and how data are split."""

from __future__ import annotations

import hashlib
import sys
import sysconfig
from pathlib import Path

import numpy as np
import pytest

from ddml_kit.datasets import make_digits, make_library_text
from ddml_kit.problems import (
    Data,
    Rows,
    digits,
    library_counts,
    library_snippets,
    library_text,
    sparse_logistic,
)
from ddml_kit.problems.text import feature, hashed, weighted, words

DATASETS = Path(make_digits.__file__).parent
SHA256 = {
    "digits.npz": "b2dab7b501728c22e9119ad76740b2e17c77a231e42d1e592380d90886f1a05e",
    "library_text.npz": "aa6617c8b99246ba1a46297a5074dacd242845699f4a13870c0c1f3702258f01",
    "library_text_words.txt": "ae73dbf92360c32251d6959e8a9dd8d504276c208f41c557847dba667f035973",
}


@pytest.mark.parametrize("name", SHA256)
def test_the_files_are_those_that_were_made(name: str) -> None:
    assert hashlib.sha256((DATASETS / name).read_bytes()).hexdigest() == SHA256[name]


def test_what_ships_is_small() -> None:
    assert sum(path.stat().st_size for path in DATASETS.glob("*") if path.is_file()) < 2e6


def test_digits() -> None:
    data = digits()
    assert (data.x.shape, data.x.dtype, data.y.dtype) == ((1797, 8, 8), np.float32, np.int64)
    assert (data.x.min(), data.x.max()) == (0, 1)
    assert np.bincount(data.y).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    assert data.labels[data.y[3]] == "3"


def test_the_script_makes_the_digits_again() -> None:
    made = make_digits.digits()
    with np.load(DATASETS / "digits.npz", allow_pickle=False) as shipped:
        assert sorted(shipped) == sorted(made)
        for name, array in made.items():
            np.testing.assert_array_equal(shipped[name], array)
            assert shipped[name].dtype == array.dtype


def test_library_text() -> None:
    data = library_text()
    assert isinstance(data.x, Rows)
    assert (data.x.shape, len(data.x.values)) == ((10040, 32768), 332702)
    assert len(data.labels) == 12
    assert np.bincount(data.y).min() >= 500
    assert len(data.titles) == len(data)
    of_asyncio = [
        t for t, y in zip(data.titles, data.y, strict=True) if data.labels[y] == "asyncio"
    ]
    assert {t.split(".")[0] for t in of_asyncio} == set(make_library_text.PARTS["asyncio"])
    squares = np.add.reduceat(data.x.values.astype(float) ** 2, data.x.indptr[:-1])
    np.testing.assert_allclose(squares, 1, rtol=1e-6)
    rising = np.diff(data.x.indices) > 0
    starts = data.x.indptr[1:-1] - 1
    assert np.delete(rising, starts).all()


def test_a_snippet_hashes_to_its_row() -> None:
    data = library_text()
    snippets = library_snippets()
    assert len(snippets) == 36
    for title, source in snippets.items():
        row = hashed([source], data.x.features)[0]
        same = [
            i
            for i, name in enumerate(data.titles)
            if name == title and np.array_equal(data.x[i].indices, row.indices)
        ]
        assert len(same) == 1, title
        np.testing.assert_array_equal(data.x[same[0]].values, row.values)


def test_the_counts_are_those_of_the_text_and_have_words() -> None:
    counts, vocabulary = library_counts()
    x = library_text().x
    np.testing.assert_array_equal(counts.indices, x.indices)
    np.testing.assert_array_equal(counts.indptr, x.indptr)
    again = weighted(counts.values, counts.indices, counts.indptr, counts.features)
    np.testing.assert_array_equal(again.values, x.values)
    assert all(feature(word, 1 << 15) == k for k, word in enumerate(vocabulary) if word)
    has = np.bincount(counts.indices, minlength=counts.features)
    assert all(bool(word) == (n >= 5) for word, n in zip(vocabulary, has, strict=True))
    snippets = " ".join(library_snippets().values())
    assert {"def", "self", "return"} <= set(vocabulary) & set(words(snippets))


@pytest.mark.skipif(
    sys.version_info[:3] != make_library_text.VERSION,
    reason=f"the library text is that of Python {make_library_text.VERSION}",
)
def test_the_script_makes_a_part_of_the_library_text_again(monkeypatch) -> None:
    name = "options and logs"
    data = library_text()
    number = data.labels.index(name)
    monkeypatch.setattr(make_library_text, "PARTS", {name: make_library_text.PARTS[name]})
    arrays, snippets, names = make_library_text.library_text(Path(sysconfig.get_path("stdlib")))
    made = _by_title(arrays["titles"], arrays["lengths"], arrays["indices"], arrays["counts"])
    with np.load(DATASETS / "library_text.npz", allow_pickle=False) as shipped:
        there = _by_title(*(shipped[key] for key in ("titles", "lengths", "indices", "counts")))
    of_this_part = [t for t, y in zip(data.titles, data.y, strict=True) if y == number]
    assert len(of_this_part) == 552
    for title in of_this_part:  # more are made now, which repeat functions of other parts
        assert there[title] <= made[title], title
    assert len(snippets) == 3
    shipped_names = library_counts()[1]
    assert "option" in names
    for name, whole in zip(names, shipped_names, strict=True):
        assert bool(name) <= bool(whole)  # more functions have it in the whole


def _by_title(titles, lengths, indices, counts) -> dict[str, set[tuple]]:
    rows: dict[str, set[tuple]] = {}
    bounds = np.cumsum(lengths, dtype=np.int64)[:-1]
    pieces = zip(np.split(indices, bounds), np.split(counts, bounds), strict=True)
    for title, (columns, numbers) in zip(
        titles.tobytes().decode().split("\n"), pieces, strict=True
    ):
        rows.setdefault(title, set()).add((*columns.tolist(), *numbers.tolist()))
    return rows


def test_words() -> None:
    assert words("def f2(self): return 'a word' # 2x _x") == [
        *("def", "f2", "self", "return", "word", "_x")
    ]


def test_hashing_counts_and_weighs() -> None:
    rows = hashed(["one two two", "", "two"], 1 << 15)
    assert rows.shape == (3, 1 << 15)
    assert np.diff(rows.indptr).tolist() == [2, 0, 1]
    assert rows[2].indices[0] in rows[0].indices
    weight = 1 + np.log(2)
    expected = sorted([1 / np.hypot(1, weight), weight / np.hypot(1, weight)])
    np.testing.assert_allclose(sorted(rows[0].values), expected, rtol=1e-6)


@pytest.mark.parametrize("make", [digits, library_text, lambda: sparse_logistic(50, 9, 3, seed=0)])
def test_a_split_shares_out_every_sample(make) -> None:
    data = make()
    train, test = data.split(test=0.3, seed=1)
    assert len(test) == round(0.3 * len(data))
    assert len(train) + len(test) == len(data)
    np.testing.assert_array_equal(
        np.bincount(train.y) + np.bincount(test.y, minlength=len(np.bincount(train.y))),
        np.bincount(data.y),
    )
    again, _ = data.split(test=0.3, seed=1)
    other, _ = data.split(test=0.3, seed=2)
    np.testing.assert_array_equal(train.y, again.y)
    assert not np.array_equal(train.y, other.y)
    assert (train.name, train.labels) == (data.name, data.labels)


def test_titles_stay_with_their_samples() -> None:
    data = Data(np.arange(10.0), np.arange(10), "numbers", titles=tuple("abcdefghij"))
    for part in data.split(test=0.4):
        assert part.titles == tuple("abcdefghij"[i] for i in part.y)
        np.testing.assert_array_equal(part.x, part.y)


def test_a_split_needs_both_sides() -> None:
    data = Data(np.zeros(4), np.zeros(4), "")
    for share in (0.0, 0.1, 1.0, -1.0):
        with pytest.raises(ValueError, match=f"got test={share} of 4 samples"):
            data.split(test=share)
