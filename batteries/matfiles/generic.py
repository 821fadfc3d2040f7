"""Files of no named origin: cycles with fields in the usual spellings and units.

`search` finds the cycles and `names` understands the fields; physics settles what the names leave open.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from batteries.matfiles.assembling import cycles_of, directions, gaps
from batteries.matfiles.clocks import continuous
from batteries.matfiles.directions import SMALL_SHARE, courses, turns
from batteries.matfiles.entries import Entry, Floats, Record, Source, entry, joined_entries, read_columns
from batteries.matfiles.errors import NoCycles
from batteries.matfiles.evidence import gained
from batteries.matfiles.facts import facts, nominal_capacity_ah
from batteries.matfiles.findings import Findings
from batteries.matfiles.layout import Cell, Layout, numbered
from batteries.matfiles.names import understand
from batteries.matfiles.parts import Part, columns_of, parts
from batteries.matfiles.physics import CELL_VOLTS, middle
from batteries.matfiles.places import constant
from batteries.matfiles.search import Found, Search, find
from batteries.matfiles.tree import Numbers, Struct
from batteries.matfiles.units import SYMBOLS
from batteries.recordings import Cycle, Recording

HALF_CYCLE_SHARE = 0.4  # of the largest charge or discharge: what turns by less is not the end of a discharge
LONG_RECORD_SAMPLES = 200_000
BESIDE = frozenset({"cycle_index", "capacity_ah", "discharged_ah", "charged_ah", "resistance_ohm"})


def cells(variables: Struct) -> tuple[Cell, ...]:
    """A cell for each path at which cycles lie."""
    search = find(variables)
    return tuple(Cell(found.path, partial(read, variables, search, found)) for found in search.cells)


def read(variables: Struct, search: Search, found: Found) -> Recording:
    """The recording of the cycles at one path.

    Raises:
        NoCycles: no record has samples, or nothing says that this is a cell that is discharged again and again.
    """
    findings = Findings()
    entries = _usable(list(_entries(found, findings)), found, findings)
    said = facts(variables.element(0)) | facts(found.around)
    nominal_ah = nominal_capacity_ah(found.around, findings) or nominal_capacity_ah(variables.element(0), findings)
    cycles = cycles_of(entries, nominal_ah, findings)
    _refuse_other_tests(cycles, found, [place.path for place in search.singles if place is not found], findings)
    gaps(cycles, findings)
    findings.remarks.insert(0, f"generic layout: {found.count} record(s) at '{found.path}'; {findings.described()}")
    if "description" in said:
        findings.remarks.insert(0, f"the file says: {said['description']}")
    return Recording(
        cycles=tuple(cycles),
        layout="generic",
        cell=said.get("cell", found.path) if len(search.cells) == 1 else found.path,
        nominal_capacity_ah=nominal_ah,
        manufacturer=said.get("manufacturer"),
        chemistry=said.get("chemistry"),
        report=findings.report(len(search.cells)),
    )


def _entries(found: Found, findings: Findings) -> Iterator[Entry]:
    records: Iterator[Record] = found.records()
    if found.whole:
        records = _cut(next(records), findings)
    beside = {} if found.whole or found.count < 2 else _beside(found)
    for at, record in enumerate(records):
        yield _entry(_with_beside(parts(record), beside, at), findings)


def _beside(found: Found) -> dict[str, tuple[str, Floats]]:
    """Vectors with one number for each cycle beside the cycles, or in a struct there: by column, with their names."""
    nodes = [found.around[name] for name in found.around]
    inside = [node.element(0) for node in nodes if isinstance(node, Struct) and node.count == 1]
    vectors: dict[str, tuple[str, Floats]] = {}
    for fields in (found.around, *inside):
        for column, name in columns_of(fields).items():
            node = fields[name]
            if column in BESIDE and column not in vectors and isinstance(node, Numbers) and node.size == found.count:
                vectors[column] = (name, node.read())
    return vectors


def _with_beside(found: Sequence[Part], beside: dict[str, tuple[str, Floats]], at: int) -> Sequence[Part]:
    """The parts of a record, the last of which is the discharge, with what stands beside and not in it."""
    said = {column for part in found for column in part.columns}
    lacking = {column: (name, values) for column, (name, values) in beside.items() if column not in said}
    if not found or not lacking or at >= min(values.size for _, values in lacking.values()):
        return found
    last = found[-1]
    fields = {**last.fields, **{name: constant(values[at : at + 1]) for name, values in lacking.values()}}
    columns = {**last.columns, **{column: name for column, (name, _) in lacking.items()}}
    return [*found[:-1], Part(fields, last.kind, columns)]


def _entry(found: Sequence[Part], findings: Findings) -> Entry:
    if not found:
        return entry({})
    read_parts = []
    for part in found:
        sources = {}
        for column, name in part.columns.items():
            meant = understand(name)
            sources[column] = Source(name, meant.unit if meant else None)
            symbol = meant.unit.symbol if meant and meant.unit else None
            findings.origin(column, name, symbol, product_symbol=SYMBOLS[column])
        some = entry(read_columns(part.fields, sources), kind=part.kind)
        read_parts.append(some if len(found) == 1 else _directed(some))
    return joined_entries(read_parts)


def _directed(part: Entry) -> Entry:
    """A part that is said to be a charge or a discharge, with the sign and the capacity of that."""
    current = part.samples["current_a"]
    if part.kind is None or all(directions(part.samples)):
        return part
    sign = 1.0 if part.kind == "charge" else -1.0
    name = "charged_ah" if part.kind == "charge" else "discharged_ah"
    scalars = dict(part.scalars)
    if "capacity_ah" in scalars:
        scalars.setdefault(name, scalars.pop("capacity_ah"))
    for counter in (name, "capacity_ah"):
        if counter in part.counters:
            scalars.setdefault(name, gained(part.counters[counter], np.ones(current.size, dtype=bool)))
    return Entry(
        index=part.index,
        samples=part.samples | {"current_a": sign * np.abs(current)},
        scalars={key: value for key, value in scalars.items() if np.isfinite(value)},
        unequal=part.unequal,
        nothing=part.nothing,
        fractional=part.fractional,
    )


def _usable(entries: Sequence[Entry], found: Found, findings: Findings) -> list[Entry]:
    """The entries with samples, and sentences on the others.

    Raises:
        NoCycles: there are none.
    """
    usable = [some for some in entries if some.size]
    if not usable:
        reasons = {some.nothing for some in entries}
        why = reasons.pop() if len(reasons) == 1 else ""
        raise NoCycles(
            f"{found.path} holds {found.count} record(s), but "
            + (f"{why}." if why else "none with voltage and current of one length.")
        )
    numbers = [at if some.index is None else some.index for at, some in enumerate(entries, start=1)]
    skipped: dict[str, list[int]] = {}
    for number, some in zip(numbers, entries, strict=True):
        if not some.size:
            skipped.setdefault(some.nothing or "no voltage and current of one length", []).append(number)
    findings.left_out.extend(f"cycles left out, {why}: {numbered(those)}" for why, those in skipped.items())
    partial = [number for number, some in zip(numbers, entries, strict=True) if some.size and some.unequal]
    if partial:
        findings.missing.append(
            f"cycles in which time or temperature has another length, and is unknown: {numbered(partial)}"
        )
    if skipped and all(some.index is None for some in entries):  # the place in the file is the number
        usable = [_with_index(some, number) for number, some in zip(numbers, entries, strict=True) if some.size]
        findings.assumed.append("cycles without a number of their own are numbered by their place, from 1")
    return usable


def _with_index(some: Entry, index: int) -> Entry:
    return replace(some, index=index)


def _refuse_other_tests(cycles: Sequence[Cycle], found: Found, others: Sequence[str], findings: Findings) -> None:
    """Refuse records that are no cycles.

    Raises:
        NoCycles: nothing is known to flow; nothing is discharged; or nothing is charged, and the file holds other tests
            or no cell beside.
    """
    flows = [directions(_samples(cycle)) for cycle in cycles]
    charged, discharged = (any(flow[way] for flow in flows) for way in (0, 1))
    if charged and discharged:
        return
    unknown = [
        name for name, column in (("voltage", "voltage_v"), ("current", "current_a"))
        if not any(np.isfinite(_samples(cycle)[column]).any() for cycle in cycles)
    ]  # fmt: skip
    if "current" in unknown:
        names = " and ".join(unknown)
        raise NoCycles(f"{found.path} holds {found.count} record(s), but every {names} in them is NaN or infinite.")
    if not discharged:
        raise NoCycles(f"{found.path} holds {found.count} record(s) that never both charge and discharge: no cycles.")
    if others:
        listed = ", ".join(others[:6])
        raise NoCycles(
            f"{found.path} holds {found.count} record(s) that never both charge and discharge, beside other tests "
            f"({listed}): a characterisation, no ageing cycles."
        )
    volts = middle([_samples(cycle) for cycle in cycles], "voltage_v")
    timed = any(np.isfinite(cycle.time_s).any() or cycle.recorded_capacity_ah for cycle in cycles)
    if not (timed and CELL_VOLTS[0] < volts < CELL_VOLTS[1]):
        raise NoCycles(f"{found.path} holds voltage and current, but neither charge nor discharge of a cell over time.")
    findings.missing.append("no charges in the file: its cycles are discharges alone")


def _samples(cycle: Cycle) -> dict[str, Floats]:
    return {"current_a": cycle.current_a, "voltage_v": cycle.voltage_v}


def _cut(record: Record, findings: Findings) -> Iterator[Record]:
    """One long record, cut after each discharge where the charge in the cell shows several of them."""
    part = parts(record)[0]
    columns = read_columns(part.fields, {column: Source(name) for column, name in part.columns.items()})
    ends = charge_begins(columns)
    if len(ends) < 2:
        yield record
        return
    findings.assumed.append(
        f"nothing in the file numbers the cycles: its one record is cut after each of {len(ends)} discharges"
    )
    length = columns["voltage_v"].size
    for first, last in zip([0, *ends[:-1]], [*ends[:-1], length], strict=True):
        yield {
            part.columns[column]: constant(values[first:last])
            for column, values in columns.items()
            if values.size == length
        }


def charge_begins(columns: dict[str, Floats]) -> list[int]:
    """Where the charges after the discharges of one long record begin; empty without a clock.

    The last is the end of the record.
    """
    empty = np.empty(0)
    time, current, voltage = (columns.get(name, empty) for name in ("time_s", "current_a", "voltage_v"))
    if not (2 < time.size == current.size == voltage.size):
        return []
    current = np.nan_to_num(current)
    small = SMALL_SHARE * float(np.abs(current).max())
    under = [voltage[np.isfinite(voltage) & (way * current > small)] for way in (1.0, -1.0)]
    if not under[0].size or not under[1].size:
        sign = courses(voltage, current, small, LONG_RECORD_SAMPLES)
        if sign is None:
            return []
        current = np.abs(current) * sign
    elif under[0].mean() < under[1].mean():
        current = -current
    steps = np.nan_to_num(np.maximum(np.diff(continuous(time)[0], prepend=0.0), 0.0))
    steps[1:][current[1:] * current[:-1] <= 0.0] = 0.0  # nothing says when in between the current came on
    charge = np.cumsum(current * steps)
    found = turns(charge, HALF_CYCLE_SHARE * _largest_run(current, charge), LONG_RECORD_SAMPLES)
    begins = [0, *(end for end, _ in found)]
    lowest = [
        begin + int(np.argmin(charge[begin:end])) for begin, (end, way) in zip(begins, found, strict=False) if way < 0
    ]
    charging = np.append(np.flatnonzero(current > small), current.size)
    return [int(charging[np.searchsorted(charging, at)]) for at in lowest]


def _largest_run(current: Floats, charge: Floats) -> float:
    """The most charge that flows one way before any flows the other way."""
    flowing = np.flatnonzero(current)
    turned = np.flatnonzero(np.diff(np.sign(current[flowing]))) + 1
    ends = charge[flowing[np.concatenate([turned - 1, [-1]])]]
    return float(np.abs(np.diff(ends, prepend=0.0)).max())


LAYOUT = Layout(
    name="generic",
    cells=cells,
)
