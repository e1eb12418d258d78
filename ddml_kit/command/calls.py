"""What is asked for by name, with settings of its own after a colon.

    ssp:4                  SSP(staleness=4.0)
    backup_workers:late=2,cancel=no
    idx:train-images,train-labels,model=lenet

Values without a name go to the parameters in their order. Which names there are, which settings
each has, of which type and what they mean is read off signatures and docstrings, so that there is
no second list of them. A comma inside a value is written \\, with a backslash.
"""

from __future__ import annotations

import difflib
import inspect
import re
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from ddml_kit.command.values import Reader, reader

EMPTY = inspect.Parameter.empty
SEVERAL = inspect.Parameter.VAR_POSITIONAL


@dataclass(frozen=True)
class Setting:
    """A parameter of a function. default: EMPTY if there is none. reader: None if no text will do.
    several: it takes as many values as there are.
    """

    name: str
    hint: Any
    default: Any
    reader: Reader | None
    words: str
    several: bool = False

    @property
    def required(self) -> bool:
        return self.default is EMPTY and not self.several

    def usage(self) -> str:
        """How it is written: staleness, by_round=no, path,..."""
        if self.several:
            return f"{self.name},..."
        return self.name if self.required else f"{self.name}={shown(self.default)}"


def settings_of(function: Callable[..., Any]) -> list[Setting]:
    """The parameters of a function or a class, in order."""
    hints = typing.get_type_hints(function.__init__ if inspect.isclass(function) else function)
    words = described(function)
    return [
        Setting(
            name,
            hints.get(name, Any),
            parameter.default,
            reader(hints.get(name, Any)),
            words.get(name, ""),
            parameter.kind is SEVERAL,
        )
        for name, parameter in inspect.signature(function).parameters.items()
    ]


def in_words(function: Callable[..., Any]) -> str:
    """What it is: how its docstring begins, or its module's, where that is called the same."""
    module = inspect.getmodule(function)
    alone = module is not None and module.__name__.rpartition(".")[2] == function.__name__
    return first_sentence(module if alone else function)


def first_sentence(what: Any) -> str:
    """How its docstring begins; the full stop of an initial ends no sentence."""
    first, *_ = (inspect.getdoc(what) or "").split("\n\n")
    return re.split(r"(?<=[a-z0-9)`]\.)\s", first)[0].replace("\n", " ")


def described(function: Callable[..., Any]) -> dict[str, str]:
    """What the docstring says of each parameter, a clause each, where it says "name: words"."""
    text = " ".join((inspect.getdoc(function) or "").split())
    names = "|".join(map(re.escape, inspect.signature(function).parameters))
    if not names:
        return {}
    begins = list(re.finditer(rf"(?:^|(?<=[.;:] ))((?:{names})(?:, (?:{names}))*): ", text))
    ends = [begin.start() for begin in begins[1:]] + [len(text)]
    words: dict[str, str] = {}
    for begin, end in zip(begins, ends, strict=False):
        told = re.split(r"[.;](?= |$)", text[begin.end() : end])[0]
        words |= dict.fromkeys(begin.group(1).split(", "), told)
    return words


@dataclass(frozen=True)
class Maker:
    """What can be asked for by name. words: what it is. build: makes it of its settings."""

    name: str
    words: str
    settings: Sequence[Setting]
    build: Callable[..., Any]

    def usage(self, supplied: Iterable[str] = ()) -> str:
        """How it is written, without what is supplied: ssp:staleness,by_round=no."""
        told = [s.usage() for s in self.settings if s.reader and s.name not in supplied]
        return f"{self.name}:{','.join(told)}" if told else self.name

    def make(self, text: str, supplied: Mapping[str, Any]) -> Any:
        """What it makes of the settings in the text; those that it lacks are supplied, if it has
        such a parameter. Raises ValueError with the rule that a setting breaks.
        """
        several, named = self.read(text)
        for setting in self.settings:
            if setting.name not in named and setting.name in supplied:
                named[setting.name] = supplied[setting.name]
            if setting.required and setting.name not in named:
                raise ValueError(f"{self.name} needs {setting.name}: {self.usage(supplied)}")
        return self.build(*several, **named)

    def complete(self, text: str, supplied: Iterable[str] = ()) -> str:
        """NAME:SETTINGS with those that the text leaves as they are, but for what is supplied or
        can't be written.
        """
        several, named = self.read(text)
        values = {
            setting.name: named.get(setting.name, setting.default)
            for setting in self.settings
            if setting.name in named
            or not (setting.several or setting.reader is None or setting.name in supplied)
        }
        parts = [shown(value) for value in several]
        parts += [f"{name}={shown(value)}" for name, value in values.items()]
        told = ",".join(part.replace(",", "\\,") for part in parts)
        return f"{self.name}:{told}" if told else self.name

    def read(self, text: str) -> tuple[list[Any], dict[str, Any]]:
        """The values in the text: those of the parameter that takes several, and others by name."""
        by_name = {setting.name: setting for setting in self.settings if setting.reader}
        in_order = list(by_name.values())
        several: list[Any] = []
        named: dict[str, Any] = {}
        for part in _parts(text):
            name, equals, value = part.partition("=")
            if equals and name.isidentifier():
                if name not in by_name or by_name[name].several:
                    raise ValueError(f"{self.name} has no setting {name!r}; it is {self.usage()}")
                setting = by_name[name]
            elif not in_order:
                raise ValueError(f"{self.name} takes no value {part!r}; it is {self.usage()}")
            else:
                setting, value = in_order[0], part
                if not setting.several:
                    in_order.pop(0)
            if setting.name in named:
                raise ValueError(f"{self.name} is given {setting.name} twice, got {text!r}")
            assert setting.reader is not None
            try:
                read = setting.reader.read(value)
            except ValueError as error:
                raise ValueError(f"{self.name}: {setting.name} {error}") from None
            if setting.several:
                several.append(read)
            else:
                named[setting.name] = read
        return several, named


Makers = Mapping[str, Maker]
Named = TypeVar("Named")


def maker(function: Callable[..., Any]) -> Maker:
    """A function or a class that makes what is asked for by its name."""
    name = plain(function.__name__)
    return Maker(name, in_words(function), settings_of(function), function)


def ready(function: Callable[..., Any]) -> Maker:
    """A function that is what is asked for, and takes no settings."""
    return Maker(function.__name__, in_words(function), (), lambda: function)


def by_name(found: Iterable[Maker]) -> dict[str, Maker]:
    """Makers by their names."""
    return {one.name: one for one in found}


def plain(name: str) -> str:
    """A name as it is written here: AdaptiveSSP and adaptive-ssp are adaptive_ssp."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).replace("-", "_").lower()


def find(known: Mapping[str, Named], name: str, what: str) -> Named:
    """What has this name. Raises ValueError with the names that there are."""
    if plain(name) in known:
        return known[plain(name)]
    near = difflib.get_close_matches(plain(name), known, 1)
    hint = f"did you mean {near[0]}? " if near else ""
    raise ValueError(f"there is no {what} {name!r}; {hint}there are {', '.join(known)}")


def call(text: str, known: Makers, what: str, supplied: Mapping[str, Any] | None = None) -> Any:
    """What NAME:SETTINGS asks for. Raises ValueError with the rule and the value."""
    name, _, rest = text.partition(":")
    return find(known, name, what).make(rest, supplied or {})


def complete(text: str, known: Makers, supplied: Iterable[str] = ()) -> str:
    """The same request with all its settings, as `call` would understand it."""
    name, _, rest = text.partition(":")
    return known[plain(name)].complete(rest, supplied)


def shown(value: Any) -> str:
    """A value as it is written; what can be asked for by name, as its name."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:g}" if float(f"{value:g}") == value else f"{value}"
    if isinstance(value, int | str):
        return f"{value}"
    if isinstance(value, tuple | list):
        return "+".join(map(str, value))
    if isinstance(value, Mapping):
        return "+".join(f"{key}:{item}" for key, item in value.items())
    if value is None:
        return "none"
    return plain(getattr(value, "__name__", type(value).__name__))


def _parts(text: str) -> list[str]:
    return [part.replace("\\,", ",") for part in re.split(r"(?<!\\),", text)] if text else []
