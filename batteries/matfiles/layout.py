"""What a layout is to the reader: how to recognise it, which cells it holds, how to read one."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from batteries.matfiles.tree import Struct
from batteries.recordings import SAMPLE_COLUMNS, Recording

Floats = NDArray[np.float64]
Samples = dict[str, Floats]


@dataclass(frozen=True)
class Cell:
    """A cell that a layout recognises in a file. `read` raises NoCycles where it has no cycles."""

    name: str
    read: Callable[[], Recording]


@dataclass(frozen=True)
class Layout:
    """One way in which battery files are laid out.

    `cells(variables)` finds the cells that it recognises, none where the file is not of this layout.
    """

    name: str
    cells: Callable[[Struct], tuple[Cell, ...]]


def joined(cycles: Sequence[Sequence[Samples]]) -> list[Samples]:
    """Of each cycle its records one after the other. All cycles lie in one array a column, where they follow too."""
    lengths = [sum(len(record["time_s"]) for record in records) for records in cycles]
    parts = [record for records in cycles for record in records]
    whole = {name: np.concatenate([record[name] for record in parts] or [np.empty(0)]) for name in SAMPLE_COLUMNS}
    ends = np.cumsum(lengths).tolist()
    return [
        {name: values[end - length : end] for name, values in whole.items()}
        for end, length in zip(ends, lengths, strict=True)
    ]


def numbered(positions: Iterable[int], most: int = 8) -> str:
    """Cycle numbers in a sentence, never to be taken for a count: 'no. 90', 'nos. 3, 5, 9, … (12 in all)'."""
    listed = list(positions)
    shown = ", ".join(map(str, listed[:most]))
    if len(listed) == 1:
        return f"no. {shown}"
    return f"nos. {shown}" if len(listed) <= most else f"nos. {shown}, … ({len(listed)} in all)"
