"""Which discharges were whole ones: from a full cell down to the usual cut-off voltage.

A cycle is judged by its own voltages against those of the cycles before it (the first few against each other), never
against the rest of the cell's life: labels of a test cell must not be cleaned with what came later.
"""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from math import isnan, nan

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Row = list[float]  # capacity_ah, start_v, end_v

USUAL_CYCLES = 5
ABOVE_CUT_OFF_V = 0.25  # discharges end at most this far above the usual cut-off
BELOW_FULL_V = 0.15  # and begin at most this far below the usual rest of the charged cell
MUCH_LESS = 0.9  # of the usual capacity
SPIKE = 1.25  # times the usual capacity, and beyond LARGEST_FRESH of the nominal one: the record is wrong
LARGEST_FRESH = 1.1


@dataclass(frozen=True, eq=False)
class Discharges:
    """What completeness is judged by, (N,) each, NaN where unknown."""

    capacity_ah: Floats
    start_v: Floats  # at rest before the load
    end_v: Floats  # at the end of the load


def whole(discharges: Discharges, cut_off_v: float | None, nominal_capacity_ah: float | None) -> NDArray[np.bool_]:
    """Whether each discharge (N,) of known capacity was a whole one.

    Not whole: one that ended well above the cut-off voltage, or began well below a full cell, with much less than the
    usual capacity. One of far more than the usual capacity, beyond what a fresh cell holds, is a wrong record.
    `cut_off_v`, where known, decides without the capacity, unless each of the first `USUAL_CYCLES` discharges ends well
    above it: then this cell is discharged to another one. What `USUAL_CYCLES` cycles in a row do is the usual from then
    on.
    """
    rows = np.column_stack([discharges.capacity_ah, discharges.start_v, discharges.end_v]).tolist()
    known = np.flatnonzero(np.isfinite(discharges.capacity_ah)).tolist()
    before: deque[Row] = deque(maxlen=USUAL_CYCLES)
    refused: deque[Row] = deque(maxlen=USUAL_CYCLES)
    early = [rows[position] for position in known[:USUAL_CYCLES]]
    if cut_off_v is not None and len(early) == USUAL_CYCLES:
        cut_off_v = None if all(end_v > cut_off_v + ABOVE_CUT_OFF_V for _, _, end_v in early) else cut_off_v
    answers = np.zeros(len(rows), dtype=bool)
    for position in known:
        row = rows[position]
        usual = before if len(before) == USUAL_CYCLES else early
        answers[position] = _is_whole(row, usual, cut_off_v, nominal_capacity_ah)
        if answers[position]:
            before.append(row)
            refused.clear()
            continue
        refused.append(row)
        if len(refused) == USUAL_CYCLES:
            before.extend(refused)
            refused.clear()
    return answers


def _median(rows: Iterable[Row], column: int) -> float:
    known = sorted(row[column] for row in rows if not isnan(row[column]))
    return (known[len(known) // 2] + known[(len(known) - 1) // 2]) / 2.0 if known else nan


def _is_whole(row: Row, usual: Iterable[Row], cut_off_v: float | None, nominal_capacity_ah: float | None) -> bool:
    """Comparisons with what is unknown are false: nothing is held against a discharge then."""
    capacity_ah, start_v, end_v = row
    if cut_off_v is not None and end_v > cut_off_v + ABOVE_CUT_OFF_V:
        return False
    usual_ah = _median(usual, 0)
    if capacity_ah < MUCH_LESS * usual_ah:
        not_full = start_v < _median(usual, 1) - BELOW_FULL_V
        broken_off = end_v > _median(usual, 2) + ABOVE_CUT_OFF_V
        return not (not_full or broken_off)
    spike = nominal_capacity_ah is not None and capacity_ah > LARGEST_FRESH * nominal_capacity_ah
    return not (spike and capacity_ah > SPIKE * usual_ah)
