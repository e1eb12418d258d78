"""Codecs over matrices, as the ranks of a cluster would use them."""

from __future__ import annotations

import numpy as np

from ddml_kit.cluster.endpoint import generator


def by_row(codec, n, seed=0):
    """What the codec makes of each row, with the generators that the ranks of a cluster have."""
    streams = [generator(seed, rank, "codec") for rank in range(n)]

    def compress(X):
        pairs = zip(X, streams, strict=True)
        return np.array([codec.decode(codec.encode(x, rng)) for x, rng in pairs], X.dtype)

    return compress
