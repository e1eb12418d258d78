"""ddml-kit: what its first word asks for."""

from __future__ import annotations

import importlib
import signal
import sys
from collections.abc import Sequence

from ddml_kit.command.options import BY_SIGNAL, Interrupted, Parser

COMMANDS = {  # the module of each, whose `main` gets the words that follow
    "run": ("run", "a program on a problem on a cluster, and write down what happened"),
    "list": ("listing", "the programs, problems and other names that run takes"),
}


def main(words: Sequence[str] | None = None) -> int:
    """Do what the words ask for, by default those of the command line; the exit status."""
    words = list(sys.argv[1:] if words is None else words)
    told = "\n".join(f"  {name:<8}{what}" for name, (_, what) in COMMANDS.items())
    parser = Parser(
        prog="ddml-kit",
        usage="ddml-kit COMMAND ...",
        description="Distributed machine learning, one command line for every cluster.",
        epilog=f"commands:\n{told}\n\nddml-kit COMMAND --help says more.",
    )
    if not words or words[0].startswith("-"):
        parser.parse_args(words)
        parser.error(f"which command? there are {', '.join(COMMANDS)}")
    command, *rest = words
    if command not in COMMANDS:
        parser.error(f"there is no command {command!r}; there are {', '.join(COMMANDS)}")
    try:
        return importlib.import_module(f"ddml_kit.command.{COMMANDS[command][0]}").main(rest)
    except Interrupted as interrupt:
        return BY_SIGNAL + interrupt.number
    except KeyboardInterrupt:
        return BY_SIGNAL + signal.SIGINT
