"""Files of no named origin: cycles with fields in the usual spellings.

Forms that are read: a struct array of cycles, a cell array of structs, cell arrays of columns beside each other, and
flat columns of one long record with a cycle number for every sample. They may lie inside other structs.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from batteries.matfiles.errors import NoCycles
from batteries.matfiles.layout import Layout, Samples, numbered
from batteries.matfiles.names import Name, squeezed, understand
from batteries.matfiles.physics import in_product_units
from batteries.matfiles.tree import Cells, Fields, Node, Numbers, Struct, scalar, text
from batteries.recordings import SAMPLE_COLUMNS, Cycle, Recording

Floats = NDArray[np.float64]
Record = Mapping[str, Node]

SEARCH_DEPTH = 4
MOST_CELLS = 1000
LOADED_SHARE = 0.05
NOMINAL_NAMES = frozenset({"nominalcapacity", "ratedcapacity", "capacitynominal", "qnom", "cnom"})


@dataclass(frozen=True)
class Found:
    """Cycles found at a path of the tree. `records` makes them, one mapping of fields a cycle."""

    path: str
    count: int
    records: Callable[[], Iterator[Record]]
    around: Record  # fields beside the cycles, where facts of the cell may stand


def cells(variables: Struct) -> tuple[str, ...]:
    """Paths at which cycles lie; several where the file holds several cells."""
    return tuple(found.path for found in _find(variables))


def _find(variables: Struct) -> list[Found]:
    """All places with cycles; single records count only where there is no series of them."""
    places = list(_places(variables.element(0), "", 0))
    series = [place for place in places if place.count > 1]
    return (series or places)[:MOST_CELLS]


def _places(fields: Record, path: str, depth: int) -> Iterator[Found]:
    here = _columns_here(fields, path or "variables")
    if here:
        yield here
        return
    if depth >= SEARCH_DEPTH:
        return
    for name in fields:
        node = fields[name]
        inside = f"{path}.{name}" if path else name
        match node:
            case Struct(count=0):
                continue
            case Struct(count=1):
                yield from _places(node.element(0), inside, depth + 1)
            case Struct(count=count) if _has_samples(node.element(0)) or _has_samples(node.element(count - 1)):
                yield Found(inside, count, lambda node=node: map(node.element, range(node.count)), fields)  # type: ignore[misc]
            case Struct(count=count):
                for at in range(min(count, MOST_CELLS)):
                    yield from _places(node.element(at), f"{inside}({at + 1})", depth + 1)
            case Cells(items=items) if items and _is_record(items[0]):
                yield Found(inside, len(items), lambda items=items: map(_record, items), fields)  # type: ignore[misc]
            case _:
                continue


def _columns_here(fields: Record, path: str) -> Found | None:
    """Columns side by side: cell arrays with one entry a cycle, or one long record."""
    columns = _columns(fields)
    voltage = columns.get("voltage_v")
    current = columns.get("current_a")
    if voltage is None or current is None:
        return None
    if isinstance(fields[voltage], Cells) and isinstance(fields[current], Cells):
        return Found(path, len(_items(fields[voltage])), lambda: _transposed(fields), fields)
    if not _has_samples(fields):
        return None
    index = columns.get("cycle_index")
    length = _size(fields[voltage])
    if index is not None and _size(fields[index]) == length > 1:
        return Found(path, _distinct(fields[index]), lambda: _by_cycle(fields, index, length), fields)
    return Found(path, 1, lambda: iter([fields]), fields)


def _columns(fields: Record) -> dict[str, str]:
    """Name of the field for each column that is there; the first in the file where several would do."""
    found: dict[str, str] = {}
    for name in fields:
        meant = understand(name)
        if meant and meant.column not in found and isinstance(fields[name], Numbers | Cells):
            found[meant.column] = name
    return found


def _has_samples(record: Record) -> bool:
    columns = _columns(_flattened(record))
    return "voltage_v" in columns and "current_a" in columns


def _is_record(node: Node) -> bool:
    return isinstance(node, Struct) and node.count == 1 and _has_samples(node.element(0))


def _record(node: Node) -> Record:
    return node.element(0) if isinstance(node, Struct) and node.count == 1 else {}


def _flattened(record: Record) -> Record:
    """A record's fields with those of the structs inside it: `cycle(k).data.voltage`."""
    flat = {name: record[name] for name in record}
    for node in list(flat.values()):
        if isinstance(node, Struct) and node.count == 1:
            flat = {**node.element(0), **flat}
    return flat


def _items(node: Node) -> Sequence[Node]:
    return node.items if isinstance(node, Cells) else ()


def _size(node: Node) -> int:
    return node.size if isinstance(node, Numbers) else -1


def _distinct(node: Node) -> int:
    return np.unique(node.read()).size if isinstance(node, Numbers) else 0


def _constant(values: Floats) -> Numbers:
    return Numbers((values.size, 1), lambda: values)


def _transposed(fields: Record) -> Iterator[Record]:
    """A record a cycle out of columns that have an entry a cycle, as cell arrays or as vectors of scalars."""
    columns = {name: fields[name] for name in _columns(fields).values()}
    lists = {name: _items(node) for name, node in columns.items() if isinstance(node, Cells)}
    vectors = {name: node.read() for name, node in columns.items() if isinstance(node, Numbers)}
    for at in range(max(len(items) for items in lists.values())):
        record = {name: items[at] for name, items in lists.items() if at < len(items)}
        yield record | {name: _constant(values[at : at + 1]) for name, values in vectors.items() if at < values.size}


def _by_cycle(fields: Record, index: str, length: int) -> Iterator[Record]:
    """A record a cycle out of one long record, cut where the cycle number changes. Samples without one are left out."""
    columns = {
        name: node.read()
        for name, node in ((name, fields[name]) for name in _columns(fields).values())
        if isinstance(node, Numbers) and node.size == length
    }
    number = columns.pop(index)
    for value in dict.fromkeys(number[np.isfinite(number)].tolist()):
        rows = number == value
        yield {name: _constant(column[rows]) for name, column in columns.items()} | {
            index: _constant(np.array([value]))
        }


def read(variables: Struct, cell: int) -> Recording:
    """The recording of the cycles at one path.

    Raises:
        NoCycles: no record has samples, or nothing says that this is a cell that is charged and discharged.
    """
    found = _find(variables)[cell]
    report: list[str] = []
    facts = _facts(variables.element(0)) | _facts(found.around)
    nominal = facts.pop("nominal_capacity_ah", None)
    nominal_ah = float(nominal) if nominal is not None else None
    indices, records, capacities, said = _gather(found, report)
    records, remarks = in_product_units(records, said, nominal_ah)
    if not _is_cycling(records):
        raise NoCycles(f"{found.path} holds {found.count} record(s) that never both charge and discharge: no cycles.")
    report += remarks
    if "description" in facts:
        report.insert(0, f"the file says: {facts['description']}")
    cycles = tuple(
        Cycle(index=index, recorded_capacity_ah=_capacity(capacity, record), **record)
        for index, record, capacity in zip(indices, records, capacities, strict=True)
    )
    return Recording(
        cycles=cycles,
        layout="generic",
        cell=str(facts.get("cell", found.path)),
        nominal_capacity_ah=nominal_ah,
        manufacturer=_fact(facts, "manufacturer"),
        chemistry=_fact(facts, "chemistry"),
        report=tuple(report),
    )


def _fact(facts: Mapping[str, object], name: str) -> str | None:
    return str(facts[name]) if name in facts else None


def _facts(fields: Record) -> dict[str, object]:
    """What stands beside the cycles about the cell."""
    facts: dict[str, object] = {}
    for name in fields:
        short = squeezed(name)
        said = text(fields[name])
        if said and short in {"manufacturer", "chemistry", "description", "cell", "cellname", "barcode"}:
            facts["cell" if short in {"cellname", "barcode"} else short] = said[:255]
        for unit, factor in (("", 1.0), ("ah", 1.0), ("mah", 1e-3)):
            value = scalar(fields[name]) if short.removesuffix(unit) in NOMINAL_NAMES else None
            if value is not None and value > 0 and short.endswith(unit):
                facts["nominal_capacity_ah"] = value * factor
    return facts


def _gather(found: Found, report: list[str]) -> tuple[list[int], list[Samples], list[Floats], set[str]]:
    """Cycle numbers, samples, capacity columns, and the columns whose unit the file names."""
    indices: list[int] = []
    records: list[Samples] = []
    capacities: list[Floats] = []
    names: dict[str, Name] = {}
    spelled: dict[str, str] = {}
    skipped: list[int] = []
    partial: list[int] = []
    counted = False
    for position, fields in enumerate(found.records(), start=1):
        record = _flattened(fields)
        columns = _columns(record)
        values = {column: _values(record[name]) for column, name in columns.items()}
        for column, name in columns.items():
            names[column] = understand(name) or Name(column)
            spelled.setdefault(column, name)
            values[column] = values[column] * names[column].factor
        number = values.get("cycle_index", np.empty(0))
        index = int(number[0]) if number.size and np.isfinite(number[0]) else position
        counted |= not number.size
        voltage = values.get("voltage_v", np.empty(0))
        current = values.get("current_a", np.empty(0))
        if voltage.size == 0 or voltage.size != current.size:
            skipped.append(index)
            continue
        samples: Samples = {}
        for column in SAMPLE_COLUMNS:
            column_values = values.get(column, np.empty(0))
            fits = column_values.size == voltage.size
            samples[column] = column_values if fits else np.full(voltage.size, np.nan)
            if column_values.size and not fits:
                partial.append(index)
        indices.append(index)
        records.append(samples)
        capacities.append(values.get("capacity_ah", np.empty(0)))
    if not records:
        raise NoCycles(f"{found.path} holds {found.count} records, but none with voltage and current of one length.")
    columns_said = ", ".join(f"{column} from '{name}'" for column, name in spelled.items())
    report.append(f"generic layout: {found.count} cycles at '{found.path}'; {columns_said}")
    if counted:
        report.append("cycles without a number of their own are numbered by their place, from 1")
    if skipped:
        report.append(f"cycles left out, no voltage and current of one length: {numbered(skipped)}")
    if partial:
        report.append(f"cycles in which time or temperature has another length, and is unknown: {numbered(partial)}")
    said = {column for column, name in names.items() if name.unit is not None}
    return indices, records, capacities, said


def _values(node: Node) -> Floats:
    return node.read() if isinstance(node, Numbers) and node.is_vector else np.empty(0)


def _is_cycling(records: Sequence[Samples]) -> bool:
    """Whether current flows both ways somewhere in the record."""
    current = np.concatenate([record["current_a"] for record in records])
    current = current[np.isfinite(current)]
    if not current.size:
        return False
    small = LOADED_SHARE * float(np.percentile(np.abs(current), 99))
    return bool((current > small).any() and (current < -small).any())


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
