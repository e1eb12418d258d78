"""A figure that answers its knobs at once: for what takes less than half a second.

What takes longer, is worth stopping or comparing with what was before belongs on a dashboard.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from ddml_kit.command.options import sentence
from ddml_kit.notebook.figures import Figure
from ddml_kit.notebook.knobs import Knob, settle
from ddml_kit.notebook.live.front import LiveFront
from ddml_kit.notebook.panel.view import face


class Shown(NamedTuple):
    """What some settings lead to: the large figures by name, and the picture."""

    answers: Mapping[str, str]
    figure: Figure


class Live:
    """Knobs and what they lead to. Show it as the last line of a cell; `show` does what moving
    the knobs does.

    draw(...) -> Shown: takes every knob by name. title: above the figure. badge: where it runs.
    presets: name -> settings that lead to a surprise; the other knobs go to their first values.
    """

    def __init__(
        self,
        draw: Callable[..., Shown],
        knobs: Sequence[Knob],
        *,
        title: str,
        badge: str = "",
        presets: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> None:
        self._draw, self._knobs, self._title = draw, knobs, title
        self._presets = {name: settle(knobs, one) for name, one in (presets or {}).items()}
        first = settle(knobs, {})
        shown = draw(**first)
        self.front = LiveFront(
            spec={
                "knobs": [face(knob) for knob in knobs],
                "presets": list(self._presets),
                "title": title,
                "badge": badge,
            },
            settings={"values": first, "turn": 0},
            state={"answers": list(shown.answers.items()), "alert": "", "sent": 0},
            figure=_json(shown.figure),
        )
        self.front.on_msg(self._moved)

    def show(self, **settings: Any) -> Shown:
        """What these settings lead to, the other knobs at their first values; the page shows it.

        Raises ValueError for a setting that no knob takes, and what drawing it raises.
        """
        chosen = settle(self._knobs, settings)
        shown = self._draw(**chosen)
        self._set(chosen)
        self._tell(shown, self.front.state["sent"])
        return shown

    def close(self) -> None:
        """Take it off the page."""
        self.front.close()

    def _moved(self, widget: LiveFront, message: Mapping[str, Any], buffers: Any) -> None:
        """Answer the knobs as they stand on the page, or a preset."""
        sent = message["sent"]
        try:
            if "preset" in message:
                chosen = self._presets[message["preset"]]
                self._set(chosen)
            else:
                chosen = settle(self._knobs, message["settings"])
            self._tell(self._draw(**chosen), sent)
        except Exception as error:  # shown on the page: nobody else would see it
            self.front.state = {**self.front.state, "alert": sentence(error), "sent": sent}

    def _set(self, chosen: Mapping[str, Any]) -> None:
        turn = self.front.settings["turn"] + 1
        self.front.settings = {"values": dict(chosen), "turn": turn}

    def _tell(self, shown: Shown, sent: int) -> None:
        self.front.figure = _json(shown.figure)
        self.front.state = {"answers": list(shown.answers.items()), "alert": "", "sent": sent}

    def _repr_mimebundle_(self, **kwargs: Any) -> dict[str, Any]:
        """The widget, and words for where there is none; the same whatever has been moved."""
        bundle = self.front._repr_mimebundle_()
        widget = bundle[0] if bundle else {}
        return {**widget, "text/html": f"<p>{self!r}</p>", "text/plain": repr(self)}

    def __repr__(self) -> str:
        names = ", ".join(knob.label or knob.name for knob in self._knobs)
        return f"{self._title}, live, with the knobs {names}. Run this cell to use it."


def _json(figure: Figure) -> str:
    return json.dumps({**figure.data(), "words": repr(figure)})
