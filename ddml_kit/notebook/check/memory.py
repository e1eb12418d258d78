"""How much memory an answer takes at once: what tells a method with a few vectors from one with a
matrix, when both give the same numbers.
"""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def with_memory(call: Callable[[], T]) -> tuple[T, int]:
    """What call() returns, and the bytes that it had at most, beside those there were before.

    As Python's tracemalloc counts them, which NumPy tells of its arrays.
    """
    traced = tracemalloc.is_tracing()
    if traced:
        tracemalloc.reset_peak()
    else:
        tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        result = call()
        _, most = tracemalloc.get_traced_memory()
    finally:
        if not traced:
            tracemalloc.stop()
    return result, most - before
