"""Makes digits.npz from scikit-learn's copy: python -m ddml_kit.datasets.make_digits"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np


def digits() -> dict[str, Any]:
    """images, (1797, 8, 8) uint8 from 0 to 16, and the digits they show, (1797,) uint8."""
    from sklearn.datasets import load_digits  # type: ignore

    bunch = load_digits()
    return {"images": bunch.images.astype(np.uint8), "labels": bunch.target.astype(np.uint8)}


if __name__ == "__main__":
    np.savez_compressed(Path(__file__).with_name("digits.npz"), **digits())
