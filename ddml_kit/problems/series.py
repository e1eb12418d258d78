"""A time series, and the regression of each value on those before it.

An autoregressive model of order p, AR(p), says that a value is a weighted sum of the p values
before it: z_t = w_1 z_(t-1) + ... + w_p z_(t-p) + a shock. G. E. P. Box, G. M. Jenkins, "Time
Series Analysis: Forecasting and Control", 1970, chapter 3. Its weights are least squares, with the
series' own past as inputs: values an hour apart resemble each other, so the inputs do, and the
least squares are ill-conditioned.
"""

from __future__ import annotations

import numpy as np

WEEK = 7 * 24
LAGS = (1.5, -0.6)  # of the made-up demand: what the hour before, and the one before that, weigh


def energy_demand(hours: int, *, seed: int) -> np.ndarray:
    """A made-up demand for electricity, hour by hour, in gigawatts, (hours,).

    A day with a trough at night and two peaks, a weekend that is lower, and what differs from day
    to day, such as the weather: an AR(2) with the weights LAGS and normal shocks of 0.4 GW.
    """
    if hours < 1:
        raise ValueError(f"a series needs 1 hour or more, got {hours}")
    rng = np.random.default_rng(seed)
    t = np.arange(hours)
    day = 2 * np.pi * t / 24
    usual = 40 - 6 * np.cos(day) - 3 * np.cos(2 * day - 1) - 4 * (t % WEEK >= 5 * 24)
    before = 2 * WEEK  # hours in which the differences forget that they began at zero
    shocks, unusual = 0.4 * rng.standard_normal(before + hours), np.zeros(before + hours)
    for k in range(2, before + hours):
        unusual[k] = LAGS[0] * unusual[k - 1] + LAGS[1] * unusual[k - 2] + shocks[k]
    return usual + unusual[before:]


def without_cycle(series: np.ndarray, period: int) -> np.ndarray:
    """The series less the mean of its place in the period: each Monday at 8 less all of them."""
    if not 1 <= period <= len(series):
        raise ValueError(f"a period is from 1 to {len(series)} values, got {period}")
    place = np.arange(len(series)) % period
    means = np.bincount(place, series) / np.bincount(place)
    return series - means[place]


def lagged(series: np.ndarray, order: int) -> tuple[np.ndarray, np.ndarray]:
    """(x, y) of AR(order): x[i] are the values before y[i], the last one first, (n, order), (n,).

    n = len(series) - order: the first values have no past. Raises ValueError unless n > 0.
    """
    if not 1 <= order < len(series):
        raise ValueError(f"an order is from 1 to {len(series) - 1} here, got {order}")
    x = np.lib.stride_tricks.sliding_window_view(series[:-1], order)[:, ::-1]
    return np.ascontiguousarray(x), series[order:].copy()
