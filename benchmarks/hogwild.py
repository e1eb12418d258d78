"""Hogwild! beside scikit-learn's SGDClassifier: sparse logistic regression, run in turns.

    python -m benchmarks.hogwild

180,000 training rows of 75 non-zeros among 47,236 features (the shape of RCV1) with Zipf
frequencies, and 45,000 rows to test on. Both sides: log loss, float32, no regulariser, no
intercept, the same constant step size, the same number of passes; one thread a worker. Timed is
the training; not the making of the data, the start of processes, compiling, or our laying of the
rows in memory, whose cost is printed. scikit-learn's time is that of `fit`.
"""

from __future__ import annotations

import statistics
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.common import alternate, duration, medians, report
from ddml_kit.cluster.comm import Comm
from ddml_kit.cluster.processes import Processes
from ddml_kit.problems.logistic import Logistic
from ddml_kit.problems.synthetic import sparse_logistic
from ddml_kit.training.hogwild_compiled import RacedCompiled, Ready, descend

ROWS, FEATURES, NONZEROS = 180_000, 47_236, 75
PASSES, LR = 2, 0.5
ROUNDS = 9
CHUNK, DELAY = 1 << 20, 256  # a call a pass

COMPARED = {  # ratio: (peer, own)
    "sklearn_in_order": ("SGDClassifier", "1 worker"),
    "scaling": ("1 worker", "2 workers, one model"),
    "private_models": ("2 workers, a model each", "2 workers, one model"),
    "sklearn": ("SGDClassifier, shuffled", "2 workers, one model, shuffled"),
}


def main() -> None:
    train, test = problems()
    ours = {
        "1 worker": Ours(train, size=1),
        "1 worker, shuffled": Ours(train, size=1, shuffle=True),
        "2 workers, one model": Ours(train, size=2),
        "2 workers, one model, shuffled": Ours(train, size=2, shuffle=True),
        "2 workers, one model, plain stores": Ours(train, size=2, delay=0),
        "2 workers, a model each": Ours(train, size=2, private=True),
    }
    theirs = {
        "SGDClassifier": Theirs(train, shuffle=False),
        "SGDClassifier, shuffled": Theirs(train, shuffle=True),
    }
    contenders: dict[str, Ours | Theirs] = {**ours, **theirs}
    for contender in contenders.values():
        contender()  # compiled, and pages touched
    seconds = medians(alternate(contenders, rounds=ROUNDS))
    losses = {name: test.loss(contender.w) for name, contender in contenders.items()}

    ratios = {name: seconds[peer] / seconds[own] for name, (peer, own) in COMPARED.items()}
    rows = [
        (
            name,
            "random" if "shuffled" in name else "as stored",
            2 if "2" in name else 1,
            duration(seconds[name]),
            f"{PASSES * ROWS / seconds[name] / 1e6:.2f} M/s",
            f"{losses[name]:.4f}",
        )
        for name in seconds
    ]
    preparing = statistics.median(
        each for contender in ours.values() if contender.size == 2 for each in contender.preparing
    )
    report(
        "hogwild",
        ratios,
        head=("what", "row order", "threads", f"{PASSES} passes", "updates", "test loss"),
        rows=rows,
        packages=("numpy", "numba", "scikit-learn"),
        notes=(
            f"All: float32, no regulariser, no intercept, step size {LR}; medians of {ROUNDS} "
            "rounds in turns.",
            f"Test loss of ours over the peer's: {differences(losses)}. (A model each has seen "
            "half of the rows.)",
            "Our random order is drawn once and the rows are laid in memory in it; scikit-learn "
            "draws a new one each pass, and visits the rows where they lie. Loading the machine "
            f"code and laying the rows takes {duration(preparing)} on 2 workers, once; with that, "
            f"`sklearn` is {with_preparing(seconds, preparing):.2f}.",
            f"2 workers, one model: changes are written back by turns, the hottest after "
            f"{DELAY // 2} samples; `plain stores`: each at once.",
        ),
    )


def differences(losses: dict[str, float]) -> str:
    """How the test losses of each comparison differ, in words."""
    return ", ".join(
        f"{name} {losses[own] / losses[peer] - 1:+.2%}"
        for name, (peer, own) in COMPARED.items()
        if name != "private_models"
    )


def with_preparing(seconds: dict[str, float], preparing: float) -> float:
    """How many times as fast as scikit-learn's shuffled fit, the laying of rows included."""
    ours = seconds["2 workers, one model, shuffled"] + preparing
    return seconds["SGDClassifier, shuffled"] / ours


def problems() -> tuple[Logistic, Logistic]:
    """The training problem, ROWS samples, and the test problem, a quarter as many."""
    data = sparse_logistic(ROWS * 5 // 4, FEATURES, NONZEROS, seed=0)
    train, test = data.split(test=0.2, seed=0)
    return Logistic(train.x, train.y), Logistic(test.x, test.y)


class Ours:
    """Seconds of one training by the kit, from the first step of the first worker to the last."""

    def __init__(
        self,
        train: Logistic,
        *,
        size: int,
        shuffle: bool = False,
        private: bool = False,
        delay: int = DELAY,
    ) -> None:
        self.size = size
        self._program: Callable[..., Any] = private_models if private else one_model
        self._train, self._options = train, {"shuffle": shuffle, "delay": delay}
        self.w = train.initial()
        self.preparing: list[float] = []

    def __call__(self) -> float:
        run = Processes(self.size).run(self._program, self._train, **self._options)
        self.w = run.results[0][0].w
        self.preparing.append(max(preparing for _, preparing in run.results))
        return max(result.seconds for result, _ in run.results)


def one_model(
    comm: Comm, train: Logistic, *, shuffle: bool, delay: int
) -> tuple[RacedCompiled, float]:
    """What `hogwild_compiled` returns, and the seconds that making ready took."""
    start = comm.now()
    ready = Ready(comm, train, shuffle=shuffle, delay=delay)
    preparing = comm.now() - start
    comm.barrier()
    return descend(comm, ready, passes=PASSES, lr=LR, decay=1.0, chunk=CHUNK), preparing


def private_models(
    comm: Comm, train: Logistic, *, shuffle: bool, delay: int
) -> tuple[RacedCompiled, float]:
    """The same, each rank with a model of its own over its shard: what memory allows at most."""
    alone = comm.group([comm.rank])
    start = comm.now()
    shard = train.shard(comm.rank, comm.size)
    ready = Ready(alone, shard, shuffle=shuffle, delay=delay)
    preparing = comm.now() - start
    comm.barrier()
    return descend(alone, ready, passes=PASSES, lr=LR, decay=1.0, chunk=CHUNK), preparing


class Theirs:
    """Seconds of `SGDClassifier.fit` on the same rows."""

    def __init__(self, train: Logistic, *, shuffle: bool) -> None:
        from sklearn.linear_model import SGDClassifier

        self._x = train.x.to_scipy()
        self._x.indptr = self._x.indptr.astype(np.int32)  # what scikit-learn would convert to
        self._y = train.y
        self._model = SGDClassifier(
            loss="log_loss",
            penalty=None,
            fit_intercept=False,
            learning_rate="constant",
            eta0=LR,
            max_iter=PASSES,
            tol=None,
            shuffle=shuffle,
            random_state=0,
        )
        self.w = train.initial()

    def __call__(self) -> float:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            start = time.perf_counter()
            self._model.fit(self._x, self._y)
            seconds = time.perf_counter() - start
        self.w = self._model.coef_[0]
        return seconds


if __name__ == "__main__":
    main()
