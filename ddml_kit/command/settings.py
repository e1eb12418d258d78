"""A program's settings as options, and as the arguments that it is called with."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from ddml_kit.command.calls import EMPTY, Setting, call, complete, find, plain, shown
from ddml_kit.command.options import told
from ddml_kit.command.rooms import SUPPLIED, Program, choices
from ddml_kit.command.tasks import Task
from ddml_kit.command.values import PLAIN
from ddml_kit.training.optimisers import Optimiser
from ddml_kit.training.schedules import together

# Settings that a program must have, where nothing is said.
DEFAULTS = {
    "steps": 200,
    "clocks": 200,
    "passes": 5,
    "rounds": 20,
    "online": 10,
    "batch_size": 16,
    "bucket_bytes": 4096,
    "topics": 20,
    "sweeps": 20,
}
RATES = ("lr", "rate")  # of steps with one sample, as suits the problem
COMBINED: dict[str, Callable[..., Any]] = {"schedule": together}  # what may be given again
OPTIMISER = "sgd"
SEED = "seed"  # a program's own is the cluster's


class Arguments(NamedTuple):
    """A call of a program. about: all settings, as a file takes them. given: those that were asked
    for, as they were written. total: how many steps it takes, if it counts them.
    """

    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    about: dict[str, Any]
    given: dict[str, str]
    total: int | None


def add_options(parser: argparse.ArgumentParser, program: Program) -> None:
    """An option for each setting that can be typed. One that is not given leaves no trace."""
    group = parser.add_argument_group(
        f"settings of {program.name}", argument_default=argparse.SUPPRESS
    )
    if program.optimiser:
        group.add_argument("--optimiser", metavar="NAME", help=_names("optimiser", OPTIMISER))
        rate = f"its step size; for {OPTIMISER} as suits the problem"
        group.add_argument("--lr", type=told(PLAIN[float]), metavar="NUMBER", help=rate)
    for setting in program.settings:
        flag, name = f"--{setting.name.replace('_', '-')}", setting.name
        default = DEFAULTS.get(name, EMPTY) if setting.required else setting.default
        words = [setting.words] if setting.words else []
        if name in choices():
            action = "append" if name in COMBINED else "store"
            words.append(_names(name, shown(default)))
            metavar = f"{setting.reader.metavar}|NAME" if setting.reader else "NAME"
            group.add_argument(flag, metavar=metavar, action=action, help="; ".join(words))
            continue
        if setting.reader is None or name == SEED:
            continue
        if default is not EMPTY:
            words.append(f"({shown(default)})")
        elif name in RATES:
            words.append("(as suits the problem)")
        if setting.hint is bool:
            group.add_argument(flag, action=argparse.BooleanOptionalAction, help=" ".join(words))
        else:
            group.add_argument(
                flag,
                type=told(setting.reader),
                metavar=setting.reader.metavar,
                required=default is EMPTY and name not in RATES,
                help=" ".join(words),
            )


def _names(name: str, default: str) -> str:
    """What can be asked for here."""
    listed = ", ".join(one.usage(SUPPLIED) for one in choices()[name].values())
    again = "; more than one multiply" if name in COMBINED else ""
    return f"{listed} ({default}){again}"


def arguments(options: argparse.Namespace, program: Program, task: Task) -> Arguments:
    """What the options ask for. Raises ValueError with the rule that they break."""
    if not isinstance(task.train, program.needs):
        raise ValueError(
            f"{program.name} learns a {program.needs.__name__}, got a {type(task.train).__name__}"
        )
    asked = vars(options)
    args: list[Any] = [task.train]
    kwargs: dict[str, Any] = {}
    about: dict[str, Any] = {}
    if program.optimiser:
        text = asked.get("optimiser", OPTIMISER)
        optimiser, lr = _optimiser(text, asked.get("lr"), task)
        args.append(optimiser)
        about |= {"optimiser": complete(text, choices()["optimiser"], SUPPLIED), "lr": lr}
    for setting in program.settings:
        name = setting.name
        value: Any
        if name in asked and name in choices():
            texts = asked[name] if name in COMBINED else [asked[name]]
            made, told = zip(*(_choice(setting, text, task) for text in texts), strict=True)
            kwargs[name] = made[0] if len(made) == 1 else COMBINED[name](*made)
            value = told[0] if len(told) == 1 else list(told)
        elif name in asked:
            value = kwargs[name] = asked[name]
        elif setting.required:
            value = kwargs[name] = task.lr[1] if name in RATES else DEFAULTS[name]
        else:
            value = setting.default if setting.reader else shown(setting.default)
        about[name] = _written(value)
    given = {name: shown(asked[name]) for name in about if name in asked}
    total = about.get("steps", about.get("clocks"))
    return Arguments(tuple(args), kwargs, about, given, total)


def _choice(setting: Setting, text: str, task: Task) -> tuple[Any, Any]:
    """What is asked for by name, or a plain value where that will do; and how it is written."""
    known = choices()[setting.name]
    if setting.reader is None or text[:1].isalpha():
        supplied = {"shapes": getattr(task.train, "shapes", ())}
        return call(text, known, setting.name, supplied), complete(text, known, SUPPLIED)
    try:
        value = setting.reader.read(text)
    except ValueError as error:
        raise ValueError(f"{setting.name} {error}") from None
    return value, value


def _optimiser(text: str, lr: float | None, task: Task) -> tuple[Optimiser, float]:
    """What is asked for, and its step size: that in the text, or else lr, or else the task's."""
    name, _, rest = text.partition(":")
    found = find(choices()["optimiser"], name, "optimiser")
    own = found.read(rest)[1].get("lr")
    rates: list[float] = [rate for rate in (own, lr) if rate is not None]
    if len(rates) > 1:
        raise ValueError(
            f"{text} has a step size, so that there is no place for --lr, got {shown(lr)}"
        )
    if not rates and plain(name) != OPTIMISER:
        raise ValueError(f"{found.name} needs a step size of its own: give --lr")
    used = rates[0] if rates else task.lr[0]
    return found.make(rest, {"shapes": task.train.shapes, "lr": used}), used


def _written(value: Any) -> Any:
    """A setting as a file takes it: names are text."""
    if isinstance(value, Mapping):
        return {str(key): item for key, item in value.items()}
    return value
