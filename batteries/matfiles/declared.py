"""Layouts by declaration: a layout's names, units and sign are a `Declaration`, and `declared` makes its reader.

How to add one: docs/formats.md.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from batteries.matfiles.assembling import cycles_of, gaps
from batteries.matfiles.entries import Entry, Floats, Record, Source, date_of, entry, joined_entries, read_columns
from batteries.matfiles.errors import NoCycles
from batteries.matfiles.evidence import gained
from batteries.matfiles.facts import facts, nominal_capacity_ah
from batteries.matfiles.findings import Findings
from batteries.matfiles.layout import Layout, numbered
from batteries.matfiles.places import ROOT, Place, cells_at, constant, records_at
from batteries.matfiles.tree import Node, Numbers, Struct, scalar, text
from batteries.matfiles.units import unit
from batteries.recordings import Recording

SYMBOLS = {"time_s": "s", "voltage_v": "V", "current_a": "A", "temperature_c": "°C", "resistance_ohm": "Ω"}
DERIVED = "derived from charge"
LONGEST_NAME = 200
SLOWEST_C_RATE, FASTEST_C_RATE = 0.02, 20.0


@dataclass(frozen=True)
class Column:
    """A field of the layout and the unit that it is in (see `units`).

    A field of a cycle's record; or, as 'struct.field', a vector of the cell with one number for each cycle.
    """

    name: str
    unit: str = ""


Columns = Mapping[str, Column | tuple[Column, ...]]


@dataclass(frozen=True)
class Declaration:
    """A layout: which names it has for the product's columns, in which units, and what is known of its cells."""

    name: str
    description: str  # completes "Layouts that are read: name (…)"
    cycles: str  # the cell's field with the cycles; or a pattern of field names whose group is the cycle's number
    columns: Columns  # by the product's column, see `units.UNITS`; of several the first found
    positive_on: str = "charge"  # or "discharge": what a positive current means in the layout
    marks: tuple[str, ...] = ()  # names, 'field' of a cycle or 'struct.field' of the cell; a cell has at least one
    inside: str = ""  # the struct of a cycle's record that holds the columns, where they do not lie in it
    parts: Mapping[str, str] = field(default_factory=dict)  # structs of a cycle in their order: 'charge' or 'discharge'
    kind: str = ""  # the record's field that says 'charge' or 'discharge': records are halves of cycles
    started: str = ""  # the record's field with a date vector
    resistance: Callable[[Record], float | None] | None = None  # ohm, of a record that is neither
    cell_names: tuple[str, ...] = ()  # the cell's fields that name it, instead of its place
    nominal_capacity_ah: float | None = None
    manufacturer: str | None = None
    chemistry: str | None = None
    discharge_cut_off_v: float | None = None
    notes: tuple[str, ...] = ()  # sentences for every report


def declared(declaration: Declaration) -> Layout:
    """The layout's reader."""
    return Layout(
        name=declaration.name,
        description=declaration.description,
        cells=lambda variables: _names(declaration, _places(declaration, variables)),
        read=partial(_read, declaration),
    )


def _places(declaration: Declaration, variables: Struct) -> list[Place]:
    return list(cells_at(variables, partial(_is_cell, declaration)))


def _is_cell(declaration: Declaration, cell: Record) -> bool:
    """Whether cycles of this layout lie in a struct."""
    _, first = next(records_at(cell, declaration.cycles), (None, None))
    if first is None:
        return False
    wanted = {declaration.kind, declaration.inside} - {""}
    if declaration.parts:
        if not any(part in first for part in declaration.parts):
            return False
    elif not declaration.inside:
        flow = "charge_ah" if _derives(declaration) else "current_a"
        wanted |= {_listed(declaration.columns[name])[0].name for name in ("voltage_v", flow)}
    return wanted <= set(first) and (
        not declaration.marks or any(_has(cell, first, mark) for mark in declaration.marks)
    )


def _has(cell: Record, first: Record, mark: str) -> bool:
    return _inside(cell, mark) is not None if "." in mark else mark in first


def _inside(cell: Record, path: str) -> Node | None:
    """The node at 'struct.field' of a cell; of a struct array the vector of its elements' numbers."""
    outer, inner = path.split(".", 1)
    node = cell.get(outer)
    if not isinstance(node, Struct) or not node.count or inner not in node.fields:
        return None
    if node.count == 1:
        return node.fields[inner][0]
    numbers = [scalar(element) for element in node.fields[inner]]
    return constant(np.array([np.nan if number is None else number for number in numbers]))


def _listed(columns: Column | tuple[Column, ...]) -> tuple[Column, ...]:
    return columns if isinstance(columns, tuple) else (columns,)


def _names(declaration: Declaration, places: Sequence[Place]) -> tuple[str, ...]:
    """Names of the cells: as the file names them where that tells them apart, else by their places."""
    said = [
        ", ".join(filter(None, (_name(place.fields.get(name)) for name in declaration.cell_names))) for place in places
    ]
    unique = len(set(said)) == len(said) and all(said)
    return tuple(
        name if unique else f"{place.path}: {name}" if name else place.path
        for name, place in zip(said, places, strict=True)
    )


def _name(node: Node | None) -> str | None:
    """A text, also where it was stored as the codes of its letters."""
    if isinstance(node, Numbers) and 1 < node.size <= LONGEST_NAME:
        codes = node.read()
        readable = bool(((codes >= ord(" ")) & (codes <= ord("~")) & (codes == np.floor(codes))).all())
        return "".join(chr(int(code)) for code in codes).strip() or None if readable else None
    return text(node)


def _read(declaration: Declaration, variables: Struct, cell: int) -> Recording:
    """The recording of one cell.

    Raises:
        NoCycles: there is no discharge, or no cycle has samples.
    """
    places = _places(declaration, variables)
    place, name = places[cell], _names(declaration, places)[cell]
    findings = Findings(remarks=[f"{declaration.name} layout", *declaration.notes], sign_is_said=True)
    if _derives(declaration):
        findings.said.add("current_a")
    entries = _entries(declaration, place.fields, findings)
    if declaration.kind and not any(some.kind == "discharge" for some in entries):
        raise NoCycles(f"{name} holds operations in the layout '{declaration.name}', but no discharge among them.")
    if not any(some.size for some in entries):
        raise NoCycles(f"{name} holds cycles in the layout '{declaration.name}', but none with samples.")
    said = facts(variables.element(0)) | facts(place.fields)
    nominal = nominal_capacity_ah(place.fields) or nominal_capacity_ah(variables.element(0))
    if nominal is None and declaration.nominal_capacity_ah is not None:
        nominal = declaration.nominal_capacity_ah
        findings.assumed.append(f"nominal capacity {nominal:g} Ah, as the layout's cells have")
    cycles = cycles_of(entries, nominal, findings)
    gaps(cycles, findings)
    findings.sign = DERIVED if _derives(declaration) else _sign_in_file(declaration, findings.sign)
    return Recording(
        cycles=tuple(cycles),
        layout=declaration.name,
        cell=None if name == ROOT else name,
        nominal_capacity_ah=nominal,
        manufacturer=said.get("manufacturer", declaration.manufacturer),
        chemistry=said.get("chemistry", declaration.chemistry),
        report=findings.report(len(places)),
        discharge_cut_off_v=declaration.discharge_cut_off_v,
    )


def _sign_in_file(declaration: Declaration, found: str) -> str:
    """The file's own sign, where the layout's was applied before `found` was."""
    signs = ("positive on charge", "positive on discharge")
    if declaration.positive_on == "charge" or found not in signs:
        return found
    return signs[1 - signs.index(found)]


def _derives(declaration: Declaration) -> bool:
    """Whether the layout has no current, which then is the rate of change of its charge."""
    return "current_a" not in declaration.columns


def _entries(declaration: Declaration, cell: Record, findings: Findings) -> list[Entry]:
    """One for each record with columns; what has none is left out, and said."""
    vectors = _vectors(declaration, cell, findings)
    found: list[Entry] = []
    unusable: list[int] = []
    untimed: list[int] = []
    resistance: float | None = None
    for at, (number, record) in enumerate(records_at(cell, declaration.cycles)):
        kind = (text(record.get(declaration.kind)) or "").lower() if declaration.kind else None
        if kind is not None and kind not in {"charge", "discharge"}:
            resistance = declaration.resistance(record) if declaration.resistance else None
            continue
        beside = {name: values[at : at + 1] for name, values in vectors.items()}
        if number is not None:
            beside["cycle_index"] = np.array([float(number)])
        some = _entry(declaration, record, kind, beside, findings)
        if some is None or {"voltage_v", "current_a"} & set(some.unequal):
            unusable.append(at + 1)
            continue
        if some.unequal:
            untimed.append(at + 1)
        if kind == "discharge":
            if resistance is not None:
                some.scalars["resistance_ohm"] = resistance
            resistance = None
        found.append(some)
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
    for name, columns in declaration.columns.items():
        for column in _listed(columns):
            node = _inside(cell, column.name) if "." in column.name else None
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
        if _derives(declaration):
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
    for name, columns in declaration.columns.items():
        for column in _listed(columns):
            if name not in found and "." not in column.name and column.name in fields:
                found[name] = Source(column.name, unit(name, column.unit) if column.unit else None)
    return found


def _note(findings: Findings, name: str, source: Source) -> None:
    if name in findings.origins:
        return
    symbol = source.unit.symbol if source.unit else None
    findings.origin(name, source.name, symbol, product_symbol=SYMBOLS.get(name, "Ah" if name != "cycle_index" else ""))


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
