"""The scalars of a battery's cycles, computed from its Parquet file."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from batteries import labels
from store import recordings


def cycle_rows(parquet: Path, nominal_capacity_ah: float | None, end_of_life: float) -> list[dict[str, Any]]:
    """Columns of ``CycleRow`` but the battery's id, one a cycle; None where unknown."""
    found = recordings.scalars(parquet)
    capacity_ah, cycle_index = found["capacity_ah"], found["cycle_index"]
    soh, rul = health(capacity_ah, cycle_index, nominal_capacity_ah, end_of_life)
    columns = (cycle_index.tolist(), *(or_none(values) for values in (capacity_ah, soh, rul)))
    return [
        {"position": position, "cycle_index": index, "capacity_ah": capacity, "soh": health_now, "rul": remaining}
        for position, (index, capacity, health_now, remaining) in enumerate(zip(*columns, strict=True))
    ]


def health(
    capacity_ah: NDArray[np.float64],
    cycle_index: NDArray[np.integer],
    nominal_capacity_ah: float | None,
    end_of_life: float,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """SoH (N,) and RUL (N,) in cycles, NaN where unknown: all of it, without a nominal capacity."""
    if nominal_capacity_ah is None:
        return np.full(len(capacity_ah), np.nan), np.full(len(capacity_ah), np.nan)
    soh = labels.soh(capacity_ah, nominal_capacity_ah)
    return soh, labels.rul(soh, cycle_index, end_of_life)


def or_none(values: NDArray[np.float64]) -> list[float | None]:
    """Plain numbers, None for NaN."""
    return [value if known else None for value, known in zip(values.tolist(), np.isfinite(values), strict=True)]
