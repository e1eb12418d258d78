"""Lab 00: one large machine, or many small ones?"""

from __future__ import annotations

from ddml_kit.cluster import Constant, Network, Run, Running, Simulated
from ddml_kit.cluster.run import Curve
from ddml_kit.notebook.dashboard import dashboard
from ddml_kit.notebook.knobs import Choice, Slider, Toggle
from ddml_kit.notebook.panel import Panel
from ddml_kit.notebook.units import seconds_text
from ddml_kit.training.scaling import (
    Job,
    Machine,
    Prices,
    round_a_ring,
    synchronous,
    through_one,
)

JOB = Job(steps=6, core_seconds=200, data=100e9, update=250e6)
EXCHANGES = {"round a ring": round_a_ring, "through one machine": through_one}
UP = {"machines": 1, "cores": 64, "memory": 128}
OUT = {"machines": 64, "cores": 1, "memory": 2}


def up_or_out() -> Panel:
    """JOB on machines of one's choice: its time, its bill, and what the machines did."""
    prices = "Prices (an hour)"
    return dashboard(
        _launch,
        [
            Slider("machines", 1, 64, 4, log=True, group="Cluster"),
            Slider("cores", 1, 64, 16, log=True, label="cores each", group="Cluster"),
            Slider("memory", 1, 256, 32, log=True, label="GB each", group="Cluster"),
            Slider("gigabits", 1, 128, 8, log=True, label="Gbit/s", group="Cluster"),
            Choice("exchange", list(EXCHANGES), "round a ring", group="Cluster"),
            Toggle("slow", False, label="one is slow", group="Cluster"),
            Slider("core", 0.01, 0.1, 0.04, step=0.01, label="$ a core", group=prices),
            Slider("gigabyte", 0.001, 0.01, 0.005, step=0.001, label="$ a GB", group=prices),
            Slider("machine", 0.0, 0.1, 0.02, step=0.01, label="$ a machine", group=prices),
            Slider("growth", 1.0, 1.5, 1.0, step=0.05, label="growth", group=prices),
        ],
        curve=lambda w: 100 * w[0],
        value="work left, %",
        log=False,
        answers=_answers,
        label=_label,
        steps=lambda: JOB.steps + 1,
        presets={
            "up": UP,
            "out": OUT,
            "out, through one": OUT | {"exchange": "through one machine"},
            "too little memory": {"machines": 2},
        },
    )


def _launch(
    machines: int,
    cores: int,
    memory: int,
    exchange: str,
    gigabits: int,
    slow: bool,
    core: float,
    gigabyte: float,
    machine: float,
    growth: float,
) -> Running:
    cluster = Simulated(
        machines,
        network=Network(bandwidth=1e9 / 8 * gigabits),
        slowdowns=[Constant({machines - 1: 2.0})] if slow else [],
    )
    each = Machine(cores=cores, memory=1e9 * memory)
    return cluster.start(synchronous, JOB, each, EXCHANGES[exchange])


def _answers(
    run: Run,
    curve: Curve,
    machines: int,
    cores: int,
    memory: int,
    core: float,
    gigabyte: float,
    machine: float,
    growth: float,
) -> dict[str, str]:
    each = Machine(cores=cores, memory=1e9 * memory)
    prices = Prices(core=core, gigabyte=gigabyte, machine=machine, growth=growth)
    computing = JOB.steps * JOB.core_seconds / (machines * cores) / run.seconds
    return {
        "time": seconds_text(run.seconds),
        "dollars": f"{prices.bill(run.seconds, each, machines):.3f}",
        "dollars an hour": f"{machines * prices.hour(each):.2f}",
        "computing, no disk": f"{computing:.0%}",
    }


def _label(machines: int, cores: int, memory: int, exchange: str, slow: bool, growth: float) -> str:
    extras = [
        ", one server" * (exchange != "round a ring"),
        ", one slow" * slow,
        f", growth {growth:g}" * (growth > 1),
    ]
    return f"{machines} × {cores} cores, {memory} GB" + "".join(extras)
