"""Windows: what every model is trained on and asked with.

A window ends at the cycle asked about and looks back at most `length` cycles of the same cell. Windows are
right-aligned: the last step is the cycle asked about, steps before the cell's first cycle are masked.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class History:
    """One cell's life, a row a cycle in the order of measurement. NaN where a fact is unknown.

    `soh` is a fraction (unclipped), `rul` in cycles; `rul` is NaN throughout where the end of life was not reached.
    """

    cell: str
    cycle_index: NDArray[np.floating] | NDArray[np.integer]  # (N,) as recorded
    features: NDArray[np.floating]  # (N, F)
    soh: NDArray[np.floating]  # (N,)
    rul: NDArray[np.floating]  # (N,)
    nominal_capacity_ah: float | None = None
    chemistry: str | None = None

    def __post_init__(self) -> None:
        """Refuse arrays that do not describe the same cycles.

        Raises:
            ValueError: lengths differ, or `features` is not two-dimensional.
        """
        if self.features.ndim != 2:
            raise ValueError(f"{self.cell}: features must be (cycles, features), not {self.features.shape}")
        lengths = {len(self.cycle_index), len(self.features), len(self.soh), len(self.rul)}
        if len(lengths) != 1:
            raise ValueError(f"{self.cell}: arrays of different lengths {sorted(lengths)}")

    def __len__(self) -> int:
        return len(self.cycle_index)


@dataclass(frozen=True, eq=False)
class Windows:
    """B windows of T cycles with F features. Masked steps hold NaN; NaN features stay NaN."""

    x: NDArray[np.float32]  # (B, T, F)
    mask: NDArray[np.bool_]  # (B, T) true where there is a cycle
    cycle_index: Floats  # (B, T) as recorded, NaN where masked
    soh: Floats  # (B,) fraction, NaN where unknown
    rul: Floats  # (B,) cycles, NaN where unknown
    rul_lower_bound: Floats  # (B,) cycles that the cell certainly lived on, NaN where `rul` is known or nothing is
    cell: NDArray[np.int64]  # (B,) position of the cell in the histories given

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, rows: NDArray[np.bool_] | NDArray[np.integer] | slice) -> "Windows":
        """Those windows alone."""
        return Windows(
            self.x[rows],
            self.mask[rows],
            self.cycle_index[rows],
            self.soh[rows],
            self.rul[rows],
            self.rul_lower_bound[rows],
            self.cell[rows],
        )


def rul_lower_bound(history: History, seen_to: float | None = None) -> Floats:
    """Cycles (N,) that the cell was seen to live on after each cycle, where its end was not reached; else NaN.

    A cell whose record stops before the end of life is censored: after cycle i it lived at least `last - i` cycles.
    `seen_to`: the last cycle index, where `history` is only a part of the record.
    """
    index = np.asarray(history.cycle_index, dtype=np.float64)
    if not np.isfinite(index).any() or np.isfinite(history.rul).any():
        return np.full(len(index), np.nan)
    return np.asarray((np.nanmax(index) if seen_to is None else seen_to) - index, dtype=np.float64)


def make_windows(histories: Sequence[History], length: int, numbers: Sequence[int] | None = None) -> Windows:
    """One window of at most `length` cycles for every cycle of every history, or of these, that has something to teach.

    A cycle whose SoH, RUL and lower bound of RUL are all unknown, or that has no known feature, is asked nothing; yet
    the windows after it see it.

    Raises:
        ValueError: `length` below 1, no histories, or histories of different numbers of features.
    """
    if length < 1:
        raise ValueError(f"a window holds at least one cycle, not {length}")
    if not histories:
        raise ValueError("no histories")
    if len({h.features.shape[1] for h in histories}) != 1:
        raise ValueError("histories with different numbers of features")
    asked = range(len(histories)) if numbers is None else numbers
    return concatenate([windows_of(histories[number], number, length) for number in asked])


def windows_of(history: History, number: int, length: int, first_row: int = 0, seen_to: float | None = None) -> Windows:
    """Windows of one history for the cycles from row `first_row` on; they may look back before it.

    `number` is what `Windows.cell` says, `seen_to` as in `rul_lower_bound`. A cycle with no known feature is asked
    nothing either.
    """
    bound = rul_lower_bound(history, seen_to)
    soh, rul = (np.asarray(a, dtype=np.float64) for a in (history.soh, history.rul))
    features = np.asarray(history.features, dtype=np.float32)
    known = np.isfinite(features).any(axis=1) & (np.arange(len(history)) >= first_row)
    asked = np.flatnonzero(known & (np.isfinite(soh) | np.isfinite(rul) | np.isfinite(bound)))
    steps = asked[:, None] + np.arange(1 - length, 1)  # (B, T) row of each step, negative before the first cycle
    mask = steps >= 0
    rows = np.maximum(steps, 0)
    x = np.where(mask[..., None], features[rows], np.float32(np.nan))
    index = np.where(mask, np.asarray(history.cycle_index, dtype=np.float64)[rows], np.nan)
    cell = np.full(len(asked), number, dtype=np.int64)
    return Windows(x, mask, index, soh[asked], rul[asked], bound[asked], cell)


def concatenate(parts: Sequence[Windows]) -> Windows:
    """All windows of all parts, in order."""
    return Windows(*(np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(Windows)))


def resized(windows: Windows, length: int) -> Windows:
    """Give the same windows with their last `length` steps, padded in front where they are shorter."""
    missing = max(0, length - windows.mask.shape[1])
    return replace(
        windows,
        x=np.pad(windows.x, ((0, 0), (missing, 0), (0, 0)), constant_values=np.nan)[:, -length:],
        mask=np.pad(windows.mask, ((0, 0), (missing, 0)), constant_values=False)[:, -length:],
        cycle_index=np.pad(windows.cycle_index, ((0, 0), (missing, 0)), constant_values=np.nan)[:, -length:],
    )


def without_columns(windows: Windows, columns: frozenset[int]) -> Windows:
    """Give the same windows, these features unknown; column F, past the last feature, is the cycle index."""
    features = windows.x.shape[2]
    x, index = windows.x.copy(), windows.cycle_index
    x[..., [column for column in columns if column < features]] = np.nan
    return replace(windows, x=x, cycle_index=np.full_like(index, np.nan) if features in columns else index)


def fingerprint(history: History, cycles: int | None = None) -> str:
    """Name a record by its contents, or by its first `cycles`, so that the same one imported twice is recognised.

    By cycle numbers and capacities in Ah, which stay the same when the nominal capacity given for it is another;
    by its features, where no capacity is known.
    """
    contents: NDArray[np.floating]
    if history.nominal_capacity_ah is not None and np.isfinite(history.soh).any():
        capacity_ah = np.asarray(history.soh, dtype=np.float64) * history.nominal_capacity_ah
        contents = np.stack([np.asarray(history.cycle_index, dtype=np.float64), np.round(capacity_ah, 6)])
    else:
        contents = np.asarray(history.features, dtype=np.float32).T
    return hashlib.sha256(np.ascontiguousarray(contents[:, :cycles]).tobytes()).hexdigest()
