"""The records of a declared layout, with their columns under the product's names."""

from collections.abc import Mapping, Sequence

import numpy as np

from batteries.matfiles.declaration import Declaration
from batteries.matfiles.entries import Entry, Floats, Record, Source, date_of, entry, joined_entries, read_columns
from batteries.matfiles.evidence import gained
from batteries.matfiles.findings import Findings
from batteries.matfiles.layout import numbered
from batteries.matfiles.places import constant, records_at
from batteries.matfiles.tree import Node, Numbers, Struct, scalar, text
from batteries.matfiles.units import SYMBOLS, unit

SLOWEST_C_RATE, FASTEST_C_RATE = 0.02, 20.0


def entries_of(declaration: Declaration, cell: Record, findings: Findings) -> list[Entry]:
    """One for each record with columns; what has none is left out, and said."""
    vectors = _vectors(declaration, cell, findings)
    found: list[Entry] = []
    unusable: list[int] = []
    untimed: list[int] = []
    measured: Record | None = None
    at = -1
    for at, (number, record) in enumerate(records_at(cell, declaration.cycles)):
        kind = (text(record.get(declaration.kind)) or "").lower() if declaration.kind else None
        if kind is not None and kind not in {"charge", "discharge"}:
            measured = record
            continue
        beside = {name: values[at : at + 1] for name, values in vectors.items() if at < values.size}
        if number is not None:
            beside["cycle_index"] = np.array([float(number)])
        some = _entry(declaration, record, kind, beside, findings)
        if some is None or {"voltage_v", "current_a"} & set(some.unequal):
            unusable.append(at + 1)
            continue
        if some.unequal:
            untimed.append(at + 1)
        if kind == "discharge":
            resistance = declaration.resistance(measured) if declaration.resistance and measured is not None else None
            if resistance is not None:
                some.scalars["resistance_ohm"] = resistance
            measured = None
        found.append(some)
    if sizes := {values.size for values in vectors.values()} - {at + 1}:
        counts = ", ".join(map(str, sorted(sizes)))
        findings.assumed.append(f"beside {at + 1} records stand {counts} numbers: the first one is the first record's")
    if unusable:
        findings.left_out.append(f"records without columns of one length: {numbered(unusable)}")
    if untimed:
        findings.missing.append(
            f"records in which time or temperature has another length, and is unknown: {numbered(untimed)}"
        )
    return found


def _vectors(declaration: Declaration, cell: Record, findings: Findings) -> dict[str, Floats]:
    """What the cell says with one number for each cycle."""
    found: dict[str, Floats] = {}
    for name in declaration.columns:
        for column in declaration.fields_of(name):
            node = at_path(cell, column.name) if "." in column.name else None
            if name not in found and isinstance(node, Numbers) and node.size > 0:
                source = Source(column.name, unit(name, column.unit) if column.unit else None)
                found |= read_columns({column.name: node}, {name: source})
                _note(findings, name, source)
    return found


def _entry(
    declaration: Declaration, record: Record, kind: str | None, beside: Mapping[str, Floats], findings: Findings
) -> Entry | None:
    """A record's columns; None where it has no struct with them."""
    parts: Sequence[tuple[Record, str | None]]
    if declaration.parts:
        parts = [(node, which) for name, which in declaration.parts.items() if (node := _struct(record.get(name)))]
    elif declaration.inside:
        parts = [(node, kind)] if (node := _struct(record.get(declaration.inside))) else []
    else:
        parts = [(record, kind)]
    if not parts:
        return None
    started = date_of(record.get(declaration.started)) if declaration.started else None
    read = []
    for fields, which in parts:
        sources = _sources(declaration, fields)
        for name, source in sources.items():
            _note(findings, name, source)
        values = read_columns(fields, sources)
        if declaration.derives_current:
            _repair_clock(declaration, values, sources, findings)
            values["current_a"] = current_from(values, which)
        elif declaration.positive_on == "discharge" and "current_a" in values:
            values["current_a"] = -values["current_a"]
        read.append(_moved(entry({**values, **beside}, kind=kind, started=started), which))
    return joined_entries(read)


def _moved(part: Entry, which: str | None) -> Entry:
    """A part of a cycle with what its counter of charge moved by."""
    counter = part.counters.get("charge_ah")
    if counter is not None and which is not None:
        name = "charged_ah" if which == "charge" else "discharged_ah"
        moved = gained(counter, np.ones(counter.size, dtype=bool))
        if np.isfinite(moved):
            part.scalars.setdefault(name, moved)
    return part


def _repair_clock(
    declaration: Declaration, values: dict[str, Floats], sources: Mapping[str, Source], findings: Findings
) -> None:
    """The clock in s where the layout's unit of it gives a current that no cell has."""
    unit_of_time = sources["time_s"].unit if "time_s" in sources else None
    if unit_of_time is None or "charge_ah" not in values or "time_s" not in values:
        return
    clock = clock_in_seconds(
        values["time_s"], values["charge_ah"], declaration.nominal_capacity_ah, unit_of_time.factor
    )
    if clock is not values["time_s"]:
        values["time_s"] = clock
        why = f"time taken as s: in {unit_of_time.symbol} the charge would take too long"
        if why not in findings.repaired:
            findings.read_in("time_s", "s", why)


def _struct(node: Node | None) -> Record | None:
    return node.element(0) if isinstance(node, Struct) and node.count == 1 else None


def _sources(declaration: Declaration, fields: Record) -> dict[str, Source]:
    found: dict[str, Source] = {}
    for name in declaration.columns:
        for column in declaration.fields_of(name):
            if name not in found and "." not in column.name and column.name in fields:
                found[name] = Source(column.name, unit(name, column.unit) if column.unit else None)
    return found


def _note(findings: Findings, name: str, source: Source) -> None:
    if name in findings.origins:
        return
    symbol = source.unit.symbol if source.unit else None
    findings.origin(name, source.name, symbol, product_symbol=SYMBOLS[name])


def current_from(values: Mapping[str, Floats], kind: str | None) -> Floats:
    """Current (A) from a counter of charge: I = dq/dt, by central differences; its sign is the part's."""
    time, charge = values.get("time_s"), values.get("charge_ah")
    if time is None or charge is None or time.size != charge.size or time.size < 3:
        return np.empty(0)
    before, after = np.r_[0, 0 : time.size - 1], np.r_[1 : time.size, time.size - 1]
    with np.errstate(all="ignore"):
        current = (charge[after] - charge[before]) * 3600.0 / (time[after] - time[before])
    known = np.isfinite(current)  # not where a clock stands still
    if not known.any():
        return np.empty(0)
    current = np.interp(np.arange(time.size), np.flatnonzero(known), current[known])
    return current if kind is None else np.abs(current) if kind == "charge" else -np.abs(current)


def clock_in_seconds(time_s: Floats, charge_ah: Floats, nominal_ah: float | None, factor: float) -> Floats:
    """A clock that was taken to be in a longer unit than s, and that gives an impossible current then, is in s.

    `factor` is what one of that unit is in seconds.
    """
    moved = float(np.nanmax(charge_ah) - np.nanmin(charge_ah)) if charge_ah.size else 0.0
    lasted_h = float(np.nanmax(time_s) - np.nanmin(time_s)) / 3600.0 if time_s.size else 0.0
    if nominal_ah is None or moved <= 0 or lasted_h <= 0 or moved / lasted_h / nominal_ah > SLOWEST_C_RATE:
        return time_s
    return time_s / factor if moved / (lasted_h / factor) / nominal_ah < FASTEST_C_RATE else time_s


def at_path(cell: Record, path: str) -> Node | None:
    """The node at 'struct.field' of a cell; of a struct array the vector of its elements' numbers."""
    outer, inner = path.split(".", 1)
    node = cell.get(outer)
    if not isinstance(node, Struct) or not node.count or inner not in node.fields:
        return None
    if node.count == 1:
        return node.fields[inner][0]
    numbers = [scalar(element) for element in node.fields[inner]]
    return constant(np.array([np.nan if number is None else number for number in numbers]))
