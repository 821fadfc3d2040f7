"""NASA PCoE (B. Saha, K. Goebel, Battery Data Set): a struct named as the cell, whose `cycle` is a list of operations.

A cycle of the product is a discharge with the charge before it; its index counts the discharges from 1.
`Current_measured` is used: the sign of `Current_load` flips between records.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np

from batteries.matfiles.errors import NoCycles
from batteries.matfiles.layout import Layout, Samples, Source, UnequalColumns, joined, numbered, samples
from batteries.matfiles.tree import Node, Struct, numbers, scalar, text
from batteries.recordings import Cycle, Recording

COLUMNS = {
    "time_s": Source("Time"),
    "voltage_v": Source("Voltage_measured"),
    "current_a": Source("Current_measured"),
    "temperature_c": Source("Temperature_measured"),
}
NOMINAL_CAPACITY_AH = 2.0
MANUFACTURER = "NASA PCoE"


@dataclass(frozen=True)
class Operation:
    """One charge or discharge as recorded."""

    kind: str
    started: datetime | None
    samples: Samples
    capacity_ah: float | None


def cells(variables: Struct) -> tuple[str, ...]:
    """Names of the structs that hold operations."""
    return tuple(name for name in variables.fields if _operations_of(variables.fields[name][0]) is not None)


def _operations_of(node: Node) -> Struct | None:
    if not isinstance(node, Struct) or node.count != 1 or "cycle" not in node.fields:
        return None
    operations = node.fields["cycle"][0]
    return operations if isinstance(operations, Struct) and {"type", "data"} <= set(operations.fields) else None


def read(variables: Struct, cell: int) -> Recording:
    """The recording of one cell.

    Raises:
        NoCycles: there is no discharge among the operations.
    """
    name = cells(variables)[cell]
    operations = _operations_of(variables.fields[name][0])
    report = [f"NASA layout: nominal capacity {NOMINAL_CAPACITY_AH:g} Ah, current positive on charge, SI units"]
    cycles: list[Cycle] = []
    charges: list[Operation] = []
    passed_over: list[int] = []
    alone: list[int] = []
    untimed: list[int] = []
    for operation in _operations(operations, report) if operations else ():
        if operation.kind == "charge":
            charges.append(operation)
            continue
        index = len(cycles) + 1
        if len(charges) > 1:
            passed_over.append(index)
        if not charges:
            alone.append(index)
        columns, timed = _one_after_the_other([*charges[-1:], operation])
        if not timed:
            untimed.append(index)
        cycles.append(Cycle(index=index, recorded_capacity_ah=operation.capacity_ah, **columns))
        charges = []
    if not cycles:
        raise NoCycles(f"{name} holds operations in NASA's layout, but no discharge among them")
    report += _remarks(cycles, passed_over, alone, untimed, len(charges))
    return Recording(
        cycles=tuple(cycles),
        layout="nasa",
        cell=name,
        nominal_capacity_ah=NOMINAL_CAPACITY_AH,
        manufacturer=MANUFACTURER,
        report=tuple(report),
    )


def _operations(operations: Struct, report: list[str]) -> Iterator[Operation]:
    """Charges and discharges in the order of the file. Impedance measurements are passed over."""
    for at in range(operations.count):
        operation = operations.element(at)
        kind = (text(operation["type"]) or "").lower()
        if kind not in {"charge", "discharge"}:
            continue
        data = operation["data"]
        if not isinstance(data, Struct) or data.count != 1:
            report.append(f"operation {at + 1} ({kind}) has no data: left out")
            continue
        record = data.element(0)
        try:
            columns = samples(record, COLUMNS)
        except UnequalColumns as unequal:
            report.append(f"operation {at + 1} ({kind}) has columns of different lengths ({unequal}): left out")
            continue
        yield Operation(kind, _started(operation), columns, scalar(record.get("Capacity")))


def _started(operation: Mapping[str, Node]) -> datetime | None:
    """Start of an operation from its MATLAB date vector [year month day hour minute second]."""
    vector = numbers(operation.get("time"))
    if vector is None or vector.size != 6 or not np.isfinite(vector).all():
        return None
    year, month, day, hour, minute = (int(part) for part in vector[:5])
    try:
        return datetime(year, month, day, hour, minute) + timedelta(seconds=float(vector[5]))  # noqa: DTZ001 - no zone
    except (ValueError, OverflowError):
        return None


def _one_after_the_other(operations: list[Operation]) -> tuple[Samples, bool]:
    """Samples of a charge and its discharge on one clock, and whether the dates gave the time between them.

    Where the dates cannot be right the discharge begins where the charge's record ends.
    """
    if len(operations) == 1:
        return operations[0].samples, True
    charge, discharge = operations
    ended_s = float(np.nanmax(charge.samples["time_s"], initial=0.0))
    later = discharge.started - charge.started if discharge.started and charge.started else None
    timed = later is not None and later.total_seconds() >= ended_s
    offset_s = later.total_seconds() if later is not None and timed else ended_s
    shifted = discharge.samples | {"time_s": discharge.samples["time_s"] + offset_s}
    return joined([charge.samples, shifted]), timed


def _remarks(
    cycles: list[Cycle], passed_over: list[int], alone: list[int], untimed: list[int], trailing: int
) -> Iterator[str]:
    """What the reader had to decide, a sentence each."""
    if passed_over:
        yield f"cycles with several charges before the discharge, of which the last is kept: {numbered(passed_over)}"
    if alone:
        yield f"cycles without a charge before the discharge: {numbered(alone)}"
    if untimed:
        yield f"cycles whose dates overlap; the discharge is placed right after the charge: {numbered(untimed)}"
    if trailing:
        yield f"{trailing} charge(s) after the last discharge left out"
    missing = [cycle.index for cycle in cycles if not cycle.recorded_capacity_ah]
    if missing:
        yield f"cycles without a recorded capacity: {numbered(missing)}"
    gaps = [cycle.index for cycle in cycles if np.isnan(cycle.voltage_v).any() or np.isnan(cycle.current_a).any()]
    if gaps:
        yield f"cycles with samples that the file holds as NaN, kept as NaN: {numbered(gaps)}"


LAYOUT = Layout(
    name="nasa",
    description="a struct named as the cell whose field 'cycle' lists operations with 'type' and 'data'",
    cells=cells,
    read=read,
)
