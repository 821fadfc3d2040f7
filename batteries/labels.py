"""What models learn: State of Health and Remaining Useful Life."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]


def soh(capacity_ah: ArrayLike, nominal_capacity_ah: float) -> Floats:
    """State of Health (N,): discharge capacity / nominal capacity. Not clipped; NaN where the capacity is unknown.

    Raises:
        ValueError: the nominal capacity is not a positive number.
    """
    if not (np.isfinite(nominal_capacity_ah) and nominal_capacity_ah > 0):
        raise ValueError(f"nominal capacity must be a positive number of Ah, not {nominal_capacity_ah}")
    return np.asarray(capacity_ah, dtype=np.float64) / nominal_capacity_ah


def end_of_life_position(soh: ArrayLike, end_of_life: float) -> int | None:
    """Position of the first cycle from which on every known SoH is below `end_of_life`; None where there is none.

    Unknown cycles (NaN) neither end nor prolong a life: the position is always one of a known SoH.
    """
    health = np.asarray(soh, dtype=np.float64)
    known = np.flatnonzero(np.isfinite(health))
    healthy = np.flatnonzero(health[known] >= end_of_life)
    first = int(healthy[-1]) + 1 if healthy.size else 0
    return int(known[first]) if first < known.size else None


def rul(soh: ArrayLike, cycle_index: ArrayLike, end_of_life: float) -> Floats:
    """Remaining Useful Life (N,) in cycles: until SoH first falls below `end_of_life` and stays there.

    Differences are of recorded cycle numbers, 0 from the end of life on; NaN throughout where the record never gets
    there. "Stays" is judged on the record: a rise above the limit after a rest puts the end of life off.

    Raises:
        ValueError: the arrays have different lengths.
    """
    health = np.asarray(soh, dtype=np.float64)
    index = np.asarray(cycle_index, dtype=np.float64)
    if health.shape != index.shape:
        raise ValueError(f"{health.size} values of SoH for {index.size} cycles")
    end = end_of_life_position(health, end_of_life)
    if end is None:
        return np.full(health.shape, np.nan)
    remaining: Floats = np.maximum(index[end] - index, 0.0)
    return remaining
