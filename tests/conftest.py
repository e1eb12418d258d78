"""What all tests share: hygiene (no process, thread or shared segment is left behind), and
hypothesis, which draws the same examples each time and takes its time.
"""

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from benchmarks.leftovers import inventory, left_since

settings.register_profile(
    "kit", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("kit")

PATIENCE = 5.0  # seconds that what is on its way out may take


@pytest.fixture(autouse=True)
def nothing_left_behind() -> Iterator[None]:
    """Fails a test after which something of it is still there, and names it."""
    before = inventory()
    yield
    left = left_since(before, PATIENCE)
    assert not left, f"left behind: {', '.join(sorted(left))}"
