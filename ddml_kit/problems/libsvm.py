"""The LIBSVM format: a sample a line, `label index:value index:value ...`.

Chang & Lin, "LIBSVM: A Library for Support Vector Machines", ACM TIST 2(3), 2011. RCV1, news20,
webspam and many others are kept in it.
"""

from __future__ import annotations

import math
from array import array
from pathlib import Path

import numpy as np

from ddml_kit.problems.csr import Rows
from ddml_kit.problems.data import Data

LARGEST = 2**31 - 1  # index, counted from 0
LARGEST_VALUE = float(np.finfo(np.float32).max)
MOST_DIGITS = 18


def load_libsvm(path: str | Path, *, features: int | None = None, zero_based: bool = False) -> Data:
    """The samples of a LIBSVM file, as Rows of float32.

    features: the number of columns; by default as many as occur, which may differ between the
    training and the test file of one set. zero_based: whether the first feature is called 0; it
    is 1 in most files. Labels -1 and 1 become 0 and 1; other whole numbers stay; if one of them
    is no whole number, all are float32.
    Raises ValueError with the line and what is wrong there.
    """
    path = Path(path)
    labels: list[float] = []
    values, indices, indptr = array("f"), array("i"), array("q", [0])
    first = 0 if zero_based else 1
    largest = LARGEST if features is None else features - 1
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            fields = line.partition(b"#")[0].split()
            if not fields:
                continue
            try:
                labels.append(_number(fields[0], "a label"))
                row = _row(fields[1:], first, largest)
            except ValueError as error:
                raise ValueError(f"{path}, line {number}: {error}") from None
            indices.extend(row)
            values.extend(row.values())
            indptr.append(len(indices))
    if not labels:
        raise ValueError(f"{path}: a LIBSVM file needs at least one sample, got none")
    columns = np.frombuffer(indices, np.int32) if indices else np.zeros(0, np.int32)
    numbers = np.frombuffer(values, np.float32) if values else np.zeros(0, np.float32)
    width = int(columns.max(initial=-1)) + 1 if features is None else features
    x = Rows(numbers, columns, np.frombuffer(indptr, np.int64), width)
    return Data(x, _classes(np.array(labels)), path.name)


def _row(fields: list[bytes], first: int, largest: int) -> dict[int, float]:
    row: dict[int, float] = {}
    last = -1
    for field in fields:
        name, colon, value = field.partition(b":")
        if not colon:
            raise ValueError(f"a feature is index:value, got {_shown(field)}")
        if name == b"qid":  # the query of a ranking
            continue
        if not name.isdigit() or len(name) > MOST_DIGITS:
            raise ValueError(f"an index is a whole number, got {_shown(name)}")
        index = int(name) - first
        if index < 0:
            raise ValueError("indices count from 1 unless zero_based=True, got 0")
        if index <= last:
            raise ValueError(f"indices must rise within a line, got {int(name)} after a larger one")
        if index > largest:
            raise ValueError(f"an index must be at most {largest + first}, got {int(name)}")
        row[index] = _number(value, "a value")
        last = index
    return row


def _number(text: bytes, what: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not abs(number) <= LARGEST_VALUE:
        raise ValueError(f"{what} is a finite number, got {_shown(text)}")
    return number


def _shown(text: bytes) -> str:
    return repr(text[:40].decode("ascii", "replace"))


def _classes(labels: np.ndarray) -> np.ndarray:
    if np.any(labels != np.rint(labels)):
        return labels.astype(np.float32)
    whole = labels.astype(np.int64)
    return np.maximum(whole, 0) if np.isin(whole, (-1, 1)).all() else whole
