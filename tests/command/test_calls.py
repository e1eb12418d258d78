"""Values and requests as they are written on a command line."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ddml_kit.command.calls import (
    by_name,
    call,
    complete,
    described,
    first_sentence,
    maker,
    plain,
    ready,
)
from ddml_kit.command.values import reader

RANKS = Collection[int] | None
BY_RANK = Mapping[int, float] | None


@pytest.mark.parametrize(
    ("hint", "text", "value"),
    [
        (int, "-4", -4),
        (float, "1e-3", 0.001),
        (float, "inf", math.inf),
        (bool, "yes", True),
        (bool, "Off", False),
        (str, "a b", "a b"),
        (Literal["mlp", "lenet"], "lenet", "lenet"),
        (int | None, "none", None),
        (int | None, "3", 3),
        (int | Callable[[int], int], "3", 3),
        (RANKS, "0-3+7", (0, 1, 2, 3, 7)),
        (RANKS, "5", (5,)),
        (BY_RANK, "2:3+5:1.5", {2: 3.0, 5: 1.5}),
        (BY_RANK, "2:1e+16", {2: 1e16}),
        (Sequence[int], "10+20", (10, 20)),
    ],
)
def test_text_is_read_by_its_type(hint: Any, text: str, value: Any) -> None:
    read = reader(hint).read(text)
    assert read == value
    assert type(read) is type(value)


@pytest.mark.parametrize(
    ("hint", "text", "rule"),
    [
        (int, "1.5", "must be a whole number, got '1.5'"),
        (float, "fast", "must be a number, got 'fast'"),
        (float, "nan", "must be a number, got 'nan'"),
        (bool, "2", "must be yes or no, got '2'"),
        (Literal["mlp", "lenet"], "vgg", "must be one of mlp, lenet, got 'vgg'"),
        (int | None, "x", "must be a whole number or none, got 'x'"),
        (RANKS, "0-", "must be ranks such as 0-3\\+7 or none, got '0-'"),
        (RANKS, "3-1", "must be ranks such as"),
        (BY_RANK, "2", "must be numbers by rank such as 2:3.0\\+5:1.5 or none, got '2'"),
        (BY_RANK, "2:nan", "must be numbers by rank"),
        (BY_RANK, "2:1+2:3", "must be numbers by rank"),
        (Sequence[int], "10,20", "must be whole numbers such as 10\\+20, got '10,20'"),
    ],
)
def test_other_text_gets_the_rule_and_the_value(hint: Any, text: str, rule: str) -> None:
    with pytest.raises(ValueError, match=rule):
        reader(hint).read(text)


def test_what_no_text_can_be_has_no_reader() -> None:
    assert reader(Callable[[int], float]) is None
    assert reader(dict[str, int]) is None


# ------------------------------------------------------------------------------- requests


@dataclass(frozen=True)
class AdaptiveSSP:
    """Each worker's bound follows J. Doe's speed. A second sentence.

    least: clocks ahead; more follows. most: the same, at the utmost.
    """

    least: int = 1
    most: int = 16


def momentum(lr: float, *, mu: float = 0.9) -> tuple:
    """A heavy ball."""
    return "momentum", lr, mu


def files(*paths: str, model: Literal["mlp", "lenet"] = "mlp") -> tuple:
    """Some files."""
    return "files", paths, model


def constant(step: int) -> float:
    """The rate stays."""
    return 1.0


KNOWN = by_name([maker(AdaptiveSSP), maker(momentum), maker(files), ready(constant)])


def ask(text: str, **supplied: Any) -> Any:
    return call(text, KNOWN, "thing", supplied)


def test_a_name_with_settings_in_order_or_by_name() -> None:
    assert ask("adaptive_ssp") == AdaptiveSSP()
    assert ask("adaptive_ssp:2,4") == AdaptiveSSP(2, 4)
    assert ask("adaptive-ssp:most=4") == AdaptiveSSP(1, 4)
    assert ask("AdaptiveSSP:2,most=4") == AdaptiveSSP(2, 4)
    assert ask("files:a,model=lenet,b") == ("files", ("a", "b"), "lenet")
    assert ask("files:a\\,b,k:v") == ("files", ("a,b", "k:v"), "mlp")
    assert ask("constant") is constant


def test_settings_that_are_supplied_stand_back_behind_the_text() -> None:
    assert ask("momentum", lr=0.5) == ("momentum", 0.5, 0.9)
    assert ask("momentum:0.25,mu=0", lr=0.5) == ("momentum", 0.25, 0.0)
    assert ask("adaptive_ssp", lr=0.5) == AdaptiveSSP()


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (
            "momenta",
            "there is no thing 'momenta'; did you mean momentum\\? there are adaptive_ssp,",
        ),
        ("zzz", "there is no thing 'zzz'; there are adaptive_ssp, momentum, files, constant$"),
        ("", "there is no thing ''"),
        ("momentum", "momentum needs lr: momentum:lr,mu=0.9"),
        ("momentum:1,nu=3", "momentum has no setting 'nu'; it is momentum:lr,mu=0.9"),
        ("momentum:x", "momentum: lr must be a number, got 'x'"),
        ("momentum:1,0.5,2", "momentum takes no value '2'; it is momentum:lr,mu=0.9"),
        ("momentum:1,lr=2", "momentum is given lr twice, got '1,lr=2'"),
        ("constant:3", "constant takes no value '3'; it is constant$"),
        ("files:paths=a", "files has no setting 'paths'; it is files:paths,...,model=mlp"),
    ],
)
def test_what_cannot_be_asked_for_gets_a_sentence(text: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        ask(text)


def test_a_request_is_completed_with_what_it_leaves_as_it_is() -> None:
    assert complete("adaptive-ssp", KNOWN) == "adaptive_ssp:least=1,most=16"
    assert complete("momentum:mu=0", KNOWN, supplied=["lr"]) == "momentum:mu=0"
    assert complete("momentum:1e-9", KNOWN, supplied=["lr"]) == "momentum:lr=1e-09,mu=0.9"
    assert complete("constant", KNOWN) == "constant"
    assert complete("files:a\\,b", KNOWN) == "files:a\\,b,model=mlp"


def either(ranks: Collection[int] | None, late: Mapping[int, float], on: bool, text: str) -> tuple:
    """All of them."""
    return ranks, dict(late), on, text


@given(
    st.none() | st.lists(st.integers(0, 9), min_size=1).map(tuple),
    st.dictionaries(st.integers(0, 9), st.floats(allow_nan=False), min_size=1),
    st.booleans(),
    st.text(st.characters(codec="ascii", exclude_characters="\\"), min_size=1),
)
def test_a_request_says_the_same_once_it_is_completed(ranks, late, on, text) -> None:
    known = by_name([maker(either)])
    whole = known["either"]
    told = "+".join(map(str, ranks)) if ranks else "none"
    first = f"{told},{'+'.join(f'{k}:{v}' for k, v in late.items())}"
    first += f",{'yes' if on else 'no'},text={text.replace(',', chr(92) + ',')}"
    assert call(f"either:{first}", known, "thing") == (ranks, late, on, text)
    assert call(complete(f"either:{first}", known), known, "thing") == (ranks, late, on, text)
    assert whole.complete(first) == complete(complete(f"either:{first}", known), known)


# ----------------------------------------------------------------------------- docstrings


def test_words_are_those_of_the_docstring() -> None:
    assert described(AdaptiveSSP) == {"least": "clocks ahead", "most": "the same, at the utmost"}
    assert described(momentum) == {}
    assert first_sentence(AdaptiveSSP) == "Each worker's bound follows J. Doe's speed."
    assert KNOWN["adaptive_ssp"].words == first_sentence(AdaptiveSSP)
    assert KNOWN["adaptive_ssp"].usage() == "adaptive_ssp:least=1,most=16"
    assert KNOWN["momentum"].usage(["lr"]) == "momentum:mu=0.9"
    assert [plain(name) for name in ("BSP", "BackupWorkers")] == ["bsp", "backup_workers"]
