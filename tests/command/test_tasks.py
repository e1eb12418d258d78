"""Problems by name: what is trained on, what is held out, files in the formats that people have."""

from __future__ import annotations

import gzip

import numpy as np
import pytest

from ddml_kit.command.calls import call
from ddml_kit.command.tasks import Task, tasks
from ddml_kit.problems import Logistic, TorchModule, digits, library_text
from ddml_kit.problems.synthetic import sparse_logistic


def task(text: str) -> Task:
    return call(text, tasks(), "problem")


def test_digits_are_those_of_the_labs_with_a_fifth_held_out() -> None:
    train, held_out = digits().split(test=0.2, seed=0)
    learned = task("digits:softmax")
    np.testing.assert_array_equal(learned.train.x, train.x.reshape(len(train), -1))
    np.testing.assert_array_equal(learned.train.y, train.y)
    w = np.random.default_rng(0).standard_normal(640).astype(np.float32)
    figures = learned.figures({})
    unseen = Logistic(held_out.x, held_out.y)
    assert {name: figure(w) for name, figure in figures.items()} == {
        "test loss": unseen.loss(w),
        "accuracy": unseen.accuracy(w),
    }


def test_text_is_that_of_lab_02_or_all_its_parts() -> None:
    text = library_text()
    outside = {"asyncio", "files", "mail", "processes and threads", "web", "xml"}
    labels = np.isin(text.y, [i for i, label in enumerate(text.labels) if label in outside])
    order = np.random.default_rng(0).permutation(len(text))[round(0.2 * len(text)) :]
    np.testing.assert_array_equal(task("library_text").train.y, labels[order])
    np.testing.assert_array_equal(task("library_text:part").train.y, text.y[order])


@pytest.mark.parametrize(
    ("text", "dim"),
    [
        ("digits", 64 * 32 + 32 + 32 * 10 + 10),
        ("digits:hidden=5", 64 * 5 + 5 + 5 * 10 + 10),
        ("sparse_logistic:100,40,3", 40),
        ("quadratic:7,20", 7),
    ],
)
def test_the_size_of_a_model(text: str, dim: int) -> None:
    assert task(text).train.dim == dim


def test_a_lenet_is_that_of_the_problems() -> None:
    assert isinstance(task("digits:lenet").train, TorchModule)
    assert (6, 1, 3, 3) in task("digits:lenet").train.shapes


def test_made_up_rows_take_their_settings() -> None:
    data = sparse_logistic(200, 50, 4, seed=3, noise=0.0)
    train, _ = data.split()
    learned = task("sparse_logistic:200,50,4,seed=3,noise=0").train
    np.testing.assert_array_equal(learned.x.values, train.x.values)
    np.testing.assert_array_equal(learned.y, train.y)


def test_the_gap_of_a_quadratic_is_least_where_its_gradient_is_zero() -> None:
    learned = task("quadratic:5,30,100")
    A, b = learned.train.x.mean(axis=0), learned.train.y.mean(axis=0)
    values = np.linalg.eigvalsh(A)
    np.testing.assert_allclose([values[0], values[-1]], [1, 100])
    [gap] = learned.figures({}).values()
    assert gap(np.linalg.solve(A, b)) == pytest.approx(0, abs=1e-9)
    assert gap(np.zeros(5)) > 1


# ---------------------------------------------------------------------------------- files


def idx(array: np.ndarray) -> bytes:
    sizes = np.array(array.shape, ">u4").tobytes()
    return bytes([0, 0, 8, array.ndim]) + sizes + array.astype(np.uint8).tobytes()


def test_images_in_idx_files(tmp_path) -> None:
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 256, (50, 28, 28)), np.arange(50) % 10
    (tmp_path / "x,1").write_bytes(idx(images))
    (tmp_path / "y.gz").write_bytes(gzip.compress(idx(labels)))
    paths = f"{tmp_path}/x\\,1,{tmp_path}/y.gz"
    for model, dim in (("softmax", 7840), ("mlp", 784 * 128 + 128 + 1290), ("lenet", 61706)):
        learned = task(f"idx:{paths},{model}").train
        assert (len(learned), learned.dim) == (40, dim)


def test_images_in_cifar_10_files(tmp_path) -> None:
    for k in range(2):
        records = np.full((15, 3073), k, np.uint8)
        records[:, 0] = np.arange(15) % 10
        (tmp_path / f"batch{k}").write_bytes(records.tobytes())
    learned = task(f"cifar10:{tmp_path}/batch0,{tmp_path}/batch1,model=softmax").train
    assert (len(learned), learned.dim) == (24, 30720)
    assert set(np.unique(learned.x * 255).round()) == {0, 1}


def test_rows_in_libsvm_files(tmp_path) -> None:
    lines = [f"{2 * (k % 2) - 1} 1:{k} 3:1\n" for k in range(20)]
    (tmp_path / "train").write_text("".join(lines))
    (tmp_path / "test").write_text("+1 7:1\n-1 2:1\n")
    assert len(task(f"libsvm:{tmp_path}/train").train) == 16
    learned = task(f"libsvm:{tmp_path}/train,test={tmp_path}/test")
    assert (len(learned.train), learned.train.dim) == (20, 7)  # as wide as the wider file
    w = np.arange(7, dtype=np.float32) - 1.5
    assert learned.figures({})["accuracy"](w) == 1.0


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("digits:hidden=0", "hidden must be 1 unit or more, got 0"),
        ("quadratic:0", "a quadratic needs dim and samples of 1 or more, got 0, 1000"),
        ("quadratic:condition=0.5", "condition must be 1 or more, got 0.5"),
        ("sparse_logistic:10,5,6", "a row has 1 to features=5 non-zeros, got 6"),
        ("library_words:fewest=99999", "no word is left that fewest=99999 documents have"),
    ],
)
def test_what_cannot_be_learned_gets_a_sentence(text: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        task(text)
