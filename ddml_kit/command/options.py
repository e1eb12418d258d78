"""Options whose types are read off signatures, and errors that are one sentence."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from typing import Any, NoReturn

from ddml_kit.cluster.distributed.world import NAMES
from ddml_kit.command.values import Reader, reader

FAILED, BAD_INPUT, BY_SIGNAL = 1, 2, 128  # exit statuses; to the last the signal's number is added


class Interrupted(KeyboardInterrupt):
    """An interrupt by the signal of this number, which the exit status tells."""

    def __init__(self, number: int) -> None:
        super().__init__(f"signal {number}")
        self.number = number


class Parser(argparse.ArgumentParser):
    """argparse's, which takes no abbreviations and says what is wrong without the whole usage."""

    def __init__(self, **options: Any) -> None:
        super().__init__(
            allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter, **options
        )

    def error(self, message: str) -> NoReturn:
        if speaks():
            sys.stderr.write(f"{self.prog}: {message}\n")
        raise SystemExit(BAD_INPUT)


def typed(hint: Any) -> Callable[[str], Any]:
    """What argparse needs to read a value of this type."""
    found = reader(hint)
    assert found is not None, f"{hint} can't be typed"
    return told(found)


def told(reader: Reader) -> Callable[[str], Any]:
    """A reader whose rule argparse passes on."""

    def read(text: str) -> Any:
        try:
            return reader.read(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return read


def launched() -> bool:
    """Whether torchrun, or something like it, has started this process."""
    return all(name in os.environ for name in NAMES)


def speaks() -> bool:
    """Whether this process is the one that reports: alone, or the first that torchrun started."""
    return not launched() or os.environ["RANK"] == "0"


def sentence(error: Exception) -> str:
    """What went wrong, without Python's numbers of errors."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return str(error)
