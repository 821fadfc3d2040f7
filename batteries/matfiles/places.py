"""Where a layout's cells lie in a file, and the records of one cell."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

from batteries.matfiles.entries import Floats, Record
from batteries.matfiles.tree import Cells, Node, Numbers, Struct

ROOT = "variables"  # the path of a cell that the file itself is
DEPTH = 2
LOOKED_AT = 3  # elements of a struct array; where none of them is a cell, none is


@dataclass(frozen=True)
class Place:
    """A cell: its path in the file and its fields."""

    path: str
    fields: Record


def cells_at(variables: Struct, is_cell: Callable[[Record], bool]) -> Iterator[Place]:
    """The structs in a file that are cells; the file itself may be one."""
    root = variables.element(0)
    if is_cell(root):
        yield Place(ROOT, root)
        return
    yield from _below(root, "", is_cell, 1)


def _below(fields: Record, path: str, is_cell: Callable[[Record], bool], depth: int) -> Iterator[Place]:
    for name in fields:
        inside = f"{path}.{name}" if path else name
        first = list(islice(_elements(fields[name]), LOOKED_AT))
        if any(is_cell(element) for _, element, _ in first):
            for at, element, many in _elements(fields[name]):
                if is_cell(element):
                    yield Place(f"{inside}({at + 1})" if many else inside, element)
        elif depth < DEPTH and len(first) == 1:
            yield from _below(first[0][1], inside, is_cell, depth + 1)


def _elements(node: Node) -> Iterator[tuple[int, Record, bool]]:
    """Elements of a struct (array), or of a cell array of structs; whether there are several."""
    match node:
        case Struct(count=count):
            for at in range(count):
                yield at, node.element(at), count > 1
        case Cells(items=items) if len(items) and isinstance(items[0], Struct):
            for at, item in enumerate(items):
                if isinstance(item, Struct) and item.count == 1:
                    yield at, item.element(0), len(items) > 1
        case _:
            return


def records_at(cell: Record, cycles: str) -> Iterator[tuple[int | None, Record]]:
    """The records of a cell with their numbers where those are in the names.

    A struct array, a cell array of structs, one struct of cell arrays, or one field for each cycle.
    """
    if "(" in cycles:
        pattern = re.compile(cycles)
        named = sorted((int(match[1]), name) for name in cell if (match := pattern.fullmatch(name)))
        for number, name in named:
            yield number, record_of(cell[name])
        return
    node = cell.get(cycles)
    match node:
        case Struct(count=1):
            yield from ((None, record) for record in _single(node.element(0)))
        case Struct(count=count):
            yield from ((None, node.element(at)) for at in range(count))
        case Cells(items=items):
            yield from ((None, record_of(item)) for item in items)
        case _:
            return


def record_of(node: Node) -> Record:
    """The fields of a single struct; none of anything else."""
    return node.element(0) if isinstance(node, Struct) and node.count == 1 else {}


def _single(fields: Record) -> Iterator[Record]:
    """One record; or, where its fields are cell arrays with an entry a cycle, each of them."""
    columns = {name: fields[name] for name in fields}
    lists = {name: node.items for name, node in columns.items() if isinstance(node, Cells) and _has_numbers(node)}
    if not lists:
        yield fields
        return
    vectors = {name: node.read() for name, node in columns.items() if isinstance(node, Numbers)}
    yield from transposed(lists, vectors)


def transposed(lists: Mapping[str, Sequence[Node]], vectors: Mapping[str, Floats]) -> Iterator[Record]:
    """A record a cycle out of columns that have an entry a cycle, as cell arrays or as vectors of scalars."""
    for at in range(max(len(items) for items in lists.values())):
        record = {name: items[at] for name, items in lists.items() if at < len(items)}
        yield record | {name: constant(values[at : at + 1]) for name, values in vectors.items() if at < values.size}


def _has_numbers(cells: Cells) -> bool:
    """Whether a cell array holds columns, not texts."""
    return bool(len(cells.items)) and isinstance(cells.items[len(cells.items) - 1], Numbers)


def constant(values: Floats) -> Numbers:
    """An array that is there already, as a node."""
    return Numbers((values.size, 1), lambda: values)
