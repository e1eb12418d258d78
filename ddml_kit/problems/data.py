"""Data sets: inputs, labels and a name; and those that ship with the kit."""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib.resources import files

import numpy as np

from ddml_kit.problems.csr import Rows
from ddml_kit.problems.text import weighted

DATASETS = files("ddml_kit.datasets")


@dataclass(frozen=True, eq=False)
class Data:
    """Samples and their labels.

    x: (n, ...) float32, or Rows. y: (n,) int64, classes counted from 0; or numbers, float32.
    labels: what the classes are called, in order. titles: (n,) text, what each sample is called;
    both may be empty.
    """

    x: np.ndarray | Rows
    y: np.ndarray
    name: str
    labels: tuple[str, ...] = ()
    titles: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.y)

    def __repr__(self) -> str:
        classes = f", {len(self.labels)} classes" if self.labels else ""
        return f"<Data: {self.name}, {len(self)} samples{classes}>"

    def take(self, order: np.ndarray) -> Data:
        """The samples of these numbers, in this order, copied."""
        titles = tuple(self.titles[i] for i in order) if self.titles else ()
        return Data(self.x[order], self.y[order], self.name, self.labels, titles)

    def split(self, test: float = 0.2, seed: int = 0) -> tuple[Data, Data]:
        """(train, test), two data sets drawn at random, the second with the share `test`.

        Both come in random order, so that neighbours in memory are unrelated.
        """
        held_out = round(test * len(self))
        if not 1 <= held_out < len(self):
            raise ValueError(
                f"a split needs a sample on either side, got test={test} of {len(self)} samples"
            )
        order = np.random.default_rng(seed).permutation(len(self))
        return self.take(order[held_out:]), self.take(order[:held_out])


def digits() -> Data:
    """1,797 handwritten digits, (1797, 8, 8) from 0 to 1, with the digit that each shows.

    Alpaydin & Kaynak, "Optical Recognition of Handwritten Digits", UCI, 1998 (its test part).
    """
    arrays = _shipped("digits.npz")
    x = arrays["images"].astype(np.float32) / np.float32(16)
    return Data(x, arrays["labels"].astype(np.int64), "digits", tuple("0123456789"))


def library_text() -> Data:
    """10,040 functions of Python's standard library as word counts, (10040, 32768) Rows.

    The label is the part of the library that a function is from, one of 12; the title is its
    full name. Rows are `problems.text.hashed` of the function's source.
    """
    arrays = _shipped("library_text.npz")
    x = weighted(arrays["counts"], *_layout(arrays))
    return Data(
        x,
        arrays["labels"].astype(np.int64),
        "library text",
        tuple(arrays["parts"].tobytes().decode().split("\n")),
        tuple(arrays["titles"].tobytes().decode().split("\n")),
    )


def library_counts() -> tuple[Rows, tuple[str, ...]]:
    """How often each function of `library_text` has each word, and the words.

    The counts, (10040, 32768) Rows of whole numbers, in the same order; a column's word, (32768,)
    text. Of words that share a column it is the one that most functions have; "" for a column
    that fewer than 5 of them have.
    """
    arrays = _shipped("library_text.npz")
    text = (DATASETS / "library_text_words.txt").read_text(encoding="utf-8")
    counts = Rows(arrays["counts"].astype(np.float32), *_layout(arrays))
    return counts, tuple(text.split("\n"))


def _layout(arrays: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray, int]:
    """The indices, indptr and columns of `library_text`, as in Rows."""
    indptr = np.zeros(len(arrays["lengths"]) + 1, np.int64)
    np.cumsum(arrays["lengths"], out=indptr[1:])
    return arrays["indices"].astype(np.int32), indptr, int(arrays["features"])


def library_snippets() -> dict[str, str]:
    """The source of some of `library_text`'s functions, three a part, by title."""
    text = (DATASETS / "library_text_snippets.json").read_text(encoding="utf-8")
    return {snippet["title"]: snippet["source"] for snippet in json.loads(text)}


def _shipped(name: str) -> dict[str, np.ndarray]:
    with (DATASETS / name).open("rb") as file, np.load(file, allow_pickle=False) as arrays:
        return dict(arrays)
