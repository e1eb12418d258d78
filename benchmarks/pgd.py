"""PGD beside torchattacks and Foolbox: 256 images of 28 x 28, 40 steps of 0.01 in linf, eps 0.3.

That is Madry et al.'s attack on MNIST (arXiv 1706.06083), here on the kit's digits, three times as
large and with a border of 2, and on LeNet-5: a standard one, and one that was trained adversarially
on eps 0.1. All sides have the same model, images, bounds, eps, step, number of steps, start (drawn
in the time that counts) and one thread. Foolbox is called by its `run`, without the evaluation of
its examples that it adds otherwise; ours with its checks.

First every iterate of the peers is compared with ours: they must be equal, bit by bit. Success is
the share of the 256 images that the model gets wrong in the end; with early stopping, where an
image is left alone as soon as it fools the model, it must not be lower.

`torchattacks` and `foolbox` are how many times as fast as these ours is step for step,
`torchattacks_early_stop` with early stopping, each on the standard model; `_robust` on the other.

    python -m benchmarks.pgd
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
import torch

from benchmarks.common import alternate, duration, medians, report
from ddml_kit.adversarial import iterates, pgd, verdicts
from ddml_kit.cluster import Simulated
from ddml_kit.problems import Data, Problem, TorchModule, digits
from ddml_kit.problems.lenet import lenet
from ddml_kit.training.adaptive import adam
from ddml_kit.training.adversarial import Adversarial
from ddml_kit.training.one_machine import mini_batch

IMAGES, EPS, STEP, STEPS = 256, 0.3, 0.01, 40
TRAINED = 100  # steps of training, batches of 64
SEED = 1
ROUNDS = 5  # times that each contender has its turn
OURS, EARLY = "ours", "ours, stopping early"
AIMS = {"torchattacks": 0.95, "torchattacks_early_stop": 1.5, "foolbox": 1.0}

Attack = Callable[[torch.nn.Module], torch.Tensor]
Times = Mapping[str, Mapping[str, float]]  # model -> contender -> seconds


def main() -> None:
    """Print the table and the line of JSON."""
    torch.set_num_threads(1)
    train, test = enlarged(digits()).split(0.3)
    x, y = torch.from_numpy(test.x[:IMAGES]), torch.from_numpy(test.y[:IMAGES])
    attacks, missing = contenders(x, y)
    times: dict[str, dict[str, float]] = {}
    rows = []
    for name, model in models(train).items():
        equal = {peer: steps_equal(model, x, y, attacks[peer]) for peer in attacks if peer in PEERS}
        taken = medians(
            alternate({each: partial(timed, f, model) for each, f in attacks.items()}, ROUNDS)
        )
        times[name] = taken
        wrong = {
            each: float(np.mean(verdicts(model, f(model)) != y.numpy()))
            for each, f in attacks.items()
        }
        clean = float(np.mean(verdicts(model, x) != y.numpy()))
        for each, seconds in taken.items():
            assert wrong[each] >= wrong[OURS] - 1e-9, f"{each} has less success: {wrong}"
            rows.append(
                [
                    name,
                    f"{clean:.1%}",
                    each,
                    duration(seconds),
                    f"{wrong[each]:.1%}",
                    f"{equal[each]} of {STEPS}" if each in equal else "",
                    "" if each in PEERS else _times_as_fast(taken, each),
                ]
            )
    report(
        "pgd",
        ratios(times),
        head=[
            "model",
            "wrong before",
            "",
            "256 images",
            "wrong after",
            "steps equal to ours",
            "times as fast as",
        ],
        rows=rows,
        packages=("numpy", "torch", "torchattacks", "foolbox"),
        notes=[
            f"eps {EPS}, {STEPS} steps of {STEP}, one thread; medians of {ROUNDS} turns",
            "aims: " + ", ".join(f"{name} >= {aim}" for name, aim in AIMS.items()),
            *missing,
        ],
    )


def ratios(times: Times) -> dict[str, float]:
    """How many times as fast as each peer, by peer and model; the standard one has no suffix."""
    found = {}
    for model, taken in times.items():
        suffix = "" if model == "standard" else f"_{model}"
        for peer in PEERS:
            if peer in taken:
                found[peer + suffix] = taken[peer] / taken[OURS]
        if "torchattacks" in taken:
            found["torchattacks_early_stop" + suffix] = taken["torchattacks"] / taken[EARLY]
    return found


def _times_as_fast(taken: Mapping[str, float], each: str) -> str:
    return ", ".join(f"{p} {taken[p] / taken[each]:.2f}" for p in PEERS if p in taken)


def enlarged(data: Data) -> Data:
    """Images of 8 x 8 as ones of one colour and 28 x 28, (n, 1, 28, 28)."""
    x = data.x.repeat(3, axis=1).repeat(3, axis=2)
    return Data(np.pad(x, ((0, 0), (2, 2), (2, 2)))[:, None], data.y, data.name, data.labels)


def models(train: Data) -> dict[str, torch.nn.Module]:
    """A standard and a robust one, in evaluation mode."""
    problem = TorchModule(lenet(28)[1:], torch.nn.functional.cross_entropy, train)
    found = {}
    each: Problem
    for name, each in (("standard", problem), ("robust", Adversarial(problem, eps=0.1, steps=3))):
        run = Simulated(1).run(mini_batch, each, adam(0.002), steps=TRAINED, batch_size=64)
        found[name] = problem.module(run.results[0]).eval()
    return found


def timed(attack: Attack, model: torch.nn.Module) -> float:
    """Seconds that the attack takes."""
    start = time.perf_counter()
    attack(model)
    return time.perf_counter() - start


def drawn(x: torch.Tensor) -> torch.Tensor:
    """The start that torchattacks draws after this seed."""
    torch.manual_seed(SEED)
    return torch.clamp(x + torch.empty_like(x).uniform_(-EPS, EPS), 0, 1)


# ------------------------------------------------------------------------------ contenders


def contenders(x: torch.Tensor, y: torch.Tensor) -> tuple[dict[str, Attack], list[str]]:
    """Each contender's attack, by name, and a note for each peer that is missing."""

    def ours(model: torch.nn.Module, stop_early: bool = False) -> torch.Tensor:
        start = drawn(x)
        return pgd(model, x, y, eps=EPS, step=STEP, steps=STEPS, start=start, stop_early=stop_early)

    found: dict[str, Attack] = {OURS: ours, EARLY: partial(ours, stop_early=True)}
    missing = []
    for name, make in PEERS.items():
        try:
            found[name] = make(x, y)
        except ImportError as error:
            missing.append(f"{name} is missing: {error}")
    return found, missing


def torchattacks(x: torch.Tensor, y: torch.Tensor) -> Attack:
    """Harry24k/adversarial-attacks-pytorch."""
    from torchattacks import PGD

    def attack(model: torch.nn.Module) -> torch.Tensor:
        torch.manual_seed(SEED)
        return PGD(model, eps=EPS, alpha=STEP, steps=STEPS, random_start=True)(x, y)

    return attack


def foolbox(x: torch.Tensor, y: torch.Tensor) -> Attack:
    """bethgelab/foolbox, from the same start."""
    import eagerpy
    from foolbox import PyTorchModel
    from foolbox.attacks import LinfPGD

    class FromThere(LinfPGD):
        def get_random_start(self, x0: Any, epsilon: float) -> Any:
            return eagerpy.astensor(drawn(x0.raw))

    def attack(model: torch.nn.Module) -> torch.Tensor:
        wrapped = PyTorchModel(model, bounds=(0, 1), device="cpu")
        return FromThere(abs_stepsize=STEP, steps=STEPS).run(wrapped, x, y, epsilon=EPS)

    return attack


PEERS: dict[str, Callable[[torch.Tensor, torch.Tensor], Attack]] = {
    "torchattacks": torchattacks,
    "foolbox": foolbox,
}


# ------------------------------------------------------------------------------ step for step


class Recording(torch.nn.Module):
    """A model that remembers what it was shown."""

    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()
        self.model, self.seen = model, list[torch.Tensor]()
        self.eval()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.seen.append(x.detach().clone())
        return self.model(x)


def steps_equal(model: torch.nn.Module, x: torch.Tensor, y: torch.Tensor, peer: Attack) -> int:
    """After how many of its steps the peer has our images, bit by bit; all, or AssertionError."""
    recording = Recording(model)
    last = peer(recording)
    theirs = [*recording.seen[-STEPS:], last]
    ours = list(iterates(model, x, y, eps=EPS, step=STEP, steps=STEPS, start=drawn(x)))
    assert len(theirs) == len(ours) == STEPS + 1
    for k, (a, b) in enumerate(zip(theirs, ours, strict=True)):
        assert torch.equal(a, b), f"step {k}: images differ by {(a - b).abs().max():.3g}"
    return STEPS


if __name__ == "__main__":
    main()
