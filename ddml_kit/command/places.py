"""Where a run can go, as options: simulated, processes of this machine, torch.distributed.

What a cluster can be told are the parameters of its class; an option for a parameter that the
chosen one lacks is refused. Where torchrun has started this process, no cluster need be named.
"""

from __future__ import annotations

import argparse
import inspect
import os
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from ddml_kit.cluster import Network, Processes, Simulated, Torchrun, faults
from ddml_kit.cluster.faults import Slowdown
from ddml_kit.cluster.run import Cluster, OnFailure
from ddml_kit.command.calls import Maker, Makers, by_name, call, maker
from ddml_kit.command.options import launched, typed
from ddml_kit.command.values import PLAIN

PLACES: dict[str, tuple[Callable[..., Cluster], str]] = {
    "simulated": (Simulated, "N ranks in virtual time, the same in every run"),
    "processes": (Processes, "N processes of this machine"),
    "torchrun": (Torchrun, "N processes of this machine that talk through torch.distributed"),
}
GIVEN = {  # the parameters of clusters, and their options
    "seed": "seed",
    "network": "network",
    "slowdowns": "straggler",
    "crashes": "crash",
    "on_failure": "on-failure",
    "paced": "paced",
}


class Place(NamedTuple):
    """A cluster that was asked for. about: by which options, as a file takes them."""

    cluster: Cluster
    about: dict[str, Any]


def add_options(parser: argparse.ArgumentParser) -> None:
    """All that says where. An option of the cluster that is not given leaves no trace."""
    where = parser.add_argument_group("where", "one of these, or none where torchrun starts it")
    only = where.add_mutually_exclusive_group()
    for name, (_, words) in PLACES.items():
        only.add_argument(f"--{name}", type=typed(int), metavar="N", help=words)
    group = parser.add_argument_group("the cluster", argument_default=argparse.SUPPRESS)
    group.add_argument("--seed", type=typed(int), metavar="N", help="of all random numbers (0)")
    links = network().usage().partition(":")[2]
    group.add_argument("--network", metavar="KEY=VALUE,...", help=f"if simulated: {links}")
    models = " | ".join(model.usage() for model in stragglers().values())
    group.add_argument(
        "--straggler",
        dest="slowdowns",
        action="append",
        metavar="MODEL",
        help=f"who is slow, times what others say: {models}",
    )
    group.add_argument(
        "--crash",
        dest="crashes",
        metavar="RANK:SECONDS+...",
        help="who dies, and when",
    )
    group.add_argument(
        "--on-failure",
        type=typed(OnFailure),
        metavar="WHAT",
        help="whether a rank that fails ends the run: stop (the default) or continue",
    )
    group.add_argument(
        "--paced", action="store_true", help="real computing takes as long as virtual"
    )


def chosen(options: argparse.Namespace) -> Place:
    """The cluster that the options ask for. Raises ValueError with the rule that they break."""
    named = next((name for name in PLACES if getattr(options, name) is not None), None)
    if named is None and not launched():
        raise ValueError(f"where? give --{' N, --'.join(PLACES)} N, or start it with torchrun")
    if launched() and named not in (None, "torchrun"):
        raise ValueError(
            f"--{named} is for one process, but torchrun has started {os.environ['WORLD_SIZE']}"
        )
    name = named or "torchrun"
    kind, size = PLACES[name][0], getattr(options, name)
    given = {key: value for key, value in vars(options).items() if key in GIVEN}
    for key in given:
        if key not in inspect.signature(kind).parameters:
            raise ValueError(f"--{GIVEN[key]} is not for {name}")
    about = {"where": name, **given}
    if "network" in given:
        given["network"] = network().make(given["network"], {})
    if "slowdowns" in given:
        known = stragglers()
        given["slowdowns"] = [call(text, known, "straggler") for text in given["slowdowns"]]
    if "crashes" in given:
        given["crashes"] = _crashes(given["crashes"])
    cluster = kind(**given) if size is None else kind(size, **given)
    about["size"] = cluster.size
    return Place(cluster, about)


def _crashes(text: str) -> Mapping[int, float]:
    try:
        return PLAIN[Mapping[int, float]].read(text)
    except ValueError as error:
        raise ValueError(f"--crash {error}") from None


def network() -> Maker:
    """A network, by its fields."""
    return maker(Network)


def stragglers() -> Makers:
    """The models of stragglers in cluster/faults.py, by name."""
    kinds = [kind for kind in vars(faults).values() if inspect.isclass(kind)]
    return by_name(
        maker(kind)
        for kind in kinds
        if hasattr(kind, "factor") and kind.__module__ == faults.__name__ and kind is not Slowdown
    )
