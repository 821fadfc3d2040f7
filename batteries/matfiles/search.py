"""Where the cycles lie in a file of no named origin, and one mapping of fields for each of them.

Forms: a struct array of cycles, a cell array of structs, structs with a number in their names, cell arrays of columns
beside each other, matrices with a row or a column for each cycle, and flat columns of one long record, with or without
a cycle number for every sample. They may lie inside other structs.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np

from batteries.matfiles import matrices
from batteries.matfiles.entries import Record
from batteries.matfiles.names import kind_of, understand
from batteries.matfiles.parts import SAMPLED, columns_of, parts, parts_by_name
from batteries.matfiles.places import constant, record_of, transposed
from batteries.matfiles.tree import Cells, Lazy, Node, Numbers, Struct, Text

SEARCH_DEPTH = 4
MOST_PLACES = 1000
MOST_VISITS = 20_000
NUMBERED = re.compile(r"(.*?)_?(\d+)")


@dataclass(frozen=True)
class Found:
    """Cycles found at a path of the tree. `records` makes them, one mapping of fields a cycle."""

    path: str
    count: int
    records: Callable[[], Iterator[Record]]
    around: Record  # fields beside the cycles, where facts of the cell may stand
    whole: bool = False  # one long record that nothing cuts into cycles


@dataclass(frozen=True)
class Search:
    """Series of cycles; and single records, which are cycles only where there is no series."""

    series: list[Found]
    singles: list[Found]

    @property
    def cells(self) -> list[Found]:
        """What is read: a cell each."""
        return self.series or self.singles


def find(variables: Struct) -> Search:
    """All places with cycles."""
    places = list(islice(_places(variables.element(0), "", 0, iter(range(MOST_VISITS))), MOST_PLACES))
    return Search([place for place in places if place.count > 1], [place for place in places if place.count == 1])


def _places(fields: Record, path: str, depth: int, visits: Iterator[int]) -> Iterator[Found]:
    """The places in a struct, unless so many structs were visited that references must lead back to themselves."""
    if next(visits, None) is None:
        return
    here = _columns_here(fields, path or "variables")
    if here:
        yield here
        return
    if depth >= SEARCH_DEPTH:
        return
    grouped = [*_numbered(fields, path), *_halves(fields, path)]
    yield from (found for found, _ in grouped)
    taken = {name for _, names in grouped for name in names}
    for name in fields:
        if name not in taken:
            yield from _at(fields[name], f"{path}.{name}" if path else name, fields, depth, visits)


def _at(node: Node, path: str, around: Record, depth: int, visits: Iterator[int]) -> Iterator[Found]:
    """The places in one field."""
    match node:
        case Struct(count=1) if _is_sided(node.element(0)):
            yield Found(path, 1, lambda: iter([node.element(0)]), around)
        case Struct(count=1):
            yield from _places(node.element(0), path, depth + 1, visits)
        case Struct(count=count) if count and (_has_samples(node.element(0)) or _has_samples(node.element(count - 1))):
            yield Found(path, count, lambda: map(node.element, range(count)), around)
        case Struct(count=count):
            for at in range(min(count, MOST_PLACES)):
                yield from _places(node.element(at), f"{path}({at + 1})", depth + 1, visits)
        case Cells(items=items) if len(items) and (_is_record(items[0]) or _is_record(items[len(items) - 1])):
            yield Found(path, len(items), lambda: map(record_of, items), around)
        case Cells(items=items) if len(items) and isinstance(items[0], Struct):
            for at in range(min(len(items), MOST_PLACES)):
                yield from _places(record_of(items[at]), f"{path}{{{at + 1}}}", depth + 1, visits)
        case _:
            return


def _numbered(fields: Record, path: str) -> list[tuple[Found, list[str]]]:
    """Series of structs whose names (cyc_001, cyc_002, …) end in a number, which is the cycle's."""
    groups: dict[str, list[tuple[int, str]]] = {}
    for name in fields:
        match = NUMBERED.fullmatch(name)
        if match and re.search("^c$|cyc", match[1], re.IGNORECASE):
            groups.setdefault(match[1], []).append((int(match[2]), name))
    series: list[tuple[Found, list[str]]] = []
    for stem, members in groups.items():
        names = [name for _, name in sorted(members)]
        if len(names) > 1 and _is_record(fields[names[0]]):
            where = f"{path}.{stem}" if path else stem
            series.append((Found(where, len(names), lambda m=members: _by_name(fields, sorted(m)), fields), names))  # type: ignore[misc]
    return series


def _halves(fields: Record, path: str) -> list[tuple[Found, list[str]]]:
    """Charges in one series of records, discharges in another beside it: both are halves of one series of cycles."""
    sides: dict[str, list[str]] = {"charge": [], "discharge": []}
    for name in fields:
        kind = kind_of(name)
        if kind and len(_series(fields[name])) > 1 and _has_samples(_series(fields[name])[0]):
            sides[kind].append(name)
    if any(len(names) != 1 for names in sides.values()):
        return []
    names = [sides["charge"][0], sides["discharge"][0]]
    charges, discharges = (_series(fields[name]) for name in names)

    def records() -> Iterator[Record]:
        for at in range(max(len(charges), len(discharges))):
            for kind, series in (("charge", charges), ("discharge", discharges)):
                if at < len(series):
                    yield {**series[at], "type": Text(kind)}

    where = f"{path}.{'+'.join(names)}" if path else "+".join(names)
    return [(Found(where, len(discharges), records, fields), names)]


def _series(node: Node) -> Sequence[Record]:
    """The elements of a struct array, or of a cell array of structs."""
    match node:
        case Struct(count=count):
            return Lazy(range(count), node.element)
        case Cells(items=items) if len(items) and isinstance(items[0], Struct):
            return Lazy(items, record_of)
        case _:
            return ()


def _by_name(fields: Record, members: Sequence[tuple[int, str]]) -> Iterator[Record]:
    for number, name in members:
        yield {"cycle_number": constant(np.array([float(number)])), **record_of(fields[name])}


def _columns_here(fields: Record, path: str) -> Found | None:
    """Columns side by side: cell arrays with one entry a cycle, matrices, or one long record."""
    columns = columns_of(fields)
    if not set(SAMPLED) <= set(columns):
        return _sided_here(fields, path)
    voltage, current = (fields[columns[name]] for name in SAMPLED)
    if isinstance(voltage, Cells) and isinstance(current, Cells):
        return Found(path, len(voltage.items), lambda: _transposed(fields), fields)
    if not (isinstance(voltage, Numbers) and isinstance(current, Numbers)):
        return None
    grid = matrices.grid(fields, columns)
    if grid is not None:
        return Found(path, grid.cycles, lambda: matrices.records(fields, columns, grid), fields)
    index = columns.get("cycle_index")
    if index is not None and _size(fields[index]) == voltage.size > 1:
        return Found(path, _distinct(fields[index]), lambda: _by_cycle(fields, index, voltage.size), fields)
    return Found(path, 1, lambda: iter([fields]), fields, whole=True)


def _sided_here(fields: Record, path: str) -> Found | None:
    """Columns of the charge and of the discharge side by side: cell arrays with one entry a cycle, or one cycle."""
    sided = parts_by_name(fields)
    if not sided:
        return None
    voltage = fields[sided[0].columns["voltage_v"]]
    if isinstance(voltage, Cells):
        return Found(path, len(voltage.items), lambda: _transposed(fields), fields)
    return Found(path, 1, lambda: iter([fields]), fields)


def _is_sided(record: Record) -> bool:
    """Whether a struct is one cycle whose charge and discharge are structs inside it."""
    inside = {kind_of(name) for name in record if isinstance(record[name], Struct)}
    return {"charge", "discharge"} <= inside and _is_one_cycle(record)


def _is_one_cycle(record: Record) -> bool:
    return (
        all(
            isinstance(fields[name], Numbers) and node.count == 1
            for node in (record[inner] for inner in record)
            if isinstance(node, Struct) and node.count == 1
            for fields in (node.element(0),)
            for name in columns_of(fields).values()
        )
        and len(parts(record)) > 1
    )


def _has_samples(record: Record) -> bool:
    return bool(parts(record))


def _is_record(node: Node) -> bool:
    return isinstance(node, Struct) and node.count == 1 and _has_samples(node.element(0))


def _items(node: Node) -> Sequence[Node]:
    return node.items if isinstance(node, Cells) else ()


def _size(node: Node) -> int:
    return node.size if isinstance(node, Numbers) else -1


def _distinct(node: Node) -> int:
    values = node.read() if isinstance(node, Numbers) else np.empty(0)
    return np.unique(values[np.isfinite(values)]).size


def _transposed(fields: Record) -> Iterator[Record]:
    """A record a cycle out of the columns whose names are understood."""
    columns = {name: fields[name] for name in fields if understand(name)}
    lists = {name: _items(node) for name, node in columns.items() if isinstance(node, Cells)}
    vectors = {name: node.read() for name, node in columns.items() if isinstance(node, Numbers)}
    yield from transposed(lists, vectors)


def _by_cycle(fields: Record, index: str, length: int) -> Iterator[Record]:
    """A record a cycle out of one long record, cut where the cycle number changes. Samples without one are left out."""
    columns = {
        name: node.read()
        for name, node in ((name, fields[name]) for name in columns_of(fields).values())
        if isinstance(node, Numbers) and node.size == length
    }
    number = columns.pop(index)
    order = np.argsort(number, kind="stable")
    order = order[np.isfinite(number[order])]
    values, starts = np.unique(number[order], return_index=True)
    chunks = dict(zip(values.tolist(), np.split(order, starts[1:]), strict=True)) if values.size else {}
    for value in dict.fromkeys(number[np.isfinite(number)].tolist()):
        rows = chunks[value]
        yield {name: constant(column[rows]) for name, column in columns.items()} | {index: constant(np.array([value]))}
