"""One clock for a run whose ranks may be on several hosts.

Each rank counts by its own monotonic clock. How far that is from rank 0's it finds by asking for
the time and taking half of the round trip for the way there, with the fastest of some round trips
(F. Cristian, "Probabilistic clock synchronization", Distributed Computing 3, 1989). The error is at
most half of that round trip, some 50 µs on one host or in one rack; clocks then drift apart by some
microseconds a second. A difference that may be an error is taken for none: on one host the clocks
are one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

ROUNDS = 8


class Sample(NamedTuple):
    """One round trip, in seconds of the two clocks: asked, answered, and the other's time."""

    asked: float
    answered: float
    theirs: float


def offset(samples: Sequence[Sample]) -> float:
    """What has to be added to the other's time to get one's own, in seconds."""
    best = min(samples, key=lambda sample: sample.answered - sample.asked)
    trip = best.answered - best.asked
    ahead = best.asked + trip / 2 - best.theirs
    return ahead if abs(ahead) > trip / 2 else 0.0
