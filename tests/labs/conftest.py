"""What the tests in a browser share."""

import browser
import pytest


@pytest.fixture(scope="module")
def chromium():
    """A browser; the test is skipped where there is none."""
    executable = browser.chromium()
    if executable is None:
        pytest.skip("no Chromium is installed")
    with browser.browser(executable) as chromium:
        yield chromium


@pytest.fixture(autouse=True)
def nothing_left_behind():
    """A browser starts and ends processes as it likes; the server's are looked at in the end."""
