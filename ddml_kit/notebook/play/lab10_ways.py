"""Lab 10's training as a short call, on a network that takes as long as a larger one."""

from __future__ import annotations

from ddml_kit.cluster import Run, Simulated
from ddml_kit.problems import Problem, TorchModule
from ddml_kit.problems.problem import Batch
from ddml_kit.training.data_parallel import data_parallel
from ddml_kit.training.momentum import momentum
from ddml_kit.training.schedules import cosine

BATCH, RATE = 64, 0.1  # images a step, of all workers together, and its size


class Slower(TorchModule):
    """A network that is charged as a larger one: a gradient takes 0.1 ms a sample."""

    def seconds(self, batch: Batch) -> float:
        return 1e-4 * len(batch)


def train(problem: Problem, steps: int, workers: int = 4) -> Run:
    """Simulated workers share 64 images a step; SGD with momentum, its rate falling to 0."""
    return Simulated(workers, seed=0).run(
        data_parallel,
        problem,
        momentum(RATE),
        steps=steps,
        batch_size=BATCH // workers,
        schedule=cosine(steps),
    )
