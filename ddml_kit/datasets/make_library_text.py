"""Makes library_text.npz from Python's own library: python -m ddml_kit.datasets.make_library_text

A sample is a function (or method) of the standard library's Python files, without those of its
tests and of IDLE; functions inside functions belong to the outer one. Its words are hashed as
problems.text does, and its label is the part of the library that it is from. Functions of fewer
than 8 different words, and repetitions, are left out. library_text_words.txt says, a line a column,
which word it counts: of those that share it the one that most functions have.
"""

from __future__ import annotations

import ast
import json
import sys
import sysconfig
import textwrap
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ddml_kit.problems.text import counts, feature, words

VERSION = (3, 11, 7)  # another version's library has other functions
FEATURES = 1 << 15
FEWEST_WORDS = 8
SNIPPETS = 3  # a part, kept with their source
FEWEST_FUNCTIONS = 5  # that a column needs for its word to be kept

PARTS: dict[str, tuple[str, ...]] = {
    "asyncio": ("asyncio", "asyncore", "asynchat", "selectors"),
    "files": (
        *("_pyio", "bz2", "filecmp", "fileinput", "fnmatch", "genericpath", "glob", "gzip", "lzma"),
        *("ntpath", "os", "pathlib", "posixpath", "shutil", "tarfile", "tempfile", "zipfile"),
    ),
    "graphics": ("tkinter", "turtle"),
    "imports and packages": (
        *("distutils", "imp", "importlib", "modulefinder", "pkgutil", "runpy", "site", "sysconfig"),
        *("venv", "zipapp", "zipimport"),
    ),
    "language": (
        *("_collections_abc", "_weakrefset", "abc", "ast", "collections", "contextlib", "copy"),
        *("dataclasses", "dis", "enum", "functools", "inspect", "opcode", "operator", "pyclbr"),
        *("symtable", "tabnanny", "token", "tokenize", "types", "typing", "weakref"),
    ),
    "mail": (
        *("email", "imaplib", "mailbox", "mailcap", "mimetypes", "nntplib", "poplib", "quopri"),
        *("smtpd", "smtplib"),
    ),
    "numbers and dates": (
        *("_pydecimal", "_strptime", "calendar", "colorsys", "datetime", "fractions", "numbers"),
        *("random", "statistics", "zoneinfo"),
    ),
    "options and logs": (
        "argparse",
        "cmd",
        "code",
        "configparser",
        "getopt",
        "logging",
        "optparse",
    ),
    "processes and threads": (
        *("_threading_local", "concurrent", "multiprocessing", "pty", "queue", "sched"),
        *("subprocess", "threading"),
    ),
    "testing": (
        *("bdb", "cProfile", "doctest", "pdb", "profile", "pstats", "timeit", "trace"),
        *("traceback", "tracemalloc", "unittest", "warnings"),
    ),
    "web": (
        *("cgi", "ftplib", "http", "ipaddress", "socket", "socketserver", "ssl", "telnetlib"),
        *("urllib", "webbrowser", "wsgiref", "xmlrpc"),
    ),
    "xml": ("html", "plistlib", "xml"),
}


class Function(NamedTuple):
    """A function of the library: its full name, its source, and its part's number."""

    title: str
    source: str
    part: int


def functions(library: Path) -> Iterator[Function]:
    """The functions of the parts, file by file in alphabetical order."""
    for part, roots in enumerate(PARTS.values()):
        for root in roots:
            files = sorted((library / root).rglob("*.py")) or [library / f"{root}.py"]
            for file in files:
                module = file.relative_to(library).with_suffix("").parts
                if {"test", "tests"}.isdisjoint(module):
                    text = file.read_text(encoding="utf-8")
                    dotted = ".".join(module).removesuffix(".__init__")
                    for title, source in _inside(ast.parse(text), text.split("\n"), dotted):
                        yield Function(title, source, part)


def _inside(tree: ast.AST, lines: list[str], prefix: str) -> Iterator[tuple[str, str]]:
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            source = "\n".join(lines[node.lineno - 1 : node.end_lineno])
            yield f"{prefix}.{node.name}", textwrap.dedent(source) + "\n"
        elif isinstance(node, ast.ClassDef):
            yield from _inside(node, lines, f"{prefix}.{node.name}")
        else:
            yield from _inside(node, lines, prefix)


def library_text(library: Path) -> tuple[dict[str, Any], list[dict[str, str]], list[str]]:
    """The arrays of the data set, rows in random order, some of its functions, and the words."""
    found: dict[tuple, tuple[Function, dict[int, int]]] = {}
    for function in functions(library):
        row = counts(function.source, FEATURES)
        if len(row) >= FEWEST_WORDS:
            found.setdefault(tuple(row.items()), (function, row))
    order = np.random.default_rng(0).permutation(len(found))
    everything = list(found.values())
    chosen = [everything[i] for i in order]
    arrays: dict[str, Any] = {
        "indices": np.array([c for _, row in chosen for c in row], np.uint16),
        "counts": np.array([min(n, 255) for _, row in chosen for n in row.values()], np.uint8),
        "lengths": np.array([len(row) for _, row in chosen], np.uint16),
        "labels": np.array([function.part for function, _ in chosen], np.uint8),
        "titles": _bytes("\n".join(function.title for function, _ in chosen)),
        "parts": _bytes("\n".join(PARTS)),
        "features": np.array(FEATURES, np.int64),
    }
    snippets: list[dict[str, str]] = []
    for part, name in enumerate(PARTS):
        short = [f for f, row in chosen if f.part == part and 15 <= len(row) <= 40]
        snippets += [{"title": f.title, "part": name, "source": f.source} for f in short[:SNIPPETS]]
    return arrays, snippets, vocabulary([function.source for function, _ in chosen])


def vocabulary(sources: list[str]) -> list[str]:
    """A word for each column, the one that most sources have; none for a column that few have."""
    found = Counter(word for source in sources for word in set(words(source)))
    having = Counter(column for source in sources for column in counts(source, FEATURES))
    names = [""] * FEATURES
    for word, _ in sorted(found.items(), key=lambda item: (-item[1], item[0])):
        column = feature(word, FEATURES)
        if having[column] >= FEWEST_FUNCTIONS:
            names[column] = names[column] or word
    return names


def _bytes(text: str) -> np.ndarray:
    return np.frombuffer(text.encode(), np.uint8)


if __name__ == "__main__":
    if sys.version_info[:3] != VERSION:
        sys.exit(f"the data set is that of Python {VERSION}, this is {sys.version_info[:3]}")
    made, some, names = library_text(Path(sysconfig.get_path("stdlib")))
    here = Path(__file__)
    np.savez_compressed(here.with_name("library_text.npz"), **made)
    text = json.dumps(some, indent=1) + "\n"
    here.with_name("library_text_snippets.json").write_text(text, encoding="utf-8")
    here.with_name("library_text_words.txt").write_text("\n".join(names), encoding="utf-8")
