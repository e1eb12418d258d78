"""The library's own code in a lab, so that the notebook and the code can't drift apart."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import PythonLexer

_CAPTION = "font: 13px var(--jp-ui-font-family, sans-serif); color: #52606D; margin: 0 0 4px"
_CODE = (
    "font: 13px/1.5 var(--jp-code-font-family, monospace); color: #1F2933; background: #F7F8FA; "
    "border-left: 3px solid #0072B2; padding: 8px 12px; margin: 0; overflow-x: auto"
)


@dataclass(frozen=True)
class Source:
    """A piece of source code with its place: shown highlighted, printed as it is."""

    text: str
    place: str

    def __repr__(self) -> str:
        return f"# {self.place}\n{self.text}"

    def _repr_html_(self) -> str:
        formatter = HtmlFormatter(noclasses=True, nowrap=True, style="default")
        code = highlight(self.text, PythonLexer(), formatter)
        return f'<p style="{_CAPTION}">{self.place}</p><pre style="{_CODE}">{code}</pre>'


def source(program: Callable[..., Any]) -> Source:
    """The source of a function or class, with the file in which it stands."""
    try:
        plain = inspect.unwrap(program)
        lines, _ = inspect.getsourcelines(plain)
        file = Path(inspect.getsourcefile(plain) or "")
    except (TypeError, OSError) as error:
        name = getattr(program, "__name__", repr(program))
        raise ValueError(
            f"source needs a function with a Python file, got {name}: {error}"
        ) from None
    module = inspect.getmodule(plain)
    if module is None or module.__name__ == "__main__":
        return Source("".join(lines), "from this notebook")
    top = sys.modules[module.__name__.partition(".")[0]]
    if top.__file__ is not None and file.is_relative_to(Path(top.__file__).parent):
        file = file.relative_to(Path(top.__file__).parent.parent)
    return Source("".join(lines), file.as_posix())
