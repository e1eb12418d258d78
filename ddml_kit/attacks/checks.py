"""What all attacks refuse."""

from __future__ import annotations

import numpy as np


def check_honest(rule: str, honest: np.ndarray, a: int) -> None:
    """Raises ValueError unless there are honest gradients, (n - a, d), and a >= 0 attackers."""
    if honest.ndim != 2 or not len(honest):
        raise ValueError(f"{rule} needs honest gradients (n - a, d), got shape {honest.shape}")
    if a < 0:
        raise ValueError(f"{rule} needs 0 attackers or more, got {a}")


def check_scale(what: str, value: float) -> None:
    """Raises ValueError unless value >= 0."""
    if not value >= 0:
        raise ValueError(f"{what} must be 0 or more, got {value}")


def repeated(lie: np.ndarray, a: int, dtype: np.dtype) -> np.ndarray:
    """The same lie of all attackers, (a, d): in step they look like a crowd."""
    return np.tile(lie.astype(dtype), (a, 1))
