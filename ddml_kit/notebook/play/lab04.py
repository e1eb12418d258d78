"""Lab 04: which way round is fastest, and when?

What is trained is a softmax regression of digits, a model in disguise: a gradient takes 2 ms, and
is filled up with zeros to the size that the knob says, so that it takes its time on the links.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from ddml_kit.cluster import Comm, Network, Processes, Run, Running, Simulated
from ddml_kit.cluster.run import Curve, human_bytes
from ddml_kit.cluster.trace import COMPUTE
from ddml_kit.collectives import cost, halving_doubling, hierarchical, master_worker, ring, tree
from ddml_kit.collectives.fixed_point import scale_for
from ddml_kit.collectives.switch import leave_switch, switch, through_switch
from ddml_kit.notebook.dashboard import dashboard
from ddml_kit.notebook.knobs import Choice, Slider
from ddml_kit.notebook.panel import Panel
from ddml_kit.notebook.units import count_text, seconds_text
from ddml_kit.problems import Logistic, Problem, digits
from ddml_kit.problems.problem import Batch
from ddml_kit.training.data_parallel import data_parallel
from ddml_kit.training.optimisers import Optimiser, sgd
from ddml_kit.training.reducers import Reduce, Reducer, by

STEPS, BATCH_SIZE, RATE = 10, 16, 0.5
KB, MICRO, MB = 1000, 1e-6, 1e6  # units of the knobs: bytes, seconds, bytes a second
FLOAT = 4  # bytes of a coordinate
LATENCY, BANDWIDTH, UPLINK = 50.0, 1000.0, 10  # in these units, and how many times slower
SWITCH = "switch"
SLOTS = 64  # of the switch; a vector is cut into as many blocks, so that a run stays short
BOUND = 4.0  # of a coordinate of a gradient; what is above would be refused


class Way(NamedTuple):
    """An all-reduce. chosen(racks): the function; seconds(n, nbytes, network): on paper."""

    chosen: Callable[[int], Callable[[Comm, np.ndarray], np.ndarray]]
    seconds: Callable[[int, float, Network], float]


WAYS: Mapping[str, Way] = {
    "master-worker": Way(lambda racks: master_worker, cost.master_worker_seconds),
    "tree": Way(lambda racks: tree, cost.tree_seconds),
    "ring": Way(lambda racks: ring, cost.ring_seconds),
    "halving-doubling": Way(lambda racks: halving_doubling, cost.halving_doubling_seconds),
    "hierarchical": Way(
        lambda racks: partial(hierarchical, racks=racks), cost.hierarchical_seconds
    ),
}


class Digits(Logistic):
    """Handwritten digits; a batch of whatever size takes 2 ms."""

    def seconds(self, batch: Batch) -> float:
        return 2e-3


def which_way_round(**options: Any) -> Panel:
    """Data-parallel training; the knobs choose how gradients are added up, and over which links.

    options: as of `dashboard`.
    """
    train, test = (Digits(data.x, data.y) for data in digits().split(test=0.2, seed=0))

    def launch(
        cluster: str,
        workers: int,
        algorithm: str,
        size: int,
        latency: float,
        bandwidth: float,
        racks: int,
        uplink: int,
    ) -> Running:
        ranks = workers + (algorithm == SWITCH)
        where: Simulated | Processes = Processes(ranks, paced=True)
        if cluster == "simulated":
            network = _network(workers, algorithm, latency, bandwidth, racks, uplink)
            where = Simulated(ranks, network=network)
        settings = {"steps": STEPS, "batch_size": BATCH_SIZE}
        if algorithm == SWITCH:
            return where.start(train_through_switch, train, sgd(RATE), nbytes=KB * size, **settings)
        reducer = filled(by(WAYS[algorithm].chosen(min(racks, workers))), KB * size)
        return where.start(data_parallel, train, sgd(RATE), reducer=reducer, **settings)

    return dashboard(
        launch,
        [
            Choice("cluster", ["simulated", "processes"], "simulated", group="Cluster"),
            Slider("workers", 2, 32, 8, group="Cluster"),
            Slider("latency", 1.0, 1000.0, LATENCY, log=True, unit="µs", group="Cluster"),
            Slider("bandwidth", 10.0, 5000.0, BANDWIDTH, log=True, unit="MB/s", group="Cluster"),
            Slider("racks", 1, 8, 1, group="Cluster"),
            Slider("uplink", 1, 20, UPLINK, label="uplinks", unit="× slower", group="Cluster"),
            Choice("algorithm", [*WAYS, SWITCH], "ring", group="All-reduce"),
            Slider("size", 4, 4096, 1024, log=True, step=4, unit="kB", group="All-reduce"),
        ],
        curve=test.loss,
        value="test loss",
        log=False,
        steps=lambda: STEPS + 1,
        answers=_answers,
        label=_label,
        **options,
    )


def train_through_switch(
    comm: Comm, problem: Problem, optimiser: Optimiser, *, nbytes: int, **options: Any
) -> np.ndarray | None:
    """What training.switched does, with gradients that are filled up to so many bytes."""
    workers = comm.size - 1
    if comm.rank == workers:
        switch(comm)
        return None

    def reducer(group: Comm) -> Reduce:
        f = scale_for(workers, BOUND)
        return lambda x: through_switch(comm, x, f=f, elements=_block(len(x))) / workers

    w = data_parallel(
        comm.group(range(workers)), problem, optimiser, reducer=filled(reducer, nbytes), **options
    )
    leave_switch(comm)
    return w


def filled(reducer: Reducer, nbytes: int) -> Reducer:
    """The same mean, of gradients that are filled up with zeros to so many bytes."""

    def of(comm: Comm) -> Reduce:
        reduce = reducer(comm)

        def fill(gradient: np.ndarray) -> np.ndarray:
            x = np.zeros(max(len(gradient), nbytes // gradient.itemsize), gradient.dtype)
            x[: len(gradient)] = gradient
            return reduce(x)[: len(gradient)]

        return fill

    return of


def _network(
    workers: int, algorithm: str, latency: float, bandwidth: float, racks: int, uplink: int
) -> Network:
    """The links that the knobs say; a switch is in the middle of one rack."""
    switched = algorithm == SWITCH
    return Network(
        latency=MICRO * latency,
        bandwidth=MB * bandwidth,
        racks=1 if switched else min(racks, workers),
        uplink_latency=MICRO * latency,
        uplink_bandwidth=MB * bandwidth / uplink,
        switch=switched,
    )


def _label(
    cluster: str,
    workers: int,
    algorithm: str,
    size: int,
    latency: float,
    bandwidth: float,
    racks: int,
    uplink: int,
) -> str:
    """The way, and 8 × 64 kB; links and racks where they are not those of the beginning."""
    way = f"{algorithm}, {workers} × {size:,} kB"
    if cluster != "simulated":
        return way
    racks = min(racks, workers)
    links = [
        f", {latency:g} µs" * (latency != LATENCY),
        f", {bandwidth:g} MB/s" * (bandwidth != BANDWIDTH),
        f", {racks} racks" * (racks > 1),
        f", uplinks {uplink} ×" * (racks > 1 and uplink != UPLINK),
    ]
    return way + "".join(links)


def _block(length: int) -> int:
    return -(-length // SLOTS)


def _answers(
    run: Run,
    curve: Curve,
    cluster: str,
    workers: int,
    algorithm: str,
    size: int,
    latency: float,
    bandwidth: float,
    racks: int,
    uplink: int,
) -> dict[str, str]:
    """An all-reduce: from the end of one gradient to the beginning of the next, on worker 0."""
    computed = run.trace.of(COMPUTE, rank=0)
    took = float(np.median(computed["start"][1:] - computed["stop"][:-1]))
    told = {"an all-reduce": seconds_text(took)}
    if cluster == "simulated":
        network = _network(workers, algorithm, latency, bandwidth, racks, uplink)
        if algorithm == SWITCH:
            length = KB * size // FLOAT
            paper = cost.switch_seconds(length, network, _block(length), SLOTS)
        else:
            paper = WAYS[algorithm].seconds(workers, KB * size, network)
        told["on paper"] = seconds_text(paper)
    told["messages in a row"] = count_text(run.trace.steps(run.size) / STEPS)
    sent = run.trace.bytes_by_rank(run.size)[:workers]
    told["the busiest sends"] = human_bytes(sent.max() / STEPS)
    return told
