"""ddml-kit list: every name that `ddml-kit run` takes, with its settings."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Iterator, Sequence

from ddml_kit.command.calls import Maker
from ddml_kit.command.options import Parser
from ddml_kit.command.places import stragglers
from ddml_kit.command.rooms import SUPPLIED, choices, programs
from ddml_kit.command.tasks import tasks

HOW = """What has settings takes them after a colon, in order or by name: ssp:4, ssp:staleness=4."""


def main(words: Sequence[str]) -> int:
    """Print the list; the exit status."""
    Parser(prog="ddml-kit list", description="Names that ddml-kit run takes.").parse_args(words)
    sys.stdout.write("\n".join(_lines()) + "\n")
    return 0


def _lines() -> Iterator[str]:
    yield "PROGRAM (ddml-kit run PROGRAM --help lists its settings)"
    for program in programs().values():
        yield from _entry(program.name, program.words)
    kinds = {"problem": tasks(), **choices(), "straggler": stragglers()}
    yield ""
    yield HOW
    for kind, known in kinds.items():
        yield ""
        yield f"--{kind}"
        for one in known.values():
            yield from _entry(one.usage(SUPPLIED), _words(one))


def _words(one: Maker) -> str:
    """What it is, and what its settings are, where the docstring says so."""
    told = [f"{s.name}: {s.words}" for s in one.settings if s.words and s.reader]
    return " ".join([one.words, *(f"{text}." for text in told)])


def _entry(name: str, words: str) -> Iterator[str]:
    yield f"  {name}"
    yield from textwrap.wrap(words, 92, initial_indent="      ", subsequent_indent="      ")
