"""What training/ and collectives/ offer by name: programs, optimisers, policies, reducers.

They are found by their signatures, so a new one needs no line here:

- a program is a function of (comm: Comm, something to learn, ...) whose other parameters are
  keywords, but for an optimiser;
- an optimiser is a function that returns an Optimiser, a policy of waiting a class of Waiting;
- a schedule is a function like `constant`, or one that returns such a function; a batch size is a
  number, or what a function returns that returns one of the step; a damping is a function like
  `undamped`, an overflow one like `refuse`;
- a reducer is `mean`, or averages by an all-reduce of collectives/, which are those in cost.py, or
  is what a function of training/ returns, or a codec, whose payloads are gathered;
- a program that needs a mixing matrix W is told a topology of topologies/graphs.py, and gets its
  Metropolis weights; a codec is a class of compression/ that encodes, a split a function of
  problems/sharding.py;
- a rule is a function of aggregation/ of (gradients, f, ...), an attack one of attacks/ of
  (honest, a, rng, ...), a poison what a function of attacks/data.py returns.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import typing
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache, partial
from types import ModuleType
from typing import Any, NamedTuple

from ddml_kit import aggregation, attacks, collectives, compression, training
from ddml_kit.attacks import data as poisons
from ddml_kit.cluster.comm import Comm
from ddml_kit.collectives import cost, fixed_point
from ddml_kit.command.calls import (
    Maker,
    Makers,
    Setting,
    by_name,
    first_sentence,
    in_words,
    maker,
    ready,
    settings_of,
)
from ddml_kit.problems import Problem, sharding
from ddml_kit.topologies import Topology, graphs, metropolis
from ddml_kit.training import optimisers, reducers, schedules, waiting
from ddml_kit.training.compressed import compressed
from ddml_kit.training.kardam import Damping
from ddml_kit.training.optimisers import Optimiser
from ddml_kit.training.schedules import Schedule
from ddml_kit.training.topic_model import Corpus

KEYWORD = inspect.Parameter.KEYWORD_ONLY
SUPPLIED = ("lr", "shapes")  # by the command and by the problem


class Program(NamedTuple):
    """A program that trains. words: what it does. needs: the type of what it learns. settings: its
    keywords.
    """

    name: str
    words: str
    function: Callable[..., Any]
    needs: type
    optimiser: bool
    settings: list[Setting]


@cache
def programs() -> dict[str, Program]:
    """The programs of training/, by name."""
    found: dict[str, Program] = {}
    for module in _modules(training):
        own = [program for f in _defined_in(module) if (program := _program(f))]
        for program in own:
            words = first_sentence(module) if len(own) == 1 else in_words(program.function)
            found[program.name] = _over_a_topology(program._replace(words=words))
    return dict(sorted(found.items()))


def _program(function: Callable[..., Any]) -> Program | None:
    """The function as a program, if it is one."""
    hints = typing.get_type_hints(function)
    settings = settings_of(function)
    names = [setting.name for setting in settings]
    if len(names) < 2 or hints.get(names[0]) is not Comm:
        return None
    needs = hints.get(names[1])
    if not (inspect.isclass(needs) and issubclass(needs, Problem | Corpus)):
        return None
    parameters = inspect.signature(function).parameters
    optimiser = len(names) > 2 and hints.get(names[2]) == Optimiser
    rest = names[2 + optimiser :]
    if any(parameters[name].kind is not KEYWORD for name in rest):
        return None
    return Program(function.__name__, "", function, needs, optimiser, settings[2 + optimiser :])


def _over_a_topology(program: Program) -> Program:
    """The same, told a topology where it needs a mixing matrix."""
    if all(setting.name != "W" for setting in program.settings):
        return program
    told = Setting("topology", Topology, graphs.ring, None, "who talks to whom")
    settings = [told if setting.name == "W" else setting for setting in program.settings]
    return program._replace(function=partial(_mixed, program.function), settings=settings)


def _mixed(
    program: Callable[..., Any],
    comm: Comm,
    *args: Any,
    topology: Topology = graphs.ring,
    **settings: Any,
) -> Any:
    return program(comm, *args, W=metropolis(topology(comm.size)), **settings)


@cache
def choices() -> dict[str, Makers]:
    """What a parameter of this name can be, by name."""
    functions = [f for module in _modules(training) for f in _defined_in(module)]
    made_of = {f: maker(f) for f in functions if _typed(f)}

    def that_return(kind: Any) -> list[Maker]:
        return [made_of[f] for f in made_of if typing.get_type_hints(f).get("return") == kind]

    return {
        "optimiser": by_name(that_return(Optimiser)),
        "reducer": by_name(
            [ready(reducers.mean), *_averages(), *that_return(reducers.Reducer), *_payloads()]
        ),
        "batch_size": by_name(that_return(Callable[[int], int])),
        "schedule": by_name([*_like(schedules.constant), *that_return(Schedule)]),
        "damping": by_name([*_like(optimisers.undamped), *that_return(Damping)]),
        "overflow": by_name(_like(fixed_point.refuse)),
        "waiting": by_name(_policies()),
        "topology": by_name(_topologies()),
        "codec": by_name(_codecs()),
        "split": by_name(_splits()),
        "rule": by_name(_that_begin(aggregation, "gradients", "f")),
        "attack": by_name(
            [_none("what they are given"), *_that_begin(attacks, "honest", "a", "rng")]
        ),
        "poison": by_name([_none("their samples as they are"), *_poisons()]),
    }


def _modules(package: ModuleType) -> Iterator[ModuleType]:
    for info in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
        if not info.ispkg:
            yield importlib.import_module(info.name)


def _defined_in(module: ModuleType) -> Iterator[Callable[..., Any]]:
    """Its own public functions."""
    for name, function in vars(module).items():
        own = inspect.isfunction(function) and function.__module__ == module.__name__
        if own and not name.startswith("_"):
            yield function


def _typed(function: Callable[..., Any]) -> bool:
    """Whether all that a function or a class must have can be typed, or is supplied."""
    return all(
        s.reader or s.name in SUPPLIED or not (s.required or s.several)
        for s in settings_of(function)
    )


def _like(function: Callable[..., Any]) -> Iterator[Maker]:
    """The functions beside this one, and itself, that take and return the same."""
    module = importlib.import_module(function.__module__)
    hints = typing.get_type_hints(function)
    for other in _defined_in(module):
        if typing.get_type_hints(other) == hints:
            yield ready(other)


def _policies() -> Iterator[Maker]:
    for policy in vars(waiting).values():
        is_policy = inspect.isclass(policy) and issubclass(policy, waiting.Waiting)
        if is_policy and not inspect.isabstract(policy):
            yield maker(policy)


def _topologies() -> Iterator[Maker]:
    """Graphs of as many nodes as there are ranks; a cluster that one does not fit is refused."""
    for function in _defined_in(graphs):
        settings = settings_of(function)
        if typing.get_type_hints(function)["return"] is not graphs.nx.Graph:
            continue
        if [setting.name for setting in settings] == ["n"]:
            yield ready(function)
        else:
            yield Maker(function.__name__, in_words(function), settings, _whatever_size(function))


def _whatever_size(function: Callable[..., Any]) -> Callable[..., Topology]:
    return lambda **settings: lambda n: function(**settings)


def _codecs() -> Iterator[Maker]:
    """The codecs whose settings can all be typed, or are supplied."""
    for name in compression.__all__:
        codec = getattr(compression, name)
        encodes = inspect.isclass(codec) and hasattr(codec, "encode") and hasattr(codec, "decode")
        if encodes and codec is not compression.Codec and _typed(codec):
            yield replace(maker(codec), words=first_sentence(inspect.getmodule(codec)))


def _splits() -> Iterator[Maker]:
    """Splits of the samples, and what makes them."""
    yield from _like(sharding.contiguous)
    for function in _defined_in(sharding):
        if typing.get_type_hints(function).get("return") == sharding.Split:
            yield maker(function)


def _that_begin(room: ModuleType, *names: str) -> Iterator[Maker]:
    """The room's functions whose first parameters these are, as functions of these alone."""
    for name in room.__all__:
        function = getattr(room, name)
        settings = settings_of(function) if inspect.isfunction(function) else []
        if tuple(setting.name for setting in settings[: len(names)]) == names:
            typed = [setting for setting in settings[len(names) :] if setting.reader]
            yield Maker(name, in_words(function), typed, partial(partial, function))


def _poisons() -> Iterator[Maker]:
    """What makes an attack on data."""
    for function in _defined_in(poisons):
        if typing.get_type_hints(function).get("return") == poisons.Poison:
            yield maker(function)


def _none(words: str) -> Maker:
    """Nothing of the kind."""
    return Maker("none", words, (), lambda: None)


def _averages() -> Iterator[Maker]:
    """Reducers that average by an all-reduce of collectives/, each of which cost.py knows."""
    for name in collectives.__all__:
        function = getattr(collectives, name)
        settings = settings_of(function)
        sums = len(settings) > 1 and settings[1].name == "x" and hasattr(cost, f"{name}_seconds")
        if sums:
            yield Maker(name, in_words(function), settings[2:], _average_by(function))


def _payloads() -> Iterator[Maker]:
    """Reducers that gather a codec's payloads: each codec, with `compressed`'s own settings."""
    own = [setting for setting in settings_of(compressed) if setting.name != "codec"]
    names = [setting.name for setting in own]
    for codec in _codecs():
        yield replace(codec, settings=[*codec.settings, *own], build=_gathered(codec, names))


def _gathered(codec: Maker, names: list[str]) -> Callable[..., reducers.Reducer]:
    def build(**settings: Any) -> reducers.Reducer:
        own = {name: settings.pop(name) for name in names if name in settings}
        return compressed(codec.build(**settings), **own)

    return build


def _average_by(function: Callable[..., Any]) -> Callable[..., reducers.Reducer]:
    return lambda **settings: reducers.by(partial(function, **settings))
