"""What can be learned, by name: something to train on, and what is said of a model of it.

A function here that returns a Task is a name for --problem; its parameters are the settings that
stand after the colon. Data are split at random, the same each time: a fifth is held out.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, Literal, NamedTuple

import numpy as np

from ddml_kit.command.calls import Makers, by_name, call, maker
from ddml_kit.problems import (
    Data,
    Logistic,
    Problem,
    Quadratic,
    Rows,
    library_counts,
    load_cifar10,
    load_idx,
    load_libsvm,
    synthetic,
)
from ddml_kit.problems import data as shipped
from ddml_kit.training.topic_model import corpus, perplexity, phi

OUTSIDE = ("asyncio", "files", "mail", "processes and threads", "web", "xml")

SPARSE_LR = (16.0, 2.0)  # rows of length 1

Model = Literal["mlp", "softmax", "lenet"]
Figures = dict[str, Callable[[np.ndarray], float]]


class Task(NamedTuple):
    """train: what a program is given, a Problem or a Corpus. figures: for the program's settings,
    what is said of a model, by name; the first is drawn as a curve. lr: step sizes of plain SGD
    with which it learns, for steps of a batch and for steps of one sample.
    """

    train: Any
    figures: Callable[[Mapping[str, Any]], Figures]
    lr: tuple[float, float]


@cache
def tasks() -> Makers:
    """The functions of this module that make a Task."""
    functions = [f for f in globals().values() if inspect.isfunction(f)]
    return by_name(
        maker(f)
        for f in functions
        if inspect.get_annotations(f).get("return") == "Task" and not f.__name__.startswith("_")
    )


def figures_of(about: Mapping[str, Any]) -> Figures:
    """What is said of the models of a saved run, by what it is about; nothing if it doesn't say.

    Raises ValueError for a problem that there is not, OSError where its files are missing.
    """
    if "problem" not in about:
        return {}
    task: Task = call(about["problem"], tasks(), "problem")
    return task.figures(about["settings"])


def digits(*, model: Model = "mlp", hidden: int = 32) -> Task:
    """1,797 handwritten digits of 8 x 8 pixels, which ship with the kit.

    model: mlp, softmax or lenet. hidden: units of the mlp.
    """
    return _images(shipped.digits(), model, hidden)


def idx(images: str, labels: str, *, model: Model = "mlp", hidden: int = 128) -> Task:
    """Images in IDX files such as MNIST's, gzipped or not.

    images: path of the images. labels: path of what they show. model: mlp, softmax or lenet.
    hidden: units of the mlp.
    """
    return _images(load_idx(images, labels), model, hidden)


def cifar10(*paths: str, model: Literal["mlp", "softmax"] = "mlp", hidden: int = 128) -> Task:
    """Images in CIFAR-10's binary files.

    paths: of one or more files. model: mlp or softmax. hidden: units of the mlp.
    """
    return _images(load_cifar10(paths), model, hidden)


def library_text(*, question: Literal["outside", "part"] = "outside") -> Task:
    """10,040 functions of Python's standard library as words, which ship with the kit: logistic.

    question: outside, whether a function has to do with files, the network or other processes;
    part, which of the library's 12 parts it is from.
    """
    data = shipped.library_text()
    if question == "part":
        return _linear(data)
    outside = np.isin(data.y, [i for i, label in enumerate(data.labels) if label in OUTSIDE])
    return _linear(Data(data.x, outside.astype(np.int64), data.name))


def sparse_logistic(
    *,
    samples: int = 20_000,
    features: int = 20_000,
    nonzeros: int = 20,
    exponent: float = 1.1,
    dense: float = 0.0,
    noise: float = 0.05,
    seed: int = 0,
) -> Task:
    """Made-up sparse rows of two classes, whose features are as frequent as words: logistic.

    nonzeros: of a row. exponent: of Zipf's law. dense: the share of a row's non-zeros that all rows
    have. noise: the share of labels that are wrong.
    """
    data = synthetic.sparse_logistic(
        samples, features, nonzeros, seed=seed, exponent=exponent, dense=dense, noise=noise
    )
    return _linear(data)


def libsvm(path: str, *, test: str = "", features: int | None = None, zero: bool = False) -> Task:
    """Sparse rows in a LIBSVM file: logistic.

    path: of the file. test: path of what is held out; without it, a fifth of the first. features:
    columns; as many as occur if none. zero: whether features are counted from 0.
    """
    data = load_libsvm(path, features=features, zero_based=zero)
    if not test:
        return _linear(data)
    held_out = load_libsvm(test, features=features, zero_based=zero)
    columns = max(data.x.shape[1], held_out.x.shape[1])
    problem = Logistic(_wide(data.x, columns), data.y)
    return _supervised(problem, Data(_wide(held_out.x, columns), held_out.y, test), SPARSE_LR)


def quadratic(
    *,
    dim: int = 50,
    samples: int = 1000,
    condition: float = 10.0,
    noise: float = 1.0,
    seed: int = 0,
) -> Task:
    """A quadratic, the mean of as many as there are samples, which differ in their linear part.

    condition: the largest curvature; the smallest is 1. noise: how far apart the minima of the
    samples are.
    """
    if dim < 1 or samples < 1:
        raise ValueError(f"a quadratic needs dim and samples of 1 or more, got {dim}, {samples}")
    if not condition >= 1:
        raise ValueError(f"condition must be 1 or more, got {condition}")
    rng = np.random.default_rng(seed)
    basis, _ = np.linalg.qr(rng.standard_normal((dim, dim)))
    A = (basis * np.geomspace(1, condition, dim)) @ basis.T
    A = (A + A.T) / 2
    minima = rng.standard_normal(dim) + noise * rng.standard_normal((samples, dim))
    problem = Quadratic(np.broadcast_to(A, (samples, dim, dim)), minima @ A)
    least = problem.loss(minima.mean(axis=0))
    gap: Figures = {"loss above the least": lambda w: problem.loss(w) - least}
    return Task(problem, lambda settings: gap, lr=(1 / condition, 0.1 / condition))


def library_words(*, fewest: int = 10, most: float = 0.05) -> Task:
    """The words of Python's standard library, function by function: for topic_model.

    fewest: functions that a word must be in. most: the share of functions that it may be in.
    """
    train, held_out = corpus(*library_counts(), fewest=fewest, most=most).split()

    def figures(settings: Mapping[str, Any]) -> Figures:
        alpha, beta = settings["alpha"], settings["beta"]
        return {"perplexity": lambda n_wk: perplexity(held_out, phi(n_wk, beta), alpha)}

    return Task(train, figures, lr=(1.0, 1.0))  # it takes no steps


def _images(data: Data, model: Model, hidden: int) -> Task:
    """Images, (n, ...), told apart by one of these models."""
    train, held_out = data.split()
    classes = int(data.y.max()) + 1
    if model == "softmax":
        return _supervised(Logistic(train.x, train.y, classes=classes), held_out, (1.0, 0.2))
    import torch

    from ddml_kit.problems import TorchModule, lenet

    if model == "lenet":
        return _supervised(lenet.on_images(train), held_out, (0.3, 0.05))
    if hidden < 1:
        raise ValueError(f"hidden must be 1 unit or more, got {hidden}")
    assert isinstance(train.x, np.ndarray)
    network = torch.nn.Sequential(
        torch.nn.Flatten(),
        torch.nn.Linear(train.x[0].size, hidden),
        torch.nn.ReLU(),
        torch.nn.Linear(hidden, classes),
    )
    problem = TorchModule(network, torch.nn.functional.cross_entropy, train)
    return _supervised(problem, held_out, (0.5, 0.1))


def _linear(data: Data) -> Task:
    """Sparse samples of classes, told apart by a linear model."""
    train, held_out = data.split()
    classes = max(2, int(data.y.max()) + 1) if data.y.dtype.kind in "iu" else None
    return _supervised(Logistic(train.x, train.y, classes=classes), held_out, SPARSE_LR)


def _supervised(problem: Any, held_out: Data, lr: tuple[float, float]) -> Task:
    unseen: Problem = problem.on(held_out.x, held_out.y)
    figures: Figures = {"test loss": unseen.loss, "accuracy": unseen.accuracy}
    return Task(problem, lambda settings: figures, lr)


def _wide(x: Any, columns: int) -> Rows:
    """The same rows with so many columns."""
    return Rows(x.values, x.indices, x.indptr, columns)
