"""What a layout is: how to recognise it, which cells it holds, how to read one."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from batteries.matfiles.tree import Node, Struct, numbers
from batteries.recordings import SAMPLE_COLUMNS, Recording

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Layout:
    """One way in which battery files are laid out.

    `cells(variables)` names the cells it recognises, empty where the file is not of this layout.
    `read(variables, cell)` reads one of them by its position; it raises NoCycles where that has no cycles.
    """

    name: str
    description: str  # completes "Layouts that are read: name (…)"
    cells: Callable[[Struct], tuple[str, ...]]
    read: Callable[[Struct, int], Recording]


@dataclass(frozen=True)
class Source:
    """Where a column of the product comes from: the layout's name for it, and what one of its units is in ours."""

    name: str
    factor: float = 1.0


Samples = dict[str, Floats]


class UnequalColumns(Exception):
    """The columns of one record have different lengths."""


def samples(record: Mapping[str, Node], sources: Mapping[str, Source]) -> Samples:
    """The product's columns of one record. What the record does not have is NaN.

    Raises:
        UnequalColumns: columns that are there have different lengths.
    """
    found = {column: numbers(record.get(source.name)) for column, source in sources.items()}
    known = {column: values * sources[column].factor for column, values in found.items() if values is not None}
    known = {column: values for column, values in known.items() if values.size}
    lengths = {column: values.size for column, values in known.items()}
    if len(set(lengths.values())) > 1:
        raise UnequalColumns(", ".join(f"{column} {length}" for column, length in lengths.items()))
    length = next(iter(lengths.values()), 0)
    return {column: known.get(column, np.full(length, np.nan)) for column in SAMPLE_COLUMNS}


def joined(parts: Iterable[Samples]) -> Samples:
    """Records one after the other."""
    listed = list(parts)
    return {column: np.concatenate([part[column] for part in listed]) for column in SAMPLE_COLUMNS}


def numbered(positions: Iterable[int], most: int = 8) -> str:
    """Cycle numbers in a sentence: '3, 5, 9, … (12)'."""
    listed = list(positions)
    shown = ", ".join(map(str, listed[:most]))
    return shown if len(listed) <= most else f"{shown}, … ({len(listed)})"
