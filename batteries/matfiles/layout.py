"""What a layout is to the reader: how to recognise it, which cells it holds, how to read one."""

from collections.abc import Callable, Iterable
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
    description: str  # completes "Layouts that are read: name (…)"
    cells: Callable[[Struct], tuple[Cell, ...]]


def joined(parts: Iterable[Samples]) -> Samples:
    """Records one after the other."""
    listed = list(parts)
    return {column: np.concatenate([part[column] for part in listed]) for column in SAMPLE_COLUMNS}


def numbered(positions: Iterable[int], most: int = 8) -> str:
    """Cycle numbers in a sentence, never to be taken for a count: 'no. 90', 'nos. 3, 5, 9, … (12 in all)'."""
    listed = list(positions)
    shown = ", ".join(map(str, listed[:most]))
    if len(listed) == 1:
        return f"no. {shown}"
    return f"nos. {shown}" if len(listed) <= most else f"nos. {shown}, … ({len(listed)} in all)"
