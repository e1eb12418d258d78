"""Values as they are written on a command line, by their type; nothing is evaluated.

int, float             4, 1e-3, inf
bool                   yes, no
str, Literal           as it is, one of its words
T | None               a T, or none
A | B                  the first that it can be
Collection[int]        ranks: 0-3+7
Sequence[int]          in order: 10+20
Mapping[int, float]    by rank: 2:3.0+5:1.5
"""

from __future__ import annotations

import math
import re
import types
import typing
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Literal, NamedTuple

YES, NO = ("yes", "true", "on", "1"), ("no", "false", "off", "0")


class Reader(NamedTuple):
    """How text becomes a value. rule: what it must be, "a whole number". metavar: the same in help.
    parse: raises ValueError for anything else.
    """

    rule: str
    metavar: str
    parse: Callable[[str], Any]

    def read(self, text: str) -> Any:
        """The value. Raises ValueError with the rule and the text."""
        try:
            return self.parse(text)
        except ValueError:
            raise ValueError(f"must be {self.rule}, got {text!r}") from None


def reader(hint: Any) -> Reader | None:
    """The reader of a type; None for one that can't be written."""
    if hint in PLAIN:
        return PLAIN[hint]
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        rule = f"one of {', '.join(arguments)}"
        return Reader(rule, "|".join(arguments), lambda text: _one_of(arguments, text))
    if origin in (typing.Union, types.UnionType):
        return _either([found for part in arguments if (found := reader(part))])
    return None


def _either(readers: list[Reader]) -> Reader | None:
    """What reads as the first of these that can; None where nothing could be said but none."""

    def parse(text: str) -> Any:
        for one in readers:
            try:
                return one.parse(text)
            except ValueError:
                continue
        raise ValueError

    if all(one is PLAIN[types.NoneType] for one in readers):
        return None
    return Reader(" or ".join(one.rule for one in readers), readers[0].metavar, parse)


def _number(text: str) -> float:
    value = float(text)
    if math.isnan(value):
        raise ValueError
    return value


def _yes_or_no(text: str) -> bool:
    if text.lower() not in YES + NO:
        raise ValueError
    return text.lower() in YES


def _none(text: str) -> None:
    if text.lower() != "none":
        raise ValueError


def _one_of(words: tuple[str, ...], text: str) -> str:
    if text not in words:
        raise ValueError
    return text


def _ranks(text: str) -> tuple[int, ...]:
    """0-3+7 as (0, 1, 2, 3, 7)."""
    ranks: list[int] = []
    for part in text.split("+"):
        first, dash, last = part.partition("-")
        ranks += range(int(first), int(last) + 1) if dash else [int(first)]
    if not ranks:
        raise ValueError
    return tuple(ranks)


def _by_rank(text: str) -> dict[int, float]:
    """2:3.0+5:1.5 as {2: 3.0, 5: 1.5}; the plus in 1e+16 is the number's."""
    parts = re.split(r"(?<![eE])\+", text)
    pairs = {int(rank): _number(value) for rank, _, value in (p.partition(":") for p in parts)}
    if len(pairs) < len(parts):
        raise ValueError
    return pairs


PLAIN: dict[Any, Reader] = {
    int: Reader("a whole number", "N", int),
    float: Reader("a number", "NUMBER", _number),
    bool: Reader("yes or no", "yes|no", _yes_or_no),
    str: Reader("text", "TEXT", str),
    type(None): Reader("none", "none", _none),
    Collection[int]: Reader("ranks such as 0-3+7", "RANKS", _ranks),
    Sequence[int]: Reader(
        "whole numbers such as 10+20", "N+N...", lambda text: tuple(map(int, text.split("+")))
    ),
    Mapping[int, float]: Reader("numbers by rank such as 2:3.0+5:1.5", "RANK:NUMBER+...", _by_rank),
}
