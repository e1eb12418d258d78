"""Small models are attacked in one thread, as clusters have it: two would wait for each other."""

from collections.abc import Iterator

import pytest

from ddml_kit.problems.torch_threads import one_thread


@pytest.fixture(autouse=True, scope="package")
def in_one_thread() -> Iterator[None]:
    with one_thread():
        yield
