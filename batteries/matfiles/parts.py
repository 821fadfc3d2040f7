"""A record's columns: its own, those of structs inside it, or those of its charge and of its discharge."""

from collections.abc import Mapping
from dataclasses import dataclass

from batteries.matfiles.entries import Record
from batteries.matfiles.names import kind_of, says_kind, understand
from batteries.matfiles.tree import Cells, Numbers, Struct, text

SAMPLED = ("voltage_v", "current_a")
ORDER = {"charge": 0, None: 1, "discharge": 2}


@dataclass(frozen=True)
class Part:
    """A record, or the charge or the discharge of one where the file keeps them apart."""

    fields: Record
    kind: str | None  # 'charge' or 'discharge' where the file says so
    columns: Mapping[str, str]  # the product's column: name of the field


def columns_of(fields: Record) -> dict[str, str]:
    """Name of the field for each column of the whole cycle that is there; the first where several would do."""
    found: dict[str, str] = {}
    for name in fields:
        meant = understand(name)
        if meant and meant.side is None and meant.column not in found and isinstance(fields[name], Numbers | Cells):
            found[meant.column] = name
    return found


def parts(record: Record) -> list[Part]:
    """A record's columns: its own, or those of the structs inside it, or those of its charge and of its discharge."""
    kind = _kind(record)
    own = columns_of(record)
    if set(SAMPLED) <= set(own):
        return [Part(record, kind, own)]
    inside = [
        (name, node.element(0)) for name in record if isinstance(node := record[name], Struct) and node.count == 1
    ]
    sampled = [(name, fields) for name, fields in inside if set(SAMPLED) <= set(columns_of(fields))]
    if len(sampled) > 1:
        halves = [_half(record, own, fields, _kind(fields) or kind_of(name)) for name, fields in sampled]
        return sorted(halves, key=lambda part: ORDER[part.kind])
    flat = dict(record)
    for _, fields in inside:
        flat = {**fields, **flat}
    columns = columns_of(flat)
    if set(SAMPLED) <= set(columns):
        return [Part(flat, kind or (kind_of(sampled[0][0]) if sampled else None), columns)]
    return parts_by_name(flat)


def _half(record: Record, own: Mapping[str, str], fields: Record, kind: str | None) -> Part:
    """A struct inside a record, with the number that stands beside it; of a discharge also the capacity."""
    beside = own if kind == "discharge" else {column: name for column, name in own.items() if column == "cycle_index"}
    inside = columns_of(fields)
    taken = {column: name for column, name in beside.items() if column not in inside}
    return Part({**fields, **{name: record[name] for name in taken.values()}}, kind, {**inside, **taken})


def parts_by_name(record: Record) -> list[Part]:
    """The charge and the discharge of a record whose names (V_charge, I_charge, V_discharge, …) say which is which."""
    sided: dict[str, dict[str, str]] = {"charge": {}, "discharge": {}}
    for name in record:
        meant = understand(name)
        if meant and meant.side and isinstance(record[name], Numbers | Cells):
            sided[meant.side].setdefault(meant.column, name)
    common = {
        column: name
        for column, name in columns_of(record).items()
        if column in {"cycle_index", "resistance_ohm", "discharged_ah", "charged_ah", "capacity_ah"}
    }
    return [
        Part(record, side, ({**common, **columns} if side == "discharge" else columns))
        for side, columns in sided.items()
        if set(SAMPLED) <= set(columns)
    ]


def _kind(record: Record) -> str | None:
    return next((kind for name in record if says_kind(name) and (kind := kind_of(text(record[name])))), None)
