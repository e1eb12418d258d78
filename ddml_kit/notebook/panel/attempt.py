"""A run that was asked for on a dashboard, which can be stopped before it has begun."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

from ddml_kit.cluster.run import Running


class Attempt:
    """A run that was asked for: from its start, which can take a while, to its curve's end.

    stopped: by `stop`, whenever.
    """

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self.settings = settings
        self.stopped = False
        self._running: Running | None = None
        self._lock = threading.Lock()

    def began(self, running: Running) -> None:
        """The run is under way; if it has been stopped meanwhile, it is told so."""
        with self._lock:
            self._running = running
            if self.stopped:
                running.stop()

    def stop(self) -> None:
        """End the run soon, or as soon as it begins; from any thread."""
        with self._lock:
            self.stopped = True
            if self._running is not None:
                self._running.stop()
