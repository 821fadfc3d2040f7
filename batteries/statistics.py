"""Sums and moments of irregularly sampled series, (n,) each. What cannot be known is NaN."""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

SECONDS_PER_HOUR = 3600.0
ENTROPY_BINS = 10


def cumulative_charge_ah(time_s: Floats, current_a: Floats, flowing: NDArray[np.bool_] | None = None) -> Floats:
    """Charge (n,) in Ah up to each sample by trapezoids, NaN where a time is not known.

    With `flowing` (n,) only intervals between two such samples count.
    """
    if not np.isfinite(time_s).all():
        return np.full(time_s.size, np.nan)
    steps = np.maximum(np.diff(time_s), 0.0) / SECONDS_PER_HOUR
    if flowing is not None:
        steps = np.where(flowing[1:] & flowing[:-1], steps, 0.0)
    return np.append(0.0, np.cumsum((current_a[1:] + current_a[:-1]) / 2.0 * steps))


def time_weights(time_s: Floats) -> Floats:
    """Share of the time (n,) that each sample stands for; all alike where a time is not known."""
    alike = np.full(time_s.size, 1.0 / max(time_s.size, 1))
    if time_s.size < 2 or not np.isfinite(time_s).all():
        return alike
    steps = np.maximum(np.diff(time_s), 0.0)
    weights = (np.append(steps, 0.0) + np.append(0.0, steps)) / 2.0
    total = float(weights.sum())
    return weights / total if total > 0 else alike


def moments(name: str, unit: str, values: Floats, weights: Floats, span: float) -> dict[str, float]:
    """Weighted mean, standard deviation, skewness, excess kurtosis, and entropy over `ENTROPY_BINS` bins of 0…span."""
    total = float(weights.sum())
    if total <= 0:
        return {}
    share = weights / total
    mean = float(share @ values)
    centred = values - mean
    variance = float(share @ centred**2)
    bins = np.clip((values / span * ENTROPY_BINS).astype(np.int64), 0, ENTROPY_BINS - 1)
    density = np.bincount(bins, share, ENTROPY_BINS)
    density = density[density > 0]
    spread = variance > 1e-12
    return {
        f"{name}_mean{unit}": mean,
        f"{name}_std{unit}": variance**0.5,
        f"{name}_skewness": float(share @ centred**3) / variance**1.5 if spread else np.nan,
        f"{name}_kurtosis": float(share @ centred**4) / variance**2 - 3.0 if spread else np.nan,
        f"{name}_entropy": float(-(density @ np.log(density))),
    }


def first_crossing(rising: Floats, level: float, of: Floats) -> float:
    """Value of `of` where a rising series first reaches `level`, between samples; NaN where it does not."""
    at = int(np.searchsorted(rising, level))
    if at in {0, rising.size}:
        return np.nan
    step = rising[at] - rising[at - 1]
    share = (level - rising[at - 1]) / step if step > 0 else 0.0
    return float(of[at - 1] + share * (of[at] - of[at - 1]))


def slope(x: Floats, y: Floats) -> float:
    """Least-squares slope of y over x, NaN where x is unknown or does not vary."""
    if x.size < 3 or not np.isfinite(x).all():
        return np.nan
    centred = x - x.mean()
    variance = float(centred @ centred)
    return float(centred @ (y - y.mean())) / variance if variance > 0 else np.nan


def weighted_mean(values: Floats, weights: Floats) -> float:
    """Mean of the known values, each with its weight."""
    known = np.isfinite(values)
    total = float(weights[known].sum())
    return float(weights[known] @ values[known]) / total if total > 0 else np.nan


def first_known(values: Floats) -> float:
    """The first value that is known."""
    known = values[np.isfinite(values)]
    return float(known[0]) if known.size else np.nan


def rise(values: Floats) -> float:
    """Largest value less the first."""
    known = values[np.isfinite(values)]
    return float(known.max() - known[0]) if known.size else np.nan
