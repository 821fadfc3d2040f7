"""What a MAT-file holds, the same for level 5 and v7.3: a tree of structs, cells, texts and numbers.

Layouts are written against this tree once. Children are made when they are asked for, so that what no layout looks at
(impedance spectra, figures) costs nothing.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Generic, TypeVar, overload

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
T = TypeVar("T")
Item = TypeVar("Item")


class Lazy(Sequence[T], Generic[Item, T]):
    """A sequence whose members are made from items when they are asked for; the last one made is kept."""

    def __init__(self, items: Sequence[Item], make: Callable[[Item], T]) -> None:
        self._items = items
        self._make = make
        self._last: tuple[int, T] | None = None

    def __len__(self) -> int:
        return len(self._items)

    @overload
    def __getitem__(self, at: int) -> T: ...
    @overload
    def __getitem__(self, at: slice) -> "Lazy[Item, T]": ...
    def __getitem__(self, at: int | slice) -> "T | Lazy[Item, T]":
        if isinstance(at, slice):
            return Lazy(self._items[at], self._make)
        if self._last is None or self._last[0] != at:
            self._last = at, self._make(self._items[at])
        return self._last[1]

    def __iter__(self) -> Iterator[T]:
        return map(self._make, self._items)


@dataclass(frozen=True)
class Numbers:
    """A real numeric or logical array. `shape` as MATLAB says it; `read` gives x(:) as float64, perhaps read-only."""

    shape: tuple[int, ...]
    read: Callable[[], Floats]

    @property
    def size(self) -> int:
        """Number of elements."""
        return prod(self.shape)

    @property
    def is_vector(self) -> bool:
        """Whether at most one dimension is longer than one."""
        return sum(length != 1 for length in self.shape) <= 1


@dataclass(frozen=True)
class Text:
    """A char array in one line."""

    value: str


@dataclass(frozen=True)
class Cells:
    """A cell array in the order of x(:)."""

    items: Sequence["Node"]


@dataclass(frozen=True)
class Struct:
    """A struct array of `count` elements; each field has as many values, in the order of x(:).

    Fields are in alphabetical order, the one order that both kinds of files can give.
    """

    count: int
    fields: Mapping[str, Sequence["Node"]]

    def element(self, at: int) -> "Fields":
        """Fields of one element."""
        return Fields(self, at)


@dataclass(frozen=True)
class Other:
    """Something that no layout can read: complex numbers, objects, function handles, sparse matrices."""

    kind: str


Node = Numbers | Text | Cells | Struct | Other


class Fields(Mapping[str, Node]):
    """One element of a struct array, its fields by name."""

    def __init__(self, struct: Struct, at: int) -> None:
        self._struct = struct
        self._at = at

    def __getitem__(self, name: str) -> Node:
        return self._struct.fields[name][self._at]

    def __contains__(self, name: object) -> bool:
        return name in self._struct.fields

    def __iter__(self) -> Iterator[str]:
        return iter(self._struct.fields)

    def __len__(self) -> int:
        return len(self._struct.fields)


def numbers(node: Node | None) -> Floats | None:
    """The values of a numeric array as x(:); None for anything else."""
    return node.read() if isinstance(node, Numbers) else None


def scalar(node: Node | None) -> float | None:
    """The value of a 1-by-1 number that is finite; None for anything else."""
    if not isinstance(node, Numbers) or node.size != 1:
        return None
    value = float(node.read()[0])
    return value if np.isfinite(value) else None


def text(node: Node | None) -> str | None:
    """A char array that is not blank, stripped; None for anything else."""
    if not isinstance(node, Text):
        return None
    return node.value.strip() or None


def describe(node: Node) -> str:
    """A few words for a message: what this is."""
    match node:
        case Numbers(shape=shape):
            return f"{'x'.join(map(str, shape))} numbers"
        case Text():
            return "text"
        case Cells(items=items):
            return f"cell array of {len(items)}"
        case Struct(count=count, fields=fields):
            names = ", ".join(list(fields)[:8]) + (", …" if len(fields) > 8 else "")
            return f"struct array of {count} with {names}" if count != 1 else f"struct with {names}"
        case Other(kind=kind):
            return kind
