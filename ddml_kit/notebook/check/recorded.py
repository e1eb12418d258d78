"""A vector that remembers which of its coordinates were written."""

from __future__ import annotations

from typing import Any

import numpy as np


class Recorded(np.ndarray):
    """A copy of a vector, (dim,), with `written`, (dim,), True where a value was stored.

    Views know their part of `written`; copies and results of arithmetic are plain arrays.
    """

    written: np.ndarray

    @classmethod
    def of(cls, vector: np.ndarray) -> Recorded:
        recorded = np.array(vector).view(cls)
        recorded.written = np.zeros(vector.shape, bool)
        return recorded

    def __getitem__(self, key: Any) -> Any:
        part = super().__getitem__(key)
        if not isinstance(part, Recorded):
            return part
        if not np.may_share_memory(part, self):
            return part.view(np.ndarray)
        part.written = self.written[key]
        return part

    def __setitem__(self, key: Any, value: Any) -> None:
        super().__setitem__(key, value)
        self.written[key] = True

    def __array_ufunc__(
        self, ufunc: np.ufunc, method: str, *inputs: Any, out: Any = None, **kwargs: Any
    ) -> Any:
        if method == "at" and isinstance(inputs[0], Recorded):
            inputs[0].written[inputs[1]] = True
        for target in out or ():
            if isinstance(target, Recorded):
                target.written[...] = True
        if out is not None:
            kwargs["out"] = tuple(_plain(target) for target in out)
        result = getattr(ufunc, method)(*map(_plain, inputs), **kwargs)
        return out[0] if out is not None and len(out) == 1 else result


def _plain(value: Any) -> Any:
    return value.view(np.ndarray) if isinstance(value, Recorded) else value
