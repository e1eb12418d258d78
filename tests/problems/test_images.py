"""IDX and CIFAR-10 files, good and bad."""

from __future__ import annotations

import gzip
import pickle
import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from ddml_kit.problems import load_cifar10, load_idx

PIXELS = np.random.default_rng(0).integers(0, 256, (5, 4, 3), np.uint8)
LABELS = np.array([3, 1, 4, 1, 9], np.uint8)


def idx(array: np.ndarray, code: int = 8) -> bytes:
    sizes = struct.pack(f">{array.ndim}I", *array.shape)
    return bytes([0, 0, code, array.ndim]) + sizes + array.tobytes()


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    images, labels = tmp_path / "images-idx3-ubyte", tmp_path / "labels-idx1-ubyte"
    images.write_bytes(idx(PIXELS))
    labels.write_bytes(idx(LABELS))
    return images, labels


def test_idx(files: tuple[Path, Path]) -> None:
    data = load_idx(*files)
    np.testing.assert_array_equal(data.x, PIXELS / np.float32(255))
    assert data.x.dtype == np.float32
    np.testing.assert_array_equal(data.y, LABELS)
    assert data.y.dtype == np.int64
    assert data.name == "images-idx3-ubyte"


def test_idx_gzipped_or_not_under_any_name(files: tuple[Path, Path]) -> None:
    plain = load_idx(*files)
    for path in files:
        path.write_bytes(gzip.compress(path.read_bytes()))
    np.testing.assert_array_equal(load_idx(*map(str, files)).x, plain.x)


GOOD = idx(PIXELS)
BAD = {
    "empty": (b"", "begins with 00 00 08 and its number of dimensions, got nothing"),
    "wrong magic": (b"PK\3\4" + GOOD, "got 50 4b 03 04"),
    "wrong type": (idx(PIXELS, code=0x0D), "got 00 00 0d 03"),
    "no dimensions": (b"\0\0\x08\0", "got 00 00 08 00"),
    "cut in the header": (GOOD[:10], "the header is cut off after 10 bytes"),
    "truncated": (GOOD[:-1], "declares 5 x 4 x 3"),
    "oversized": (GOOD + b"\0", "declares 5 x 4 x 3 = 60 bytes, got more"),
    "huge": (b"\0\0\x08\3" + b"\xff" * 12 + b"data", "the file can hold at most 4"),
    "many dimensions": (b"\0\0\x08\xff" + b"\xff" * 4 * 255, "the file can hold at most 0"),
    "no images": (idx(np.zeros((0, 4, 3), np.uint8)), "declares 0 x 4 x 3"),
    "a pickle": (pickle.dumps({"data": [1]}), "begins with 00 00 08"),
}


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("case", BAD)
def test_a_bad_idx_file_gets_a_sentence(files: tuple[Path, Path], case: str, zipped: bool) -> None:
    content, message = BAD[case]
    files[0].write_bytes(gzip.compress(content) if zipped else content)
    if zipped and case in ("huge", "many dimensions"):
        message = "but the file can hold at most"
    if zipped and case == "truncated":
        message = "= 60 bytes, got 59"
    with pytest.raises(ValueError, match=r"images-idx3-ubyte: ") as caught:
        load_idx(*files)
    assert message in str(caught.value)


def test_a_bad_gzip_file_gets_a_sentence(files: tuple[Path, Path]) -> None:
    zipped = gzip.compress(GOOD)
    spoilt = bytearray(zipped)
    spoilt[-6] ^= 0xFF  # in the checksum
    for content in (zipped[:-9], zipped[:5], bytes(spoilt), b"\x1f\x8bnonsense"):
        files[0].write_bytes(content)
        with pytest.raises(ValueError, match="a gzip file that can't be unpacked"):
            load_idx(*files)


def test_a_bomb_is_not_unpacked(files: tuple[Path, Path]) -> None:
    files[0].write_bytes(gzip.compress(GOOD + bytes(1 << 26)))
    tracemalloc.start()
    with pytest.raises(ValueError, match="got more"):
        load_idx(*files)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1 << 22


def test_images_and_labels_must_fit(files: tuple[Path, Path]) -> None:
    images, labels = files
    with pytest.raises(ValueError, match="images need 3 dimensions or more, got 1"):
        load_idx(labels, labels)
    with pytest.raises(ValueError, match="labels need 1 dimension, got 3"):
        load_idx(images, images)
    labels.write_bytes(idx(LABELS[:4]))
    with pytest.raises(ValueError, match="5 images need as many labels, got 4"):
        load_idx(images, labels)


def test_a_missing_file_is_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        load_idx(tmp_path / "none", tmp_path / "none")


def record(label: int, first: int) -> bytes:
    return bytes([label]) + (np.arange(first, first + 3072) % 256).astype(np.uint8).tobytes()


def test_cifar10_from_one_file_or_several(tmp_path: Path) -> None:
    one, two = tmp_path / "data_batch_1.bin", tmp_path / "data_batch_2.bin"
    one.write_bytes(record(9, 0) + record(0, 1))
    two.write_bytes(record(5, 2))
    data = load_cifar10([one, str(two)])
    assert (data.x.shape, data.x.dtype) == ((3, 3, 32, 32), np.float32)
    assert data.y.tolist() == [9, 0, 5]
    assert [data.labels[y] for y in data.y] == ["truck", "airplane", "dog"]
    np.testing.assert_array_equal(data.x[1].reshape(-1)[:3], np.float32([1, 2, 3]) / 255)
    np.testing.assert_array_equal(load_cifar10(two).x, data.x[2:])
    assert load_cifar10(str(one)).y.tolist() == [9, 0]


def test_a_bad_cifar10_file_gets_a_sentence(tmp_path: Path) -> None:
    path = tmp_path / "batch.bin"
    for content, message in (
        (b"", "a multiple of 3073 bytes, got 0"),
        (record(1, 0)[:-1], "a multiple of 3073 bytes, got 3072"),
        (record(1, 0) + b"\0", "a multiple of 3073 bytes, got 3074"),
        (record(10, 0), "labels lie from 0 to 9, got 10"),
        (gzip.compress(record(1, 0)), "a multiple of 3073 bytes"),
    ):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=f"batch.bin: .*{message}"):
            load_cifar10(path)
    with pytest.raises(ValueError, match="at least one path, got none"):
        load_cifar10([])
