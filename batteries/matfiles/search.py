"""Where the cycles lie in a file of no named origin, and one mapping of fields for each of them.

Forms: a struct array of cycles, a cell array of structs, cell arrays of columns beside each other, and flat columns of
one long record with a cycle number for every sample. They may lie inside other structs.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from batteries.matfiles.names import understand
from batteries.matfiles.tree import Cells, Node, Numbers, Struct

Floats = NDArray[np.float64]
Record = Mapping[str, Node]

SEARCH_DEPTH = 4
MOST_PLACES = 1000


@dataclass(frozen=True)
class Found:
    """Cycles found at a path of the tree. `records` makes them, one mapping of fields a cycle."""

    path: str
    count: int
    records: Callable[[], Iterator[Record]]
    around: Record  # fields beside the cycles, where facts of the cell may stand


def find(variables: Struct) -> list[Found]:
    """All places with cycles; single records count only where there is no series of them."""
    places = list(_places(variables.element(0), "", 0))
    series = [place for place in places if place.count > 1]
    return (series or places)[:MOST_PLACES]


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
                for at in range(min(count, MOST_PLACES)):
                    yield from _places(node.element(at), f"{inside}({at + 1})", depth + 1)
            case Cells(items=items) if items and _is_record(items[0]):
                yield Found(inside, len(items), lambda items=items: map(_record, items), fields)  # type: ignore[misc]
            case _:
                continue


def _columns_here(fields: Record, path: str) -> Found | None:
    """Columns side by side: cell arrays with one entry a cycle, or one long record."""
    columns = columns_of(fields)
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


def columns_of(fields: Record) -> dict[str, str]:
    """Name of the field for each column that is there; the first in the file where several would do."""
    found: dict[str, str] = {}
    for name in fields:
        meant = understand(name)
        if meant and meant.column not in found and isinstance(fields[name], Numbers | Cells):
            found[meant.column] = name
    return found


def _has_samples(record: Record) -> bool:
    columns = columns_of(flattened(record))
    return "voltage_v" in columns and "current_a" in columns


def _is_record(node: Node) -> bool:
    return isinstance(node, Struct) and node.count == 1 and _has_samples(node.element(0))


def _record(node: Node) -> Record:
    return node.element(0) if isinstance(node, Struct) and node.count == 1 else {}


def flattened(record: Record) -> Record:
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
    columns = {name: fields[name] for name in columns_of(fields).values()}
    lists = {name: _items(node) for name, node in columns.items() if isinstance(node, Cells)}
    vectors = {name: node.read() for name, node in columns.items() if isinstance(node, Numbers)}
    for at in range(max(len(items) for items in lists.values())):
        record = {name: items[at] for name, items in lists.items() if at < len(items)}
        yield record | {name: _constant(values[at : at + 1]) for name, values in vectors.items() if at < values.size}


def _by_cycle(fields: Record, index: str, length: int) -> Iterator[Record]:
    """A record a cycle out of one long record, cut where the cycle number changes. Samples without one are left out."""
    columns = {
        name: node.read()
        for name, node in ((name, fields[name]) for name in columns_of(fields).values())
        if isinstance(node, Numbers) and node.size == length
    }
    number = columns.pop(index)
    for value in dict.fromkeys(number[np.isfinite(number)].tolist()):
        rows = number == value
        yield {name: _constant(column[rows]) for name, column in columns.items()} | {
            index: _constant(np.array([value]))
        }
