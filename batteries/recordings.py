"""Recording and Cycle: what a battery file says, in the product's columns, units and signs.

Current is positive on charge and negative on discharge; V, A, °C, s, Ah. A cycle is one discharge with the charge
before it. The recorded cycle number is never renumbered, and samples the file holds as NaN stay NaN.
"""

from dataclasses import dataclass, field, fields

import numpy as np
from numpy.typing import NDArray

from batteries.reports import Report

Floats = NDArray[np.float64]

SAMPLE_COLUMNS = ("time_s", "voltage_v", "current_a", "temperature_c")
FACTS = ("index", "recorded_capacity_ah", "recorded_charge_ah", "recorded_resistance_ohm")


@dataclass(frozen=True, eq=False)
class Cycle:
    """One cycle: samples of its charge, then of its discharge, in the order of measurement.

    All four columns have the same length n; a column the file does not have is NaN throughout.
    `time_s` counts from the cycle's first sample. Arrays are read-only float64.
    """

    index: int  # as recorded
    time_s: Floats
    voltage_v: Floats
    current_a: Floats  # + charge, - discharge
    temperature_c: Floats
    recorded_capacity_ah: float | None = None  # as the file says it, plausible or not
    recorded_charge_ah: float | None = None  # of the charge, likewise
    recorded_resistance_ohm: float | None = None  # likewise

    def __post_init__(self) -> None:
        """Freeze the columns.

        Raises:
            ValueError: a column is not one-dimensional, or the lengths differ.
        """
        for name in SAMPLE_COLUMNS:
            column = np.asarray(getattr(self, name), dtype=np.float64).view()
            if column.ndim != 1:
                raise ValueError(f"cycle {self.index}: {name} must be one-dimensional, not {column.shape}")
            column.flags.writeable = False
            object.__setattr__(self, name, column)
        lengths = {name: len(getattr(self, name)) for name in SAMPLE_COLUMNS}
        if len(set(lengths.values())) != 1:
            raise ValueError(f"cycle {self.index}: columns of different lengths {lengths}")

    def __len__(self) -> int:
        return len(self.time_s)

    def __eq__(self, other: object) -> bool:
        """Equal facts and equal samples; NaN equals NaN."""
        if not isinstance(other, Cycle):
            return NotImplemented
        return all(getattr(self, name) == getattr(other, name) for name in FACTS) and all(
            np.array_equal(getattr(self, name), getattr(other, name), equal_nan=True) for name in SAMPLE_COLUMNS
        )

    __hash__ = None  # type: ignore[assignment]


@dataclass(frozen=True, eq=False)
class Recording:
    """One cell's cycles in the order of measurement, and what the file says about the cell.

    `report` says what was assumed, repaired, left out or missing. `discharge_cut_off_v` is the
    voltage at which every discharge ends, where the layout knows it.
    """

    cycles: tuple[Cycle, ...]
    layout: str
    cell: str | None = None
    nominal_capacity_ah: float | None = None
    manufacturer: str | None = None
    chemistry: str | None = None
    report: Report = field(default_factory=Report)
    discharge_cut_off_v: float | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot be a cell.

        Raises:
            ValueError: there are no cycles, or the nominal capacity is not a positive number.
        """
        if not self.cycles:
            raise ValueError("a recording needs at least one cycle")
        nominal = self.nominal_capacity_ah
        if nominal is not None and not (np.isfinite(nominal) and nominal > 0):
            raise ValueError(f"nominal capacity must be a positive number of Ah, not {nominal}")

    def __len__(self) -> int:
        return len(self.cycles)

    def __eq__(self, other: object) -> bool:
        """Equal in every field."""
        if not isinstance(other, Recording):
            return NotImplemented
        return all(getattr(self, some.name) == getattr(other, some.name) for some in fields(self))

    __hash__ = None  # type: ignore[assignment]
