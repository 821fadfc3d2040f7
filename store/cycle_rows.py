"""The scalars of a battery's cycles, computed from its Parquet file."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from batteries import labels
from store import recordings

MOST_NAMED = 20  # incomplete cycles; the others are counted


def cycle_rows(parquet: Path, nominal_capacity_ah: float | None, end_of_life: float) -> list[dict[str, Any]]:
    """Columns of ``CycleRow`` but the battery's id, one a cycle; None where unknown."""
    found = recordings.scalars(parquet)
    index = found.pop("cycle_index")
    soh, rul = health(found["capacity_ah"], index, nominal_capacity_ah, end_of_life)
    columns = {name: recordings.or_none(values) for name, values in (found | {"soh": soh, "rul": rul}).items()}
    columns["complete"] = [value if value is None else bool(value) for value in columns["complete"]]
    columns |= {"position": list(range(len(index))), "cycle_index": index.tolist()}
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def incomplete(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """What a battery's ``import_report`` says of cycles whose discharge is not a whole one."""
    numbers = [row["cycle_index"] for row in rows if row["complete"] is False]
    return {"incomplete_cycles": len(numbers), "incomplete": numbers[:MOST_NAMED]}


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
