"""ddml-kit run: a program on a problem on a cluster, watched, told and written to a file."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import ddml_kit
from ddml_kit.cluster.errors import ClusterError, RankFailed
from ddml_kit.cluster.run import Run
from ddml_kit.cluster.trace import COMPUTE
from ddml_kit.command import places, settings
from ddml_kit.command.calls import call, complete, find
from ddml_kit.command.options import BY_SIGNAL, FAILED, Parser, sentence, speaks
from ddml_kit.command.progress import Progress
from ddml_kit.command.report import account, table
from ddml_kit.command.rooms import Program, programs
from ddml_kit.command.tasks import Figures, Task, tasks
from ddml_kit.command.watching import Ending, guarded, watch

PROBLEM = "digits"


def main(words: Sequence[str]) -> int:
    """Do what the words after `ddml-kit run` ask for; the exit status.

    0 if the run came to its end, 1 if it failed, 128 plus the signal's number if one stopped it.
    What can't be run ends the process with 2. Of those that torchrun starts, the first reports.
    """
    program = _program(words)
    parser = _parser(program)
    options = parser.parse_args(words[1:])
    try:
        place = places.chosen(options)
        out = Path(options.out) if options.out is not None and speaks() else None
        if out is not None:
            _check_free(out, options.force)
        task: Task = call(options.problem, tasks(), "problem")
        asked = settings.arguments(options, program, task)
    except (ValueError, OSError, MemoryError) as error:
        parser.error(sentence(error))
    about = {
        "kit": ddml_kit.__version__,
        "program": program.name,
        "problem": complete(options.problem, tasks()),
        "settings": asked.about,
        "given": asked.given,
        "cluster": place.about,
    }
    figures = task.figures(asked.about)
    figure = next(iter(figures.items()))
    progress = Progress(sys.stderr, figure, asked.total) if speaks() else None
    with guarded() as guard:
        try:
            running = place.cluster.start(program.function, *asked.args, **asked.kwargs)
            ending = watch(running, progress, guard)
        except ClusterError as error:  # no workers could be started
            ending = Ending(None, error, None)
        except ValueError as error:  # under torchrun: another rank runs something else
            parser.error(str(error))
        if ending.error is not None and _refused(ending.error):
            parser.error(str(ending.error.__cause__))
        return _report(parser.prog, ending, about, figures, out)


def _report(
    prog: str, ending: Ending, about: Mapping[str, Any], figures: Figures, out: Path | None
) -> int:
    """Write the run, tell what came of it, and return the exit status."""
    status = 0 if ending.signal is None else BY_SIGNAL + ending.signal
    if ending.error is not None:
        status = FAILED
    if not speaks():
        return status
    if ending.error is not None:
        sys.stderr.write(f"{prog}: {ending.error}\n")
    if ending.run is None:
        return status
    run = replace(ending.run, about=about)
    saved = {}
    if out is not None:
        try:
            _write(run, out)
            saved["saved as"] = str(out)
        except (OSError, TypeError) as error:
            sys.stderr.write(f"{prog}: {sentence(error)}\n")
            status = status or FAILED
    rows = account(run, figures)
    if isinstance(ending.error, RankFailed):
        rows.pop(f"rank {ending.error.rank}", None)  # it has been told
    print(table(rows | saved))
    return status


def _program(words: Sequence[str]) -> Program:
    """The program that the first word names."""
    first = Parser(prog="ddml-kit run", usage="ddml-kit run PROGRAM [options]")
    listed = "\n".join(f"  {name:<18}{one.words}" for name, one in programs().items())
    first.epilog = f"programs:\n{listed}\n\nddml-kit run PROGRAM --help lists its options."
    if not words or words[0].startswith("-"):
        first.parse_args(words)
        first.error(f"which program? there are {', '.join(programs())}")
    try:
        return find(programs(), words[0], "program")
    except ValueError as error:
        first.error(str(error))


def _parser(program: Program) -> Parser:
    parser = Parser(prog=f"ddml-kit run {program.name}", description=program.words)
    parser.add_argument(
        "--problem",
        default=PROBLEM,
        metavar="NAME",
        help=f"what is learned: {', '.join(tasks())} ({PROBLEM}); ddml-kit list has their settings",
    )
    places.add_options(parser)
    settings.add_options(parser, program)
    kept = parser.add_argument_group("what is kept")
    kept.add_argument("--out", metavar="FILE", help="where the run is written, as .npz")
    kept.add_argument("--force", action="store_true", help="write over a file that is there")
    return parser


def _check_free(path: Path, force: bool) -> None:
    """Raises ValueError where a run can't be written, before it is run."""
    if path.is_dir() or not os.access(path.parent, os.W_OK):
        raise ValueError(f"--out needs a file in a folder that can be written to, got {path}")
    if path.exists() and not force:
        raise ValueError(f"{path} is there already: give --force to write over it")


def _write(run: Run, path: Path) -> None:
    """Write the file whole, or leave what was there."""
    part = path.with_name(f"{path.name}.part")
    try:
        run.save(part)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def _refused(error: ClusterError) -> bool:
    """Whether a rank refused its settings, in its first step and before anything was sent."""
    if error.run is None or not isinstance(error.__cause__, ValueError):
        return False
    seen = max((snapshot.step for snapshot in error.run.snapshots), default=0)
    return seen == 0 and len(error.run.trace.of(COMPUTE)) == len(error.run.trace)
