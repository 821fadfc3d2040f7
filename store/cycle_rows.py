"""The scalars of a battery's cycles, computed from its Parquet file."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from batteries import labels
from store import recordings

AT_ONCE = 500  # rows as Python objects: a long life's would be megabytes that the process keeps
MOST_NAMED = 20  # incomplete cycles; the others are counted


@dataclass(frozen=True, eq=False)
class CycleRows:
    """Columns of ``CycleRow`` (N,) but ids: ``position``, ``cycle_index``, and floats that are NaN where unknown."""

    columns: dict[str, NDArray[Any]]

    def parts(self) -> Iterator[list[dict[str, Any]]]:
        """Rows as databases take them, None where unknown, some at a time."""
        for start in range(0, len(self.columns["position"]), AT_ONCE):
            part = {name: recordings.or_none(values[start : start + AT_ONCE]) for name, values in self.columns.items()}
            part["complete"] = [value if value is None else bool(value) for value in part["complete"]]
            yield [dict(zip(part, row, strict=True)) for row in zip(*part.values(), strict=True)]

    def incomplete(self) -> dict[str, Any]:
        """What a battery's ``import_report`` says of cycles whose discharge is not a whole one."""
        numbers = self.columns["cycle_index"][self.columns["complete"] == 0].tolist()
        return {"incomplete_cycles": len(numbers), "incomplete": numbers[:MOST_NAMED]}


def cycle_rows(parquet: Path, nominal_capacity_ah: float | None, end_of_life: float) -> CycleRows:
    """The rows of a Parquet file's cycles."""
    found = recordings.scalars(parquet)
    soh, rul = health(found["capacity_ah"], found["cycle_index"], nominal_capacity_ah, end_of_life)
    return CycleRows({"position": np.arange(len(soh)), **found, "soh": soh, "rul": rul})


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
