"""Made-up sparse data of any size, with frequencies like those of words."""

from __future__ import annotations

import numpy as np

from ddml_kit.problems.csr import Rows
from ddml_kit.problems.data import Data

CHUNK = 1 << 21  # non-zeros drawn at once, which bounds the memory that drawing needs


def sparse_logistic(
    samples: int,
    features: int,
    nonzeros: int,
    *,
    seed: int,
    exponent: float = 1.1,
    dense: float = 0.0,
    noise: float = 0.05,
) -> Data:
    """Sparse samples of two equally frequent classes that a linear model tells apart.

    Each row has exactly `nonzeros` of the `features`, drawn without replacement, feature k (from
    1) with a weight of k^-exponent: Zipf's law. A feature whose weight asks for more than one draw
    a row comes in every row. exponent 0 draws all alike, so that rows rarely meet; 2 makes half of
    each row the same. dense: the share of each row's non-zeros that are the same features
    in all rows (the first ones): at 1, all rows meet everywhere. Values are as in text retrieval:
    1 + log(count), counts geometric with mean 2, times the inverse document frequency
    log((1 + n) / (1 + n_k)) + 1, and each row scaled to length 1.
    Labels are those of a hidden linear model, its weights normal with the root of a feature's
    frequency as deviation; the share `noise` of them is turned over, so that no model can be
    expected to be right more often than 1 - noise.
    """
    if not 1 <= nonzeros <= features:
        raise ValueError(f"a row has 1 to features={features} non-zeros, got {nonzeros}")
    if samples < 2:
        raise ValueError(f"sparse_logistic needs 2 samples or more, got {samples}")
    if not 0 <= dense <= 1:
        raise ValueError(f"dense is a share, from 0 to 1, got {dense}")
    if not 0 <= noise <= 0.5:
        raise ValueError(f"noise is a share, from 0 to 0.5, got {noise}")
    if not exponent >= 0:
        raise ValueError(f"exponent must be 0 or more, got {exponent}")
    rng = np.random.default_rng(seed)
    common, weights = _certain(features, nonzeros, exponent, dense)
    indices = np.empty((samples, nonzeros), np.int32)
    indices[:, :common] = np.arange(common)
    rest = nonzeros - common
    if rest:
        cumulative = np.cumsum(weights / weights.sum())
        rows = max(1, CHUNK // rest)
        for start in range(0, samples, rows):
            block = indices[start : start + rows, common:]
            block[...] = common + _distinct(rng, cumulative, len(block), rest)
    frequency = np.bincount(indices.reshape(-1), minlength=features)
    worth = (np.log((1 + samples) / (1 + frequency)) + 1).astype(np.float32)
    values = worth[indices]
    values *= 1 + np.log(rng.geometric(0.5, values.shape)).astype(np.float32)
    values /= np.sqrt(np.einsum("ij,ij->i", values, values))[:, None]
    hidden = rng.standard_normal(features, np.float32)
    hidden *= np.sqrt(frequency / samples).astype(np.float32)
    margins = np.einsum("ij,ij->i", values, hidden[indices])
    y = margins > np.median(margins)
    y ^= rng.random(samples) < noise
    indptr = np.arange(samples + 1, dtype=np.int64) * nonzeros
    x = Rows(values.reshape(-1), indices.reshape(-1), indptr, features)
    return Data(x, y.astype(np.int64), f"synthetic, {samples} x {features}")


def _certain(features: int, nonzeros: int, exponent: float, dense: float) -> tuple[int, np.ndarray]:
    """How many features come in every row, and the weights of the others.

    Those asked for by `dense`, and those which a draw in proportion to the weights would want
    more than once a row.
    """
    weights = np.arange(1, features + 1, dtype=np.float64) ** -exponent
    tail = np.cumsum(weights[::-1])[::-1]  # of a feature and all after it
    first = round(dense * nonzeros)
    wanted = (nonzeros - np.arange(first, nonzeros)) * weights[first:nonzeros]
    enough = np.flatnonzero(wanted <= tail[first:nonzeros])
    common = first + int(enough[0]) if len(enough) else nonzeros
    return common, weights[common:]


def _distinct(rng: np.random.Generator, cumulative: np.ndarray, n: int, k: int) -> np.ndarray:
    """n rows of k distinct numbers, rising, drawn one after the other without replacement.

    What was drawn twice is drawn again, until nothing is.
    """
    drawn = np.sort(_draw(rng, cumulative, (n, k)), axis=1)
    unfinished = np.arange(n)
    while len(unfinished):
        block = drawn[unfinished]
        again = np.zeros(block.shape, bool)
        again[:, 1:] = block[:, 1:] == block[:, :-1]
        open_rows = again.any(axis=1)
        unfinished, block, again = unfinished[open_rows], block[open_rows], again[open_rows]
        block[again] = _draw(rng, cumulative, int(again.sum()))
        block.sort(axis=1)
        drawn[unfinished] = block
    return drawn


def _draw(
    rng: np.random.Generator, cumulative: np.ndarray, shape: int | tuple[int, ...]
) -> np.ndarray:
    drawn = np.searchsorted(cumulative, rng.random(shape), side="right")
    return np.minimum(drawn, len(cumulative) - 1).astype(np.int32)  # the sum may end below 1
