"""Checks of the labs' exercises: check.sparse_update(my_update) says ✓, or ✗ and why."""

from __future__ import annotations

from typing import Any

from ddml_kit.notebook.check import (
    lab00,
    lab01,
    lab01_lbfgs,
    lab02,
    lab03,
    lab04,
    lab04_choice,
    lab05,
    lab06,
    lab06_choice,
    lab07,
    lab07_gamma,
    lab09,
    lab10,
)
from ddml_kit.notebook.check.exercise import Exercise, Verdict
from ddml_kit.notebook.check.judge import judge


class Check:
    """The check of one exercise; it never raises, whatever the answer."""

    def __init__(self, exercise: Exercise) -> None:
        self.exercise = exercise
        self._hints = 0

    def __call__(self, answer: Any) -> Verdict:
        """The verdict on an answer, a function."""
        return judge(self.exercise, answer)

    def hint(self) -> None:
        """Print the next hint; the last one is the library's own source."""
        self._hints += 1
        print(self.exercise.hint(self._hints))


latency_and_bandwidth = Check(lab00.LATENCY_AND_BANDWIDTH)
total = Check(lab00.TOTAL)
one_pass = Check(lab01.ONE_PASS)
adam_step = Check(lab01.ADAM_STEP)
lbfgs_direction = Check(lab01_lbfgs.LBFGS_DIRECTION)
sparse_update = Check(lab02.SPARSE_UPDATE)
staleness = Check(lab02.STALENESS)
ssp_condition = Check(lab03.SSP_CONDITION)
push_with_momentum = Check(lab03.MOMENTUM)
backup_workers = Check(lab03.BACKUP)
round_a_ring = Check(lab04.ROUND_A_RING)
halving = Check(lab04.HALVING)
fastest_way = Check(lab04_choice.FASTEST_WAY)
scaled_rate = Check(lab05.SCALED_RATE)
speed_up = Check(lab05.SPEED_UP)
growing_batch = Check(lab05.GROWING_BATCH)
packed_signs = Check(lab06.PACKED_SIGNS)
top_k_with_memory = Check(lab06.TOP_K_WITH_MEMORY)
codec_for_link = Check(lab06_choice.CODEC_FOR_LINK)
metropolis_weights = Check(lab07.METROPOLIS_WEIGHTS)
choco_step = Check(lab07.CHOCO_STEP)
largest_gamma = Check(lab07_gamma.LARGEST_GAMMA)
trimmed_mean = Check(lab09.TRIMMED_MEAN)
krum = Check(lab09.KRUM)
beat_the_median = Check(lab09.BEAT_THE_MEDIAN)
l2_projection = Check(lab10.L2_PROJECTION)
projected_descent = Check(lab10.PROJECTED_DESCENT)
worst_image = Check(lab10.WORST_IMAGE)

__all__ = [
    "Check",
    "Exercise",
    "Verdict",
    "adam_step",
    "backup_workers",
    "beat_the_median",
    "choco_step",
    "codec_for_link",
    "fastest_way",
    "growing_batch",
    "halving",
    "krum",
    "l2_projection",
    "largest_gamma",
    "latency_and_bandwidth",
    "lbfgs_direction",
    "metropolis_weights",
    "one_pass",
    "packed_signs",
    "projected_descent",
    "push_with_momentum",
    "round_a_ring",
    "scaled_rate",
    "sparse_update",
    "speed_up",
    "ssp_condition",
    "staleness",
    "top_k_with_memory",
    "total",
    "trimmed_mean",
    "worst_image",
]
