"""Lab 06: what need not be sent?"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from ddml_kit.cluster import Network, Processes, Run, Running, Simulated
from ddml_kit.cluster.run import Curve, human_bytes
from ddml_kit.compression import QSGD, Mantissa, OneBit, RandomK, Sign, TernGrad, TopK
from ddml_kit.compression.break_even import summed
from ddml_kit.notebook.dashboard import dashboard
from ddml_kit.notebook.knobs import Choice, Slider, Toggle
from ddml_kit.notebook.panel import Panel
from ddml_kit.notebook.units import number_text, seconds_text, seconds_to
from ddml_kit.problems import Problem
from ddml_kit.training.compressed import compressed, shared_entries
from ddml_kit.training.data_parallel import data_parallel
from ddml_kit.training.low_rank import power_sgd
from ddml_kit.training.optimisers import sgd
from ddml_kit.training.reducers import Reducer, mean

STEPS, BATCH_SIZE, RATE = 100, 32, 0.3
LATENCY, MB, FLOAT = 1e-4, 1e6, 4  # seconds; bytes a second of the knob's unit; bytes of an entry
BANDWIDTH = 10.0  # of the knob's unit, at first
TARGET = 0.3  # of the loss
MOST = 10.0  # a loss beyond is drawn as this: the model is lost
EVERYTHING = "everything"


class Setting(NamedTuple):
    """What the knobs say of a codec. shapes: of the problem."""

    shapes: Any
    share: float  # of the entries, in percent
    bits: int
    rank: int
    feedback: bool


class Way(NamedTuple):
    """How gradients are averaged. reducer(setting); uses: the knob that it has, as text."""

    reducer: Callable[[Setting], Reducer]
    uses: Callable[[Setting], str] = lambda s: ""
    remembers: bool = True


def _percent(s: Setting) -> str:
    return f" {s.share:g} %"


def _bits(s: Setting) -> str:
    return f" {s.bits} bit{'s' * (s.bits > 1)}"


def _gathered(codec: Callable[[Setting], Any]) -> Callable[[Setting], Reducer]:
    return lambda s: compressed(codec(s), feedback=s.feedback)


WAYS: Mapping[str, Way] = {
    EVERYTHING: Way(lambda s: mean, remembers=False),
    "signs": Way(_gathered(lambda s: Sign())),
    "signs, no scale": Way(_gathered(lambda s: Sign(scaled=False))),
    "1-bit": Way(_gathered(lambda s: OneBit(s.shapes))),
    "QSGD": Way(_gathered(lambda s: QSGD(2**s.bits)), lambda s: f" {2**s.bits}"),
    "TernGrad": Way(_gathered(lambda s: TernGrad())),
    "top": Way(_gathered(lambda s: TopK(s.share / 100)), _percent),
    "random": Way(_gathered(lambda s: RandomK(s.share / 100)), _percent),
    "random, shared": Way(lambda s: shared_entries(s.share / 100, feedback=s.feedback), _percent),
    "mantissa": Way(_gathered(lambda s: Mantissa(s.bits)), _bits),
    "PowerSGD": Way(
        lambda s: power_sgd(s.shapes, rank=s.rank, feedback=s.feedback),
        lambda s: f" rank {s.rank}",
    ),
}


def what_need_not_be_sent(problem: Problem, held_out: Problem, **options: Any) -> Panel:
    """Data-parallel training; the knobs choose what is sent of a gradient, and over which link.

    options: as of `dashboard`.
    """

    def setting(share: float, bits: int, rank: int, feedback: bool) -> Setting:
        return Setting(problem.shapes, share, bits, rank, feedback)

    def launch(
        cluster: str,
        workers: int,
        bandwidth: float,
        codec: str,
        share: float,
        bits: int,
        rank: int,
        feedback: bool,
    ) -> Running:
        where: Simulated | Processes = Processes(workers, paced=True)
        if cluster == "simulated":
            network = Network(latency=LATENCY, bandwidth=MB * bandwidth)
            where = Simulated(workers, network=network)
        return where.start(
            data_parallel,
            problem,
            sgd(RATE),
            steps=STEPS,
            batch_size=BATCH_SIZE,
            reducer=WAYS[codec].reducer(setting(share, bits, rank, feedback)),
        )

    def loss(w: np.ndarray) -> float:
        seen = held_out.loss(w)
        return seen if seen < MOST else MOST  # NaN is not below it

    def answers(run: Run, curve: Curve, workers: int) -> dict[str, str]:
        sent = run.trace.bytes_by_rank(workers).max() / STEPS
        whole = summed(FLOAT * problem.dim, workers)
        return {
            f"time to {TARGET:g}": seconds_to(curve, TARGET),
            "in the end": _loss_text(float(curve.value[-1])),
            "a step takes": seconds_text(run.seconds / STEPS),
            "each sends a step": human_bytes(sent),
            "of all bytes": f"{number_text(100 * sent / whole)} %",
        }

    def label(
        cluster: str,
        workers: int,
        bandwidth: float,
        codec: str,
        share: float,
        bits: int,
        rank: int,
        feedback: bool,
    ) -> str:
        """top 1 % + memory, 8 workers; the link where it is not that of the beginning."""
        way = WAYS[codec]
        parts = [
            codec,
            way.uses(setting(share, bits, rank, feedback)),
            " + memory" * (feedback and way.remembers),
            f", {workers} workers" * (workers != 8),
            f", {bandwidth:g} MB/s" * (bandwidth != BANDWIDTH and cluster == "simulated"),
        ]
        return "".join(parts)

    return dashboard(
        launch,
        [
            Choice("cluster", ["simulated", "processes"], "simulated", group="Cluster"),
            Slider("workers", 2, 32, 8, group="Cluster"),
            Slider("bandwidth", 1.0, 1000.0, BANDWIDTH, log=True, unit="MB/s", group="Cluster"),
            Choice("codec", list(WAYS), EVERYTHING, label="what is sent", group="Compression"),
            Slider(
                *("share", 0.1, 50.0, 1.0),
                log=True,
                label="entries",
                unit="%",
                group="Compression",
            ),
            Slider("bits", 1, 16, 4, group="Compression"),
            Slider("rank", 1, 8, 1, group="Compression"),
            Toggle("feedback", False, label="memory", group="Compression"),
        ],
        curve=loss,
        value="test loss",
        target=TARGET,
        answers=answers,
        label=label,
        steps=lambda: STEPS + 1,
        **options,
    )


def _loss_text(loss: float) -> str:
    return number_text(float(f"{loss:.2g}")) if loss < MOST else "lost"
