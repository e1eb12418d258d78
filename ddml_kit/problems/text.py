"""Text as sparse rows, by the hashing trick.

Weinberger, Dasgupta, Langford, Smola & Attenberg, "Feature Hashing for Large Scale Multitask
Learning", ICML 2009, arXiv 0902.2206; without the second hash for signs, so that values stay
counts.
"""

from __future__ import annotations

import re
import zlib
from collections import Counter
from collections.abc import Sequence

import numpy as np

from ddml_kit.problems.csr import Rows

WORD = re.compile(r"[A-Za-z_][A-Za-z_0-9]+")


def words(text: str) -> list[str]:
    """The words of a text in order: two or more letters, digits and underscores; case counts."""
    return WORD.findall(text)


def feature(word: str, features: int) -> int:
    """The column of a word: its CRC-32 modulo `features`. Two words may share one."""
    return zlib.crc32(word.encode()) % features


def counts(text: str, features: int) -> dict[int, int]:
    """How often each column's words occur in the text, by rising column."""
    columns = Counter(feature(word, features) for word in words(text))
    return dict(sorted(columns.items()))


def hashed(texts: Sequence[str], features: int) -> Rows:
    """Each text as a row of `features` columns: the weights of its words' counts."""
    found = [counts(text, features) for text in texts]
    indptr = np.cumsum([0, *map(len, found)], dtype=np.int64)
    columns = np.fromiter((c for row in found for c in row), np.int32, indptr[-1])
    numbers = np.fromiter((n for row in found for n in row.values()), np.int64, indptr[-1])
    return weighted(numbers, columns, indptr, features)


def weighted(numbers: np.ndarray, indices: np.ndarray, indptr: np.ndarray, features: int) -> Rows:
    """Rows of 1 + log(count), scaled so that each row has length 1 (an empty one has 0).

    numbers: (nonzeros,) counts, 1 or more; indices and indptr as in Rows.
    """
    values = 1 + np.log(numbers.astype(np.float64))
    row = np.repeat(np.arange(len(indptr) - 1), np.diff(indptr))
    lengths = np.sqrt(np.bincount(row, weights=values**2, minlength=len(indptr) - 1))
    return Rows((values / lengths[row]).astype(np.float32), indices, indptr, features)
