"""Files of no named origin: cycles with fields in the usual spellings and units.

`search` finds the cycles and `names` understands the fields; `physics` settles what the names leave open.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from batteries.matfiles.errors import NoCycles
from batteries.matfiles.layout import Layout, Samples, numbered
from batteries.matfiles.names import Name, squeezed, understand
from batteries.matfiles.physics import in_product_units
from batteries.matfiles.search import Found, Record, columns_of, find, flattened
from batteries.matfiles.tree import Node, Numbers, Struct, scalar, text
from batteries.recordings import SAMPLE_COLUMNS, Cycle, Recording

Floats = NDArray[np.float64]

LOADED_SHARE = 0.05
LARGEST_INDEX = 2**31 - 1
LONGEST_FACT = 255
FACTS = {
    "manufacturer": "manufacturer",
    "chemistry": "chemistry",
    "description": "description",
    "cell": "cell",
    "cellname": "cell",
    "barcode": "cell",
}
NOMINAL_NAMES = frozenset({"nominalcapacity", "ratedcapacity", "capacitynominal", "qnom", "cnom"})
NOTHING = np.empty(0)


@dataclass(frozen=True)
class Entry:
    """One cycle as the file has it, in the units that its names say."""

    index: int
    counted: bool  # the file has no number for it
    complete: bool  # every column that is there is as long as the voltage
    samples: Samples | None  # None: no voltage and current of one length
    capacity_ah: Floats  # one value, a running counter, or nothing
    names: dict[str, tuple[str, Name]]  # column: field, what it says


def cells(variables: Struct) -> tuple[str, ...]:
    """Paths at which cycles lie; several where the file holds several cells."""
    return tuple(found.path for found in find(variables))


def read(variables: Struct, cell: int) -> Recording:
    """The recording of the cycles at one path.

    Raises:
        NoCycles: no record has samples, or nothing says that this is a cell that is charged and discharged.
    """
    found = find(variables)[cell]
    entries = [_entry(position, fields) for position, fields in enumerate(found.records(), start=1)]
    sampled = [(entry, entry.samples) for entry in entries if entry.samples is not None]
    if not sampled:
        raise NoCycles(f"{found.path} holds {found.count} record(s), but none with voltage and current of one length.")
    facts = _facts(variables.element(0)) | _facts(found.around)
    nominal_ah = _nominal_capacity_ah(variables.element(0)) or _nominal_capacity_ah(found.around)
    said = {column for entry in entries for column, (_, name) in entry.names.items() if name.unit is not None}
    records, repairs = in_product_units([samples for _, samples in sampled], said, nominal_ah)
    if not _is_cycling(records):
        raise NoCycles(f"{found.path} holds {found.count} record(s) that never both charge and discharge: no cycles.")
    capacities = [_capacity(entry.capacity_ah, record) for (entry, _), record in zip(sampled, records, strict=True)]
    if any(capacity is not None for capacity in capacities) and not any(capacities):
        capacities = [None] * len(capacities)
        repairs.append("the capacities in the file are all zero: unknown")
    cycles = [
        Cycle(index=entry.index, recorded_capacity_ah=capacity, **record)
        for (entry, _), record, capacity in zip(sampled, records, capacities, strict=True)
    ]
    directions = [_directions(record) for record in records]
    if not any(charged and discharged for charged, discharged in directions):
        cycles = _paired(cycles, directions, renumber=all(entry.counted for entry in entries))
        repairs.append("charges and discharges are records of their own: each discharge follows the charge before it")
    return Recording(
        cycles=tuple(cycles),
        layout="generic",
        cell=facts.get("cell", found.path),
        nominal_capacity_ah=nominal_ah,
        manufacturer=facts.get("manufacturer"),
        chemistry=facts.get("chemistry"),
        report=(*_remarks(found, entries, facts), *repairs),
    )


def _entry(position: int, fields: Record) -> Entry:
    record = flattened(fields)
    names = {column: (field, understand(field) or Name(column)) for column, field in columns_of(record).items()}
    values = {column: _values(record[field]) * name.factor for column, (field, name) in names.items()}
    number = values.get("cycle_index", NOTHING)
    has_number = number.size > 0 and bool(abs(number[0]) <= LARGEST_INDEX)
    length = values.get("voltage_v", NOTHING).size
    known = {column: values[column] for column in SAMPLE_COLUMNS if values.get(column, NOTHING).size == length > 0}
    usable = {"voltage_v", "current_a"} <= set(known)
    return Entry(
        index=int(number[0]) if has_number else position,
        counted=not has_number,
        complete=all(column in known for column in SAMPLE_COLUMNS if values.get(column, NOTHING).size),
        samples={column: known.get(column, np.full(length, np.nan)) for column in SAMPLE_COLUMNS} if usable else None,
        capacity_ah=values.get("capacity_ah", NOTHING),
        names=names,
    )


def _remarks(found: Found, entries: Sequence[Entry], facts: dict[str, str]) -> list[str]:
    """What was taken from where, and what was left out, a sentence each."""
    fields = {column: field for entry in reversed(entries) for column, (field, _) in entry.names.items()}
    taken = ", ".join(f"{column} from '{field}'" for column, field in fields.items())
    remarks = [f"generic layout: {found.count} cycle(s) at '{found.path}'; {taken}"]
    if "description" in facts:
        remarks.insert(0, f"the file says: {facts['description']}")
    if any(entry.counted for entry in entries):
        remarks.append("cycles without a number of their own are numbered by their place, from 1")
    skipped = [entry.index for entry in entries if entry.samples is None]
    if skipped:
        remarks.append(f"cycles left out, no voltage and current of one length: {numbered(skipped)}")
    partial = [entry.index for entry in entries if entry.samples is not None and not entry.complete]
    if partial:
        remarks.append(f"cycles in which time or temperature has another length, and is unknown: {numbered(partial)}")
    return remarks


def _facts(fields: Record) -> dict[str, str]:
    """What stands beside the cycles about the cell, in words."""
    facts: dict[str, str] = {}
    for name in fields:
        fact = FACTS.get(squeezed(name))
        said = text(fields[name]) if fact else None
        if fact and said:
            facts[fact] = said[:LONGEST_FACT]
    return facts


def _nominal_capacity_ah(fields: Record) -> float | None:
    """The nominal capacity that stands beside the cycles; in Ah unless its name says mAh."""
    for name in fields:
        for unit, factor in (("mah", 1e-3), ("ah", 1.0), ("", 1.0)):
            if squeezed(name) in {nominal + unit for nominal in NOMINAL_NAMES}:
                value = scalar(fields[name])
                return value * factor if value is not None and value > 0 else None
    return None


def _values(node: Node) -> Floats:
    return node.read() if isinstance(node, Numbers) and node.is_vector else np.empty(0)


def _is_cycling(records: Sequence[Samples]) -> bool:
    """Whether current flows both ways somewhere in the record."""
    directions = _directions({"current_a": np.concatenate([record["current_a"] for record in records])})
    return all(directions)


def _directions(record: Samples) -> tuple[bool, bool]:
    """Whether the cell is charged, and whether it is discharged."""
    current = record["current_a"][np.isfinite(record["current_a"])]
    small = LOADED_SHARE * float(np.percentile(np.abs(current), 99)) if current.size else 0.0
    return bool((current > small).any()), bool((current < -small).any())


def _paired(records: Sequence[Cycle], directions: Sequence[tuple[bool, bool]], *, renumber: bool) -> list[Cycle]:
    """Cycles out of records that are a charge or a discharge: a discharge with the charge right before it.

    A cycle keeps the number of its discharge; `renumber` counts the discharges where the file has no numbers.
    """
    cycles: list[Cycle] = []
    charge: Cycle | None = None
    for record, (charged, discharged) in zip(records, directions, strict=True):
        if charged:
            charge = record
        if discharged:
            whole = _after(charge, record) if charge else record
            cycles.append(replace(whole, index=len(cycles) + 1) if renumber else whole)
            charge = None
    return cycles


def _after(charge: Cycle, discharge: Cycle) -> Cycle:
    """The discharge with its charge's samples before its own, on one clock."""
    ended_s = float(np.nanmax(charge.time_s, initial=0.0))
    columns = {
        name: np.concatenate([getattr(charge, name), getattr(discharge, name) + (ended_s if name == "time_s" else 0.0)])
        for name in SAMPLE_COLUMNS
    }
    return Cycle(index=discharge.index, recorded_capacity_ah=discharge.recorded_capacity_ah, **columns)


def _capacity(recorded: Floats, record: Samples) -> float | None:
    """Recorded capacity in Ah: the value itself, or what a running counter gained under load."""
    finite = recorded[np.isfinite(recorded)]
    if finite.size == 1 and recorded.size == 1:
        return float(finite[0])
    if recorded.size != record["current_a"].size:
        return None
    current = record["current_a"]
    counted = recorded[(current < -LOADED_SHARE * np.nanmax(np.abs(current), initial=0.0)) & np.isfinite(recorded)]
    return float(counted.max() - counted.min()) if counted.size > 1 else None


LAYOUT = Layout(
    name="generic",
    description="a struct array, a cell array of structs, cell arrays, or flat columns with a cycle number, "
    "with voltage and current and perhaps time, temperature and capacity in the usual spellings",
    cells=cells,
    read=read,
)
