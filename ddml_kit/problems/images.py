"""Images from the files in which people have them: IDX (MNIST and kin) and CIFAR-10's binary.

Formats: LeCun, Cortes & Burges, "The MNIST database of handwritten digits", 1998; Krizhevsky,
"Learning Multiple Layers of Features from Tiny Images", 2009. A file is read only after what its
header declares has been checked against its length, and nothing in it is ever executed.
"""

from __future__ import annotations

import gzip
import math
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np

from ddml_kit.problems.data import Data

UNSIGNED_BYTES = 8  # the type code in an IDX file's magic number
INFLATION = 1032  # no byte of a gzip file unpacks to more bytes than this
CIFAR10 = (
    *("airplane", "automobile", "bird", "cat", "deer"),
    *("dog", "frog", "horse", "ship", "truck"),
)
PIXELS = 3 * 32 * 32


def load_idx(images: str | Path, labels: str | Path) -> Data:
    """The images of an IDX file, (n, rows, columns) float32 from 0 to 1, with another's labels.

    Either file may be gzipped. Raises ValueError with the file and what is wrong with it.
    """
    x, y = _idx(Path(images)), _idx(Path(labels))
    if x.ndim < 3:
        raise ValueError(f"{images}: images need 3 dimensions or more, got {x.ndim}")
    if y.ndim != 1:
        raise ValueError(f"{labels}: labels need 1 dimension, got {y.ndim}")
    if len(x) != len(y):
        raise ValueError(f"{labels}: {len(x)} images need as many labels, got {len(y)}")
    return Data(_unit(x), y.astype(np.int64), Path(images).name)


def load_cifar10(paths: str | Path | Sequence[str | Path]) -> Data:
    """The images of one or more CIFAR-10 binary files, (n, 3, 32, 32) float32 from 0 to 1.

    Raises ValueError with the file and what is wrong with it.
    """
    paths = [paths] if isinstance(paths, str | Path) else list(paths)
    if not paths:
        raise ValueError("load_cifar10 needs at least one path, got none")
    records = np.concatenate([_cifar_records(Path(path)) for path in paths])
    x = _unit(records[:, 1:].reshape(-1, 3, 32, 32))
    return Data(x, records[:, 0].astype(np.int64), "CIFAR-10", CIFAR10)


def _unit(pixels: np.ndarray) -> np.ndarray:
    return pixels.astype(np.float32) / np.float32(255)


def _cifar_records(path: Path) -> np.ndarray:
    length = path.stat().st_size
    if length == 0 or length % (1 + PIXELS):
        raise ValueError(
            f"{path}: a CIFAR-10 binary is a multiple of {1 + PIXELS} bytes, got {length}"
        )
    records = np.fromfile(path, np.uint8).reshape(-1, 1 + PIXELS)
    if records[:, 0].max() >= len(CIFAR10):
        raise ValueError(f"{path}: labels lie from 0 to 9, got {records[:, 0].max()}")
    return records


def _idx(path: Path) -> np.ndarray:
    length = path.stat().st_size
    with path.open("rb") as raw:
        zipped = raw.read(2) == b"\x1f\x8b"
        raw.seek(0)
        if not zipped:
            return _read_idx(raw, path, length)
        try:
            with gzip.GzipFile(fileobj=raw) as unzipped:
                return _read_idx(unzipped, path, length * INFLATION)  # type: ignore[arg-type]
        except (EOFError, OSError, zlib.error) as error:
            raise ValueError(f"{path}: a gzip file that can't be unpacked: {error}") from None


def _read_idx(file: BinaryIO, path: Path, most: int) -> np.ndarray:
    """The array of an IDX file of at most `most` bytes."""
    magic = file.read(4)
    if len(magic) < 4 or magic[:2] != b"\0\0" or magic[2] != UNSIGNED_BYTES or magic[3] == 0:
        raise ValueError(
            f"{path}: an IDX file of bytes begins with 00 00 08 and its number of dimensions, got "
            f"{magic.hex(' ') or 'nothing'}"
        )
    header = file.read(4 * magic[3])
    if len(header) < 4 * magic[3]:
        raise ValueError(f"{path}: the header is cut off after {4 + len(header)} bytes")
    shape = tuple(np.frombuffer(header, ">u4").tolist())
    size = math.prod(shape)
    declared = 4 + len(header) + size
    if size == 0 or declared > most:
        raise ValueError(
            f"{path}: the header declares {' x '.join(map(str, shape))} bytes, but the file "
            f"can hold at most {max(0, most - 4 - len(header))}"
        )
    content = bytearray()
    while len(content) <= size and (piece := file.read(min(1 << 20, size + 1 - len(content)))):
        content += piece
    if len(content) != size:
        found = "more" if len(content) > size else len(content)
        raise ValueError(
            f"{path}: the header declares {' x '.join(map(str, shape))} = {size} bytes, got {found}"
        )
    return np.frombuffer(content, np.uint8).reshape(shape)
