"""A figure that also says in words what it shows.

The words are for those who can't see it, and for wherever a picture isn't shown.
"""

from __future__ import annotations

import html
import json
import re
from dataclasses import dataclass
from typing import Any

import plotly.graph_objects as go
from IPython.display import display

from ddml_kit.notebook.figures import style

MIME = "application/vnd.plotly.v1+json"


@dataclass(frozen=True)
class Figure:
    """A plotly figure, and the same in words. A notebook shows both, with a badge.

    words: sentences, with labels between ** as in Markdown. badge: where what is shown ran.
    """

    plot: go.Figure
    words: str
    badge: str = ""

    def data(self) -> dict[str, Any]:
        """The figure as plotly.js takes it: data, layout, config; the same for the same run."""
        return {**json.loads(self.plot.to_json()), "config": style.CONFIG}

    def _ipython_display_(self) -> None:
        data = self.data()
        # JupyterLab fits figures to the page. If plotly did so as well, the two together would take
        # the height away each second time that the window changes, and the figure with it.
        data["config"] = {**data["config"], "responsive": False}
        display({MIME: data, "text/plain": repr(self)}, raw=True)
        words = re.sub(r"\*\*(.*?)\*\*", r"<b>\1</b>", html.escape(self.words))
        badge = f'<span style="{style.CHIP}">{html.escape(self.badge)}</span>' if self.badge else ""
        caption = f'<div style="{style.CAPTION}">{badge}{words}</div>'
        display({"text/html": caption, "text/plain": repr(self)}, raw=True)

    def __repr__(self) -> str:
        words = self.words.replace("**", "")
        return f"{self.badge}: {words}" if self.badge else words
